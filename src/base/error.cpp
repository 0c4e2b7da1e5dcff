// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/clean_text.hpp"

namespace streamer::core::inline base {

std::string_view error_kind_name(ErrorKind kind) noexcept {
  switch (kind) {
#define STREAMER_ERROR_KIND(name, code, text) \
  case ErrorKind::name:                       \
    return #name;
#include "streamer/error_kinds.inc"
#undef STREAMER_ERROR_KIND
  }
  return "unknown";
}

std::string_view error_kind_text(ErrorKind kind) noexcept {
  switch (kind) {
#define STREAMER_ERROR_KIND(name, code, text) \
  case ErrorKind::name:                       \
    return text;
#include "streamer/error_kinds.inc"
#undef STREAMER_ERROR_KIND
  }
  return "unknown";
}

Error::Error(ErrorKind kind, std::string message) : fields_(std::make_unique<ErrorFields>()) {
  fields_->kind = kind;
  fields_->message = clean_text(message);
}

Error::Error(ErrorFields fields) : fields_(std::make_unique<ErrorFields>(std::move(fields))) {
  for (std::string* const text : {&fields_->message, &fields_->uri, &fields_->service_code,
                                  &fields_->request_id, &fields_->host}) {
    if (!text->empty()) *text = clean_text(*text);
  }
}

Error Error::at(std::string_view uri, ByteRange range) && {
  fields_->uri = clean_text(uri);
  fields_->range = range;
  return std::move(*this);
}

Error Error::with_os_error(int os_error) && {
  fields_->os_error = os_error;
  return std::move(*this);
}

Error Error::with_attempts(std::uint32_t attempts) && {
  fields_->attempts = attempts;
  return std::move(*this);
}

std::string Error::line() const {
  std::string text;
  if (!fields_->uri.empty()) text += fields_->uri;
  if (!fields_->range.empty()) {
    text += fmt::format(" bytes {}-{}", fields_->range.offset, fields_->range.end() - 1);
  }
  if (!text.empty()) text += ": ";
  return text + fields_->message;
}

namespace {

struct OsErrorRow {
  int os_error;
  ErrorKind kind;
  std::string_view hint;
};

constexpr OsErrorRow kOsErrors[] = {
    {ENOENT, ErrorKind::not_found, "check the path"},
    {ENOTDIR, ErrorKind::not_found, "a part of the path is not a directory"},
    {ELOOP, ErrorKind::not_found, "the symbolic links of the path form a loop"},
    {ENAMETOOLONG, ErrorKind::invalid_argument, "a part of the path is too long"},
    {EACCES, ErrorKind::permission_denied, "check the file's mode and the directories above it"},
    {EPERM, ErrorKind::permission_denied, "check what this process is allowed to do"},
    {EINVAL, ErrorKind::invalid_argument, ""},
    {EISDIR, ErrorKind::invalid_argument, "a file is needed"},
    {EMFILE, ErrorKind::io, "raise the limit on open files (ulimit -n)"},
    {ENFILE, ErrorKind::io, "the machine has reached its limit on open files"},
    {EFBIG, ErrorKind::io, "raise the limit on the size of files (ulimit -f)"},
    {ENOMEM, ErrorKind::out_of_memory, "lower memory_limit or free memory"},
    {ESTALE, ErrorKind::object_changed, "the file server replaced the file"},
    {ETIMEDOUT, ErrorKind::timed_out, "the file server did not answer"},
};

}  // namespace

Error os_failure(std::string_view what, int os_error) {
  ErrorKind kind = ErrorKind::io;
  std::string message =
      fmt::format("cannot {}: {}", what, std::generic_category().message(os_error));
  for (const OsErrorRow& row : kOsErrors) {
    if (row.os_error != os_error) continue;
    kind = row.kind;
    if (!row.hint.empty()) message += fmt::format("; {}", row.hint);
  }
  return Error(kind, std::move(message)).with_os_error(os_error);
}

}  // namespace streamer::core::inline base
