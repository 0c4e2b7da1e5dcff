// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which hosts are whose: URLs of the clouds' own hosts stand for objects that the clouds' own
// backends read. Pure. Credentials follow from it, so it is a short list of exact forms.

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "http/request.hpp"

namespace streamer::core {

struct CloudObject {
  std::string scheme;        // "s3", "gs", "az"; empty: the host is nobody's
  std::string host;          // what the backend has to ask
  std::string encoded_path;  // "bucket/key", percent-encoded
  std::string shown_root;    // of the URL's path, in front of what is shown of that: the emulator's
  bool host_names_bucket = false;
};

// A URL that carries its own signature (X-Amz-Signature, X-Goog-Signature) is nobody's: it is asked
// for as it stands; one of Azure with a SAS token (sig) is Azure's. invalid_argument for another
// query behind an object of a cloud.
Result<CloudObject> cloud_object(const HttpUrl& url);

// "account.blob.core.windows.net" of a host of Azure storage, whose dfs endpoint has the same
// objects; empty if it is none.
[[nodiscard]] std::string azure_blob_host(std::string_view host);

// "eu-west-1" of "s3.eu-west-1.amazonaws.com" and its variants; "us-east-1" of s3.amazonaws.com;
// empty for other hosts.
[[nodiscard]] std::string region_of_aws_host(std::string_view host);

}  // namespace streamer::core
