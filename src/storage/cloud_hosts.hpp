// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which hosts belong to which cloud: URLs of a cloud's own hosts stand for objects that its backend
// reads. Pure. It decides where credentials go, so it is a short list of exact forms.

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "http/request.hpp"

namespace streamer::core::inline storage {

struct CloudObject {
  std::string scheme;        // "s3", "gs", "az"; empty: the host belongs to no cloud
  std::string host;          // the host that the backend must use
  std::string encoded_path;  // "bucket/key", percent-encoded
  std::string shown_root;    // of the URL's path, in front of what is shown of that: the emulator's
  bool host_names_bucket = false;
};

// A URL that carries its own signature (X-Amz-Signature, X-Goog-Signature) belongs to no cloud: it
// is requested unchanged; an Azure URL with a SAS token (sig) is Azure's. invalid_argument for any
// other query after an object of a cloud.
Result<CloudObject> cloud_object(const HttpUrl& url);

// "account.blob.core.windows.net" for a host of Azure storage, whose dfs endpoint has the same
// objects; empty for other hosts.
[[nodiscard]] std::string azure_blob_host(std::string_view host);

// "eu-west-1" of "s3.eu-west-1.amazonaws.com" and its variants; "us-east-1" of s3.amazonaws.com;
// empty for other hosts.
[[nodiscard]] std::string region_of_aws_host(std::string_view host);

}  // namespace streamer::core::inline storage
