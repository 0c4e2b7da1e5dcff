// SPDX-License-Identifier: Apache-2.0
#include "auth/credential_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/log.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "http/request.hpp"

namespace streamer::core::inline auth {

std::string home_directory(const Environment& environment) {
  if (auto home = environment("HOME")) return *std::move(home);
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0) return {};
  return found == nullptr ? std::string() : std::string(found->pw_dir);
}

Result<std::string> read_small_file(const std::string& path, std::size_t most_bytes) {
  // O_NONBLOCK: a FIFO in the file's place must not block.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return os_failure("open the file", errno).at(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) == 0 && S_ISDIR(info.st_mode))
    return Error(ErrorKind::invalid_argument, "it is a directory").at(path);
  if ((info.st_mode & (S_IRGRP | S_IROTH)) != 0 && path.ends_with("/credentials")) {
    log_line(LogLevel::warning, fmt::format("{} can be read by other users; chmod 600 it", path));
  }
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_failure("read the file", errno).at(path);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > most_bytes) {
      return Error(
                 ErrorKind::invalid_argument,
                 fmt::format("the file is longer than {} bytes, the most it may have", most_bytes))
          .at(path);
    }
  }
}

Result<void> replace_private_file(const std::string& path, std::string_view text) {
  std::string other = path + ".XXXXXX";
  const UniqueFd fd(::mkostemp(other.data(), O_CLOEXEC));  // mode 0600
  if (!fd) return os_failure("create a file beside it", errno).at(path);
  const auto fail = [&](const char* what) {
    Error error = os_failure(what, errno).at(path);
    ::unlink(other.c_str());
    return error;
  };
  while (!text.empty()) {
    const ssize_t put = ::write(fd.get(), text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail("write the file");
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::rename(other.c_str(), path.c_str()) != 0) return fail("rename the file");
  return {};
}

Result<Secret> read_token_file(const std::string& path, std::size_t most_bytes) {
  const std::string text = TRY(read_small_file(path, most_bytes));
  Secret token{std::string(trim(text))};
  if (token.empty()) return Error(ErrorKind::permission_denied, "the token file is empty").at(path);
  TRY(check_header_value("the token in the file", token.reveal()).at(path));
  return token;
}

Error keep_place(Error error) {
  if (error.fields().uri.empty()) return error;
  ErrorFields fields = error.fields();
  fields.message = fmt::format("{}: {}", fields.uri, fields.message);
  fields.uri.clear();
  return Error(std::move(fields));
}

}  // namespace streamer::core::inline auth
