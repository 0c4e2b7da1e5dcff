// SPDX-License-Identifier: Apache-2.0
#include "streamer/streamer.hpp"
