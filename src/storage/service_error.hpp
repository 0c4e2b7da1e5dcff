// SPDX-License-Identifier: Apache-2.0
#pragma once
// A store's own error documents, and what they mean.

#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/retry.hpp"

namespace streamer::core::inline storage {

struct ServiceError {
  std::string code;  // "NoSuchKey"
  std::string message;
  std::string request_id;
  std::string region;       // of S3: the right one
  std::string redirect_to;  // the origin that Location names, "https://host"

  // From an <Error> document and the headers of S3, Google and Azure; missing values are empty.
  static ServiceError of(const HttpAnswer& answer);
};

struct CodeRow {
  std::string_view code;
  ErrorKind kind;
  std::string_view hint;
};

// "HOST answered STATUS CODE: MESSAGE (request id ID); HINT", with kind and hint from the table
// if it has the code, or else by the status.
[[nodiscard]] Error service_failure(const HttpRequest& request, int status,
                                    const ServiceError& error, std::span<const CodeRow> own);

// For a failed request for an object's checksum: an error that the store keeps none and what to use
// instead, if the status means that; otherwise the error unchanged. asked: the header or method
// used.
[[nodiscard]] Error no_checksums(Error error, std::string_view asked);

// The codes that S3 and Google share.
[[nodiscard]] std::span<const CodeRow> s3_dialect_codes() noexcept;
// What to do after the code alone: throttled, soon, or never for an unknown code.
[[nodiscard]] Again again_after_s3_code(std::string_view code) noexcept;

}  // namespace streamer::core::inline storage
