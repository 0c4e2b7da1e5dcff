// SPDX-License-Identifier: Apache-2.0
#pragma once
// The only way to Catch2: version 2 has one header, version 3 several.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
