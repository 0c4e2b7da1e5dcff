// SPDX-License-Identifier: Apache-2.0
#pragma once
// Maps libcurl's codes to our faults.

#include <curl/curl.h>

#include <string>

#include "http/response.hpp"

namespace streamer::core::inline http {

struct CurlFault {
  TransferFault fault = TransferFault::none;
  std::string text;  // what happened, for humans
};

// text: what libcurl wrote to the transfer's error buffer.
[[nodiscard]] CurlFault classify_curl(CURL* easy, CURLcode code, const char* text, bool has_head);

}  // namespace streamer::core::inline http
