// SPDX-License-Identifier: Apache-2.0
#include "boundary.hpp"

namespace streamer::capi {

streamer_error* out_of_memory_error() noexcept {
  // Never dereferenced: an address that stands for the error, which the accessors know.
  static char stand_in = 0;
  return reinterpret_cast<streamer_error*>(&stand_in);
}

streamer_status fail(Error error, streamer_error** error_out) {
  const auto status = static_cast<streamer_status>(error.kind());
  if (error_out != nullptr) *error_out = new streamer_error{error.fields(), error.line()};
  return status;
}

namespace {

constexpr const char* kOutOfMemory = "memory could not be allocated";

}  // namespace

}  // namespace streamer::capi

using namespace streamer::capi;

extern "C" {

const char* streamer_status_name(streamer_status status) {
  switch (status) {
    case STREAMER_OK:
      return "ok";
    case STREAMER_END:
      return "end";
    case STREAMER_NOT_READY:
      return "not_ready";
    default:
      // Names are literals, so NUL-terminated.
      return streamer::core::error_kind_name(static_cast<ErrorKind>(status)).data();
  }
}

void streamer_error_get_info(const streamer_error* error, streamer_error_info* info_out) {
  if (error == nullptr || info_out == nullptr) return;
  streamer_error_info info = STREAMER_ERROR_INFO_INIT;
  info.attempts = 1;
  if (error == out_of_memory_error()) {
    info.status = STREAMER_ERROR_OUT_OF_MEMORY;
    info.message = kOutOfMemory;
    info.uri = info.service_code = info.request_id = info.host = "";
    return copy_out_if_sound(info, info_out);
  }
  const streamer::core::ErrorFields& fields = error->fields;
  info.status = static_cast<streamer_status>(fields.kind);
  info.os_error = fields.os_error;
  info.http_status = fields.http_status;
  info.attempts = fields.attempts;
  info.message = fields.message.c_str();
  info.uri = fields.uri.c_str();
  info.range_offset = fields.range.offset;
  info.range_size = fields.range.size;
  info.service_code = fields.service_code.c_str();
  info.request_id = fields.request_id.c_str();
  info.host = fields.host.c_str();
  info.elapsed_ms = fields.elapsed_ms;
  copy_out_if_sound(info, info_out);
}

const char* streamer_error_line(const streamer_error* error) {
  if (error == nullptr) return "";
  return error == out_of_memory_error() ? kOutOfMemory : error->line.c_str();
}

streamer_error* streamer_error_new(streamer_status status, const char* message) {
  streamer_error* made = nullptr;
  const streamer_status kept = guarded(&made, [&]() -> Result<streamer_status> {
    const auto kind = static_cast<ErrorKind>(status);
    const bool is_kind = streamer::core::error_kind_name(kind) != "unknown";
    return Error(is_kind ? kind : ErrorKind::internal, message == nullptr ? "" : message);
  });
  static_cast<void>(kept);
  return made;
}

void streamer_error_free(streamer_error* error) {
  if (error != out_of_memory_error()) delete error;
}

}  // extern "C"
