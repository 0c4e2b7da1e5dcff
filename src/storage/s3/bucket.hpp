// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a bucket's name says of how it is reached. Pure.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline storage {

struct S3Bucket {
  enum class Kind : std::uint8_t {
    general,
    directory,     // S3 Express One Zone: "name--use1-az4--x-s3", or an access point to one
    access_point,  // "arn:aws:s3:eu-west-1:123456789012:accesspoint:name"
  };
  Kind kind = Kind::general;
  std::string zone;       // of a directory bucket
  std::string name;       // of an access point
  std::string account;    // of an access point
  std::string region;     // of an access point; otherwise empty
  std::string partition;  // of an access point
};

// unsupported for access points of several regions and for those of other services, with the
// reason; invalid_argument for ARNs of anything else.
Result<S3Bucket> read_s3_bucket(std::string_view bucket);

// How many bytes of an ARN at the beginning of text name an access point, up to the slash before
// the key: "arn:...:accesspoint/name" of "arn:...:accesspoint/name/key"; 0 if there is none.
[[nodiscard]] std::size_t access_point_bytes(std::string_view text) noexcept;

}  // namespace streamer::core::inline storage
