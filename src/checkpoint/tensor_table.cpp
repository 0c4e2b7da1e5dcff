// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor_table.hpp"
