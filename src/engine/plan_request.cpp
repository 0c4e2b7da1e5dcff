// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_request.hpp"
