// SPDX-License-Identifier: Apache-2.0
#include "http/network_libraries.hpp"

#include <curl/curl.h>

namespace streamer::core::inline http {

NetworkLibraries network_libraries() noexcept {
  const curl_version_info_data* const info = curl_version_info(CURLVERSION_NOW);
  return {info->version, info->ssl_version == nullptr ? "none" : info->ssl_version};
}

}  // namespace streamer::core::inline http
