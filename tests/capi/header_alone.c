/* SPDX-License-Identifier: Apache-2.0 */
#include "streamer.h"
#include "streamer.h"
