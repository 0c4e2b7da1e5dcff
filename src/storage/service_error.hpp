// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a store says of its own errors, and what that means.

#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/retry.hpp"

namespace streamer::core {

struct ServiceError {
  std::string code;  // "NoSuchKey"
  std::string message;
  std::string request_id;
  std::string region;  // of S3: the right one

  // From an <Error> document and the headers of S3, Google and Azure; empty fields for what is not
  // there.
  static ServiceError of(const HttpAnswer& answer);
};

struct CodeRow {
  std::string_view code;
  ErrorKind kind;
  std::string_view hint;
};

// "HOST answered STATUS CODE: MESSAGE (request id ID); HINT", with kind and hint from the first
// table that knows the code, else by the status.
[[nodiscard]] Error service_failure(const HttpRequest& request, int status,
                                    const ServiceError& error, std::span<const CodeRow> own);

// Of a request for an object's checksum that failed: that the store keeps none and what to use
// instead, if the status means that; else the error as it is. asked: what was asked with.
[[nodiscard]] Error no_checksums(Error error, std::string_view asked);

// What S3 and Google say in one dialect.
[[nodiscard]] std::span<const CodeRow> s3_dialect_codes() noexcept;
// What the code alone calls for: throttled, soon, or never for one that is not known.
[[nodiscard]] Again again_after_s3_code(std::string_view code) noexcept;

}  // namespace streamer::core
