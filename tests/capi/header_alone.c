/* SPDX-License-Identifier: Apache-2.0 */
#include "streamer.h"
#include "streamer.h"
#include "runai.h"
#include "runai.h"
#include "runai_file_streamer.h"
#include "runai_file_streamer.h"
