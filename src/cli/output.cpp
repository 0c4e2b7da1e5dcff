// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

constinit bool has_json = false;
// errno of the first write to stdout that failed: what a later fflush() says is not the reason.
constinit int output_error = 0;

// Members of a JSON object that are there only if there is something to say.
std::string json_member(const char* name, std::string_view text) {
  return text.empty() ? std::string() : fmt::format(",\"{}\":{}", name, json_string(text));
}
std::string json_member(const char* name, std::uint64_t number) {
  return number == 0 ? std::string() : fmt::format(",\"{}\":{}", name, number);
}

std::string prefix() {
  return painted(stderr, Colour::red, "streamer:");
}

}  // namespace

void write_text(std::FILE* file, std::string_view text) noexcept {
  const std::size_t written = std::fwrite(text.data(), 1, text.size(), file);
  if (written != text.size() && file == stdout && output_error == 0) output_error = errno;
}

void flush_output() noexcept {
  if (std::fflush(stdout) != 0 && output_error == 0) output_error = errno;
}

void print_json_from_now_on() noexcept {
  has_json = true;
}

bool prints_json() noexcept {
  return has_json;
}

Error make_error(ErrorKind kind, const std::string& message) {
  return Error(streamer_error_new(static_cast<streamer_status>(kind), message.c_str()));
}

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::corrupt:
      return kExitCorrupt;
    case ErrorKind::invalid_argument:
    case ErrorKind::unsupported:
      return kExitUsage;
    case ErrorKind::memory_limit:
    case ErrorKind::out_of_memory:
      return kExitMemory;
    case ErrorKind::device:
      return kExitDevice;
    case ErrorKind::cancelled:
      return interrupted_exit_code();
    case ErrorKind::internal:
      return kExitInternal;
    default:
      return kExitStorage;
  }
}

int report(const Error& error) {
  const int code = exit_code_of(error.kind());
  if (has_json) {
    write_to(stdout, "{{\"error\":{{\"kind\":{},\"message\":{}", json_string(name(error.kind())),
             json_string(error.message()));
    write_text(stdout, json_member("uri", error.uri()));
    if (error.range_size() != 0)
      write_to(stdout, ",\"range_offset\":{},\"range_size\":{}", error.range_offset(),
               error.range_size());
    write_text(stdout, json_member("os_error", static_cast<std::uint64_t>(error.os_error())));
    write_text(stdout, json_member("http_status", static_cast<std::uint64_t>(error.http_status())));
    write_text(stdout, json_member("service_code", error.service_code()));
    write_text(stdout, json_member("request_id", error.request_id()));
    write_text(stdout, json_member("host", error.host()));
    write_text(stdout, json_member("elapsed_ms", error.elapsed_ms()));
    write_to(stdout, ",\"attempts\":{},\"exit_code\":{}}}}}\n", error.attempts(), code);
  }
  flush_output();
  write_to(stderr, "{} {}\n", prefix(), escaped(error.line()));
  return code;
}

int report_misuse(std::string_view why) {
  if (has_json) {
    write_to(stdout, "{{\"error\":{{\"kind\":\"{}\",\"message\":{},\"exit_code\":{}}}}}\n",
             name(ErrorKind::invalid_argument), json_string(why), static_cast<int>(kExitUsage));
    flush_output();
  }
  write_to(stderr, "{} {}\n", prefix(), escaped(why));
  return kExitUsage;
}

std::string painted(std::FILE* file, Colour colour, std::string_view text) {
  // no-color.org: set to anything, whatever it is.
  const char* const refused = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  const bool has_colours = terminal != nullptr && *terminal != '\0' &&
                           std::string_view(terminal) != "dumb" &&
                           (refused == nullptr || *refused == '\0');
  if (!has_colours || ::isatty(::fileno(file)) == 0) return std::string(text);
  constexpr std::array<int, 3> kCodes = {31, 32, 33};  // in the order of Colour
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(colour)], text);
}

void print_notes(std::string_view notes) {
  while (!notes.empty()) {
    const std::size_t end = notes.find('\n');
    write_to(stdout, "note: {}\n", escaped(notes.substr(0, end)));
    notes.remove_prefix(end == std::string_view::npos ? notes.size() : end + 1);
  }
}

std::string escaped(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return shown;
}

namespace {

// Length of the UTF-8 sequence at the start of text, 0 if there is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) && continues(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text[0];
    if (length == 0) {
      json += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return json + "\"";
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kNames.size(); ++unit)
    value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kNames[unit]);
}

std::string human_rate(std::uint64_t bytes, std::uint64_t elapsed_ns) {
  const double per_second =
      elapsed_ns == 0 ? 0 : static_cast<double>(bytes) * 1e9 / static_cast<double>(elapsed_ns);
  if (per_second >= 1e8) return fmt::format("{:.2f} GB/s", per_second / 1e9);
  if (per_second >= 1e5) return fmt::format("{:.1f} MB/s", per_second / 1e6);
  return fmt::format("{:.1f} kB/s", per_second / 1e3);
}

int finish_output() {
  flush_output();
  if (output_error == 0 && std::ferror(stdout) == 0) return kExitOk;
  if (output_error == EPIPE) {
    // Ignored so far, because connections may break too.
    ::signal(SIGPIPE, SIG_DFL);
    ::raise(SIGPIPE);
  }
  write_to(stderr, "{} cannot write the output: {}\n", prefix(), std::strerror(output_error));
  return kExitStorage;
}

}  // namespace streamer::cli
