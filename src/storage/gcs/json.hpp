// SPDX-License-Identifier: Apache-2.0
#pragma once
// The JSON API of Google Cloud Storage, for emulators that have no XML API. Pure. An object's
// version is its generation: what emulators send as ETags is not one.

#include <span>

#include "storage/remote_store.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core::inline storage {

// The path of a bucket's objects or, with a key, of one of them. base_path: the endpoint's, which
// may name the API already.
[[nodiscard]] std::string gcs_json_path(std::string_view base_path, std::string_view bucket,
                                        std::string_view key);
[[nodiscard]] Parameters gcs_json_list_parameters(const Uri& folder, ListDepth depth,
                                                  std::uint64_t most, const std::string& token);
// Fails with corrupt on anything but a list of objects.
Result<Page> read_gcs_json_page(const Uri& folder, std::string_view body);

struct GcsJsonObject {
  std::string name;
  std::optional<std::uint64_t> size;
  std::string generation;
  std::string crc32c;  // in base64; empty: none
};
// Fails with corrupt on anything but the metadata of an object.
Result<GcsJsonObject> read_gcs_json_object(std::string_view body);

// A generation in the place of an ETag, and back; empty if it is none.
[[nodiscard]] std::string etag_of_generation(std::string_view generation);
[[nodiscard]] std::string generation_of(std::string_view etag);

// {"error": {"message": ..., "errors": [{"reason": ...}]}}; empty if it is something else.
[[nodiscard]] ServiceError gcs_json_error(const HttpAnswer& answer);
// What the reasons mean.
[[nodiscard]] std::span<const CodeRow> gcs_json_reasons() noexcept;

}  // namespace streamer::core::inline storage
