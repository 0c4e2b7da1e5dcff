// SPDX-License-Identifier: Apache-2.0
#pragma once
// libstreamer for C++20: value and owner types over the C ABI of streamer.h, nothing more. Link
// libstreamer.a or libstreamer.so. Works with exceptions and without; only value() may throw.

#include "checkpoint.hpp"
#include "communicator.hpp"
#include "device.hpp"
#include "error.hpp"
#include "load.hpp"
#include "log.hpp"
#include "operation.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "process.hpp"
#include "result.hpp"
#include "settings.hpp"
#include "stats.hpp"
#include "storage.hpp"
#include "tensor.hpp"
#include "version.hpp"
