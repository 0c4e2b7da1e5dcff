// SPDX-License-Identifier: Apache-2.0
#include "base/log_environment.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clean_text.hpp"
#include "base/environment.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline base {

namespace {

// In the order of LogLevel.
constexpr std::array<std::string_view, 5> kLevels = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR"};

// One write, so that lines of several processes do not mix. A line that cannot be written is lost.
void write_line(int fd, std::string_view line) {
  [[maybe_unused]] const ssize_t wrote = ::write(fd, line.data(), line.size());
}

void warn(std::string_view what) {
  write_line(STDERR_FILENO, fmt::format("libstreamer: {}\n", clean_text(what)));
}

LogLevel level_of(const std::optional<std::string>& name) {
  if (!name) return LogLevel::warning;
  // The most that the original has.
  if (equal_ignoring_case(*name, "spam")) return LogLevel::trace;
  for (std::size_t i = 0; i < kLevels.size(); ++i) {
    if (equal_ignoring_case(*name, kLevels[i])) return static_cast<LogLevel>(i);
  }
  warn(fmt::format("the log level {} is unknown; using warning", *name));
  return LogLevel::warning;
}

std::string stamped(LogLevel level, std::string_view line) {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("[{:%Y-%m-%d %H:%M:%S}.{:03}] [{:<7}] [{} {}] {}\n", fmt::gmtime(seconds),
                     (now - seconds).count(), kLevels[static_cast<std::size_t>(level)], ::getpid(),
                     ::gettid(), line);
}

void follow(const Environment& environment) {
  std::optional<std::string> file = environment("STREAMER_LOG_FILE");
  std::optional<std::string> level = environment("STREAMER_LOG_LEVEL");
  if (!level) level = environment("RUNAI_STREAMER_LOG_LEVEL");
  if (level && equal_ignoring_case(*level, "off")) return set_first_log_sink(LogLevel::off, {});
  bool to_stderr = file == "stderr";
  if (to_stderr) file.reset();
  if (!file && !to_stderr) {
    file = environment("RUNAI_STREAMER_LOG_FILE");
    to_stderr = environment("RUNAI_STREAMER_LOG_TO_STDERR") == "1";
  }
  if (!file && !to_stderr) return;
  UniqueFd fd;
  if (file) {
    fd = UniqueFd(::open(file->c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
    if (!fd) warn(fmt::format("the log {} cannot be opened: {}", *file, std::strerror(errno)));
  }
  const auto shared = std::make_shared<const UniqueFd>(std::move(fd));
  set_first_log_sink(level_of(level), [shared, to_stderr](LogLevel of, std::string_view line) {
    const std::string text = stamped(of, line);
    if (to_stderr) write_line(STDERR_FILENO, text);
    if (*shared) write_line(shared->get(), text);
  });
}

}  // namespace

void follow_log_environment() {
  static std::once_flag once;
  std::call_once(once, [] { follow(process_environment()); });
}

void show_errors() {
  follow_log_environment();
  set_first_log_sink(LogLevel::error, [](LogLevel, std::string_view line) { warn(line); });
}

}  // namespace streamer::core::inline base
