// SPDX-License-Identifier: Apache-2.0
#pragma once
// What went wrong: kind, message, object and range, and what the store or the system answered.

#include <cstdint>
#include <memory>
#include <string_view>

#include "streamer.h"

namespace streamer {

// One kind for each way a caller can react. Newer libraries may have more kinds.
enum class ErrorKind : std::int32_t {
#define STREAMER_ERROR_KIND(name, code, text) name = code,
#include "error_kinds.inc"
#undef STREAMER_ERROR_KIND
};

// "not_found". Static storage.
inline std::string_view name(ErrorKind kind) noexcept {
  return streamer_status_name(static_cast<streamer_status>(kind));
}

// Owned, immutable, not tied to a thread. Views live as long as the error.
class Error {
 public:
  // Takes ownership of an error that a function of streamer.h stored.
  explicit Error(streamer_error* error) noexcept : error_(error) {}

  ErrorKind kind() const noexcept { return static_cast<ErrorKind>(info().status); }
  // What was tried, what happened, what to do; without URI and range.
  std::string_view message() const noexcept { return info().message; }
  // The object; empty if the error does not concern one.
  std::string_view uri() const noexcept { return info().uri; }
  // Bytes [range_offset(), range_offset() + range_size()) of the object; size 0: the whole object.
  std::uint64_t range_offset() const noexcept { return info().range_offset; }
  std::uint64_t range_size() const noexcept { return info().range_size; }
  int os_error() const noexcept { return info().os_error; }        // errno, 0: none
  int http_status() const noexcept { return info().http_status; }  // 0: none
  std::string_view service_code() const noexcept { return info().service_code; }
  std::string_view request_id() const noexcept { return info().request_id; }
  std::string_view host() const noexcept { return info().host; }
  std::uint64_t elapsed_ms() const noexcept { return info().elapsed_ms; }
  // The number of attempts, at least 1.
  std::uint32_t attempts() const noexcept { return info().attempts; }
  // For streamer.h.
  const streamer_error* get() const noexcept { return error_.get(); }
  // "URI bytes A-B: message", as one line.
  const char* line() const noexcept { return streamer_error_line(error_.get()); }

 private:
  struct Free {
    void operator()(streamer_error* error) const noexcept { streamer_error_free(error); }
  };

  streamer_error_info info() const noexcept {
    streamer_error_info info = STREAMER_ERROR_INFO_INIT;
    info.message = info.uri = info.service_code = info.request_id = info.host = "";
    streamer_error_get_info(error_.get(), &info);
    return info;
  }

  std::unique_ptr<streamer_error, Free> error_;
};

}  // namespace streamer
