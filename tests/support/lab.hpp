// SPDX-License-Identifier: Apache-2.0
#pragma once
// A raw checkpoint in a temporary folder, and what tests of loads do with it again and again.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "engine/load.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

namespace streamer::test {

inline core::SteadyTime in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

inline std::vector<core::PlanRequest> everything(const core::Checkpoint& checkpoint) {
  std::vector<core::PlanRequest> requests;
  for (std::uint32_t t = 0; t < checkpoint.tensors.size(); ++t)
    requests.push_back({.tensor = t});
  return requests;
}

// Writes the file's dirty pages and drops it from the page cache.
inline void make_cold(const std::filesystem::path& path) {
  const core::UniqueFd fd(::open(path.c_str(), O_RDONLY));
  REQUIRE(::fsync(fd.get()) == 0);
  REQUIRE(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
}

struct Lab {
  explicit Lab(std::vector<RawFile> made) : files(std::move(made)) {
    checkpoint = make_raw_checkpoint(folder.path(), files);
  }

  std::filesystem::path path(std::size_t file) const {
    return folder.path() / std::to_string(file);
  }

  void check(const core::TensorLease& lease, const std::vector<core::PlanRequest>& requests) const {
    const std::string_view name = lease.tensor().name;
    const RawFile& file = files[lease.tensor().object];
    const RawTensor& tensor =
        file.tensors[std::stoul(std::string(name.substr(name.find('.') + 1)))];
    const auto expected = expected_bytes(file, tensor, requests[lease.item()]);
    REQUIRE(lease.bytes() == expected.size());
    REQUIRE((expected.empty() || std::memcmp(lease.data(), expected.data(), expected.size()) == 0));
  }

  TemporaryFolder folder;
  std::vector<RawFile> files;
  std::shared_ptr<const core::Checkpoint> checkpoint;
};

// One file with `count` tensors of `bytes` each.
inline std::vector<RawFile> equal_tensors(std::uint32_t count, std::uint64_t bytes) {
  RawFile file;
  file.bytes = random_bytes(count * bytes, count + bytes);
  for (std::uint32_t t = 0; t < count; ++t) {
    file.tensors.push_back({core::Dtype::u8, {bytes}, t * bytes});
  }
  return {file};
}

inline std::unique_ptr<core::Load> start(const Lab& lab, const core::LoadSettings& settings,
                                         core::LoadOptions options = {}) {
  auto load = core::Load::start(lab.checkpoint, everything(*lab.checkpoint), options, settings);
  REQUIRE(load);
  return *std::move(load);
}

// The next item, or nullptr at the end; anything else fails the test.
inline core::TensorLease* next(core::Load& load) {
  auto yielded = load.next(in(std::chrono::seconds(30)));
  if (!yielded) FAIL(yielded.error().line());
  REQUIRE(yielded->outcome != core::Load::Outcome::not_ready);
  return yielded->outcome == core::Load::Outcome::end ? nullptr : yielded->lease;
}

// Takes and releases everything, checking each; returns how many there were.
inline std::uint32_t drain(core::Load& load, const Lab& lab) {
  const auto requests = everything(*lab.checkpoint);
  std::uint32_t count = 0;
  while (core::TensorLease* const lease = next(load)) {
    lab.check(*lease, requests);
    lease->release();
    ++count;
  }
  return count;
}

// Takes everything as a consumer with a mind of its own would: holds some, releases others in any
// order, sees to it that nobody wrote over them, and ends the load before the last of them. look()
// is called for each when it is yielded.
inline void take_at_random(std::unique_ptr<core::Load> load, const Lab& lab,
                           const std::vector<core::PlanRequest>& requests, std::mt19937_64& random,
                           const std::function<void(const core::TensorLease&)>& look) {
  std::vector<bool> seen(requests.size());
  std::vector<core::TensorLease*> held;
  const auto release_one = [&] {
    const std::size_t pick = random() % held.size();
    lab.check(*held[pick], requests);
    held[pick]->release();
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(pick));
  };
  for (;;) {
    auto yielded = load->next(in(std::chrono::seconds(30)));
    if (!yielded && yielded.error().kind() == core::ErrorKind::memory_limit) {
      REQUIRE_FALSE(held.empty());
      release_one();
      continue;
    }
    if (!yielded) FAIL(yielded.error().line());
    REQUIRE(yielded->outcome != core::Load::Outcome::not_ready);
    if (yielded->outcome == core::Load::Outcome::end) break;
    lab.check(*yielded->lease, requests);
    look(*yielded->lease);
    REQUIRE_FALSE(seen[yielded->lease->item()]);
    seen[yielded->lease->item()] = true;
    held.push_back(yielded->lease);
    if (random() % 2 == 0) release_one();
  }
  CHECK(std::count(seen.begin(), seen.end(), true) == static_cast<std::ptrdiff_t>(seen.size()));
  load.reset();
  while (!held.empty())
    release_one();
}

// Runs body in a child process; what it returns is the child's exit status. For what changes a
// process for good: limits, filters, forks.
inline int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(body());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The same for children that run while threads of this process work for them, such as a server's.
// Forked in advance: a lock that such a thread holds at a fork is never released in the child.
class WaitingChild {
 public:
  explicit WaitingChild(const std::function<int()>& body) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const core::UniqueFd waits(ends[0]);
    go_ = core::UniqueFd(ends[1]);
    child_ = ::fork();
    REQUIRE(child_ >= 0);
    if (child_ != 0) return;
    char word = 0;
    ::_exit(::read(waits.get(), &word, 1) == 1 ? body() : 125);
  }

  void go() { REQUIRE(::write(go_.get(), "g", 1) == 1); }
  int status() {
    int status = 0;
    REQUIRE(::waitpid(child_, &status, 0) == child_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  core::UniqueFd go_;
  pid_t child_ = 0;
};

}  // namespace streamer::test
