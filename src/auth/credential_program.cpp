// SPDX-License-Identifier: Apache-2.0
#include "auth/credential_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/operation.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostOutputBytes = 64 * 1024;

// A child in a process group of its own, so that what it starts ends with it.
class Child {
 public:
  static Result<Child> start(const Program& program) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return os_failure("create a pipe", errno);
    Child child;
    child.output_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
    // No socket, file or pipe of the process leaks into the program.
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    std::vector<char*> argv;
    for (const std::string& word : program.words)
      argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> variables;
    for (char** one = environ; *one != nullptr; ++one)
      variables.push_back(*one);
    for (const std::string& variable : program.variables)
      variables.push_back(const_cast<char*>(variable.c_str()));
    variables.push_back(nullptr);
    const int failure =
        ::posix_spawnp(&child.pid_, argv[0], &actions, &attributes, argv.data(), variables.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failure != 0) {
      child.pid_ = -1;
      return os_failure(fmt::format("run {} ({})", program.name, program.words[0]), failure);
    }
    return child;
  }

  Child() = default;
  Child(Child&& other) noexcept
      : output_(std::move(other.output_)), pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    static_cast<void>(wait());
  }

  // All that it prints; timed_out if it has not ended by then.
  Result<std::string> read_all(const Program& program) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + program.deadline;
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
      if (!TRY(wait_readable(output_.get(), deadline, waiting_for(program)))) return late(program);
      const ssize_t got = ::read(output_.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(got));
      if (text.size() > kMostOutputBytes)
        return Error(ErrorKind::invalid_argument,
                     fmt::format("{} printed more than 64 KiB", program.name));
    }
  }

  // Its exit status, once it closed its output.
  Result<int> end(const Program& program) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + program.deadline;
    siginfo_t info{};
    // The end of a child has no descriptor everywhere.
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
      if (std::chrono::steady_clock::now() >= deadline) return late(program);
      TRY(pause_for(std::chrono::milliseconds(1), waiting_for(program)));
    }
    return wait();
  }

  // Its exit status, or 128 + the signal that ended it.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static std::string waiting_for(const Program& program) {
    return fmt::format("waiting for {} ({})", program.name, program.words[0]);
  }
  static Error late(const Program& program) {
    return Error(ErrorKind::timed_out,
                 fmt::format("{} did not end in time and was killed", program.name));
  }

  UniqueFd output_;
  pid_t pid_ = -1;
};

}  // namespace

Result<Secret> run_program(const Program& program) {
  Child child = TRY(Child::start(program));
  Secret output(TRY(child.read_all(program)));
  const int status = TRY(child.end(program));
  if (status == 0) return output;
  return Error(ErrorKind::permission_denied,
               fmt::format("{} ({}) ended with status {}", program.name, program.words[0], status));
}

Result<std::vector<std::string>> split_words(std::string_view name, std::string_view command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (c == '\\' && quote != '\'' && i + 1 < command.size()) {
      word += command[++i];
      in_word = true;
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0)
    return Error(ErrorKind::invalid_argument, fmt::format("{}: a quote is not closed", name));
  if (in_word) words.push_back(std::move(word));
  if (words.empty()) return Error(ErrorKind::invalid_argument, fmt::format("{} is empty", name));
  return words;
}

}  // namespace streamer::core::inline auth
