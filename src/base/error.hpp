// SPDX-License-Identifier: Apache-2.0
#pragma once
// What went wrong, in enough detail to fix it without a debugger, and never with a secret.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace streamer::core::inline base {

enum class ErrorKind : std::int32_t {
#define STREAMER_ERROR_KIND(name, code, text) name = code,
#include "streamer/error_kinds.inc"
#undef STREAMER_ERROR_KIND
};

// "not_found". Static storage.
[[nodiscard]] std::string_view error_kind_name(ErrorKind kind) noexcept;
// One sentence about the kind. Static storage.
[[nodiscard]] std::string_view error_kind_text(ErrorKind kind) noexcept;

struct ErrorFields {
  ErrorKind kind = ErrorKind::internal;
  // What was tried, on what, what happened, what to do.
  std::string message;
  // The object; empty if the error does not concern one.
  std::string uri;
  // The bytes of the object; empty if the error concerns the whole object.
  ByteRange range;
  int os_error = 0;     // errno, 0 if none
  int http_status = 0;  // 0 if none
  std::string service_code;
  std::string request_id;
  std::string host;  // of the endpoint
  // The number of attempts.
  std::uint32_t attempts = 1;
  std::uint64_t elapsed_ms = 0;  // from the first attempt to the last; 0: not measured
};

// Owned, movable, one pointer wide. Made where the fact is known, enriched on the way up. Its texts
// are cleaned when it is made (base/clean_text.hpp), while the secrets that may be in them are
// known.
class [[nodiscard]] Error {
 public:
  Error(ErrorKind kind, std::string message);
  explicit Error(ErrorFields fields);

  // Each returns *this, so that an error can be built in one expression.
  Error at(std::string_view uri, ByteRange range = {}) &&;
  Error with_os_error(int os_error) &&;
  Error with_attempts(std::uint32_t attempts) &&;

  [[nodiscard]] ErrorKind kind() const noexcept { return fields_->kind; }
  [[nodiscard]] const std::string& message() const noexcept { return fields_->message; }
  [[nodiscard]] const ErrorFields& fields() const noexcept { return *fields_; }
  [[nodiscard]] Error copy() const { return Error(*fields_); }

  // "URI bytes A-B: message", one line.
  [[nodiscard]] std::string line() const;

 private:
  std::unique_ptr<ErrorFields> fields_;
};

// An error from a failed system call, for what it was made ("open the file"): the kind follows
// errno, the message is "cannot WHAT: strerror(errno)" and, where one is known, a hint.
Error os_failure(std::string_view what, int os_error);

}  // namespace streamer::core::inline base
