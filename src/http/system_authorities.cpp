// SPDX-License-Identifier: Apache-2.0
#include "http/system_authorities.hpp"

#include <curl/curl.h>

namespace streamer::core::inline http {

TlsFiles system_authorities() {
  const curl_version_info_data* const info = curl_version_info(CURLVERSION_NOW);
  TlsFiles tls;
  if (info == nullptr || info->age < CURLVERSION_SEVENTH) return tls;
  if (info->cainfo != nullptr) tls.ca_file = info->cainfo;
  if (info->capath != nullptr) tls.ca_folder = info->capath;
  return tls;
}

}  // namespace streamer::core::inline http
