// SPDX-License-Identifier: Apache-2.0
#include "storage/file_store.hpp"
