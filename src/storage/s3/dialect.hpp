// SPDX-License-Identifier: Apache-2.0
#pragma once
// The XML dialect that S3 and Google's XML API share.

#include <optional>

#include "storage/remote_store.hpp"

namespace streamer::core::inline storage {

using Parameters = std::vector<std::pair<std::string, std::string>>;

// Of ListObjectsV2.
[[nodiscard]] Parameters list_parameters(const Uri& folder, ListDepth depth, std::uint64_t most,
                                         const std::string& token);
// A ListBucketResult; nullopt for an <Error>. Fails with corrupt on anything else.
Result<std::optional<Page>> read_list_bucket_result(const Uri& folder, std::string_view body);

// Range, and If-Match unless etag is empty or weak.
void add_range_headers(std::vector<HttpHeader>& headers, ByteRange range, const std::string& etag);

}  // namespace streamer::core::inline storage
