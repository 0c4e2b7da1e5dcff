// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the command writes: text for people or JSON for programs, errors, colours.

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "cli/exit_code.hpp"
#include "streamer/streamer.hpp"

namespace streamer::cli {

// A failed write is no exception: finish_output() finds it at the end.
void write_text(std::FILE* file, std::string_view text) noexcept;

void flush_output() noexcept;

template <typename... Arguments>
void write_to(std::FILE* file, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_text(file, fmt::format(format, std::forward<Arguments>(arguments)...));
}

// With --json everything on stdout is JSON, also an error: {"error": {...}}.
void print_json_from_now_on() noexcept;
[[nodiscard]] bool prints_json() noexcept;

// An error of the command's own.
[[nodiscard]] Error make_error(ErrorKind kind, const std::string& message);

[[nodiscard]] int exit_code_of(ErrorKind kind);
// Prints "streamer: URI: message" on stderr and, with --json, the error on stdout; returns the exit
// code of the error's kind.
int report(const Error& error);
// The same for arguments that make no sense.
int report_misuse(std::string_view why);

enum class Colour { red, green, yellow };
// In that colour if file is a terminal that has colours and NO_COLOR is not set, else as it is.
[[nodiscard]] std::string painted(std::FILE* file, Colour colour, std::string_view text);

// Text for a terminal, whatever is in it: control characters as \xNN.
[[nodiscard]] std::string escaped(std::string_view text);
// "note: ..." for each line.
void print_notes(std::string_view notes);
// A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);
// "1.50 GiB".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
// "1.50 GB/s"; "12.3 MB/s" and "0.1 kB/s" where that would be less than 0.10.
[[nodiscard]] std::string human_rate(std::uint64_t bytes, std::uint64_t elapsed_ns);

// Ends a command that wrote to stdout: flushes, and turns a failure (a full disk) into an exit
// code. If the reader of the output went away, the process ends as one that does not care about
// SIGPIPE: quietly, by that signal.
int finish_output();

}  // namespace streamer::cli
