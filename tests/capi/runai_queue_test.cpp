// SPDX-License-Identifier: Apache-2.0
// On a stand-in for the CUDA runtime, whose memory is the host's.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runai_file_streamer.h"
#include "support/catch.hpp"
#include "support/runai_handle.hpp"

using namespace streamer::test::runai;

namespace {

int threads_now() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  }
  return 0;
}

// So many submissions, each of its own file, in ranges of 1 MiB.
std::vector<Submission> many_submissions(const Folder& folder, std::size_t count,
                                         std::size_t mebibytes) {
  std::vector<Submission> submissions(count);
  for (unsigned i = 0; i < count; ++i) {
    const std::size_t bytes = mebibytes << 20;
    submissions[i].add_file(folder.write(fmt::format("f{}", i), content_of(i, bytes)));
    for (std::size_t at = 0; at < bytes; at += 1 << 20)
      submissions[i].add_range(at, 1 << 20);
  }
  return submissions;
}

}  // namespace

TEST_CASE("submissions share one pool of readers, in the order in which they came", "[runai]") {
  const Folder folder;
  std::vector<Submission> submissions = many_submissions(folder, 8, 10);
  constexpr int kConcurrency = 4;
  ::setenv("RUNAI_STREAMER_CONCURRENCY", std::to_string(kConcurrency).c_str(), 1);
  // So slow that one is still read when the next one has begun.
  ::setenv("STREAMER_MAX_BANDWIDTH", "80MB", 1);
  const int before = threads_now();
  {
    const Streamer streamer;
    ::unsetenv("RUNAI_STREAMER_CONCURRENCY");
    int most = 0;
    std::map<RunaiFileStreamerSubmissionId, std::size_t> numbers;
    for (std::size_t i = 0; i < submissions.size(); ++i) {
      REQUIRE(submissions[i].send(streamer.handle) == 0);
      numbers[submissions[i].id] = i;
      most = std::max(most, threads_now());
    }
    std::set<std::size_t> unfinished;
    for (std::size_t i = 0; i < submissions.size(); ++i)
      unfinished.insert(i);
    while (!unfinished.empty()) {
      const Got got = take(streamer);
      most = std::max(most, threads_now());
      REQUIRE(got.code == 0);
      REQUIRE(numbers.contains(got.id));
      const std::size_t number = numbers[got.id];
      // Only the one before it may still be under way.
      CAPTURE(number, *unfinished.begin());
      CHECK(std::distance(unfinished.begin(), unfinished.find(number)) <= 1);
      if (got.is_last == 1) unfinished.erase(number);
    }
    // The readers, two that wait for them, and one that may open files.
    CHECK(most <= before + kConcurrency + 3);
  }
  ::unsetenv("STREAMER_MAX_BANDWIDTH");
  CHECK(threads_now() == before);
  for (unsigned i = 0; i < submissions.size(); ++i)
    CHECK(submissions[i].memory == content_of(i, submissions[i].memory.size()));
}

TEST_CASE("a submission that fails is alone in it", "[runai]") {
  const Folder folder;
  std::vector<Submission> submissions = many_submissions(folder, 6, 6);
  submissions[1].paths[0] += ".nobody";
  submissions[4].offsets[0] = 1 << 30;
  // The third is cut off while it is read.
  const std::string cut = submissions[2].paths[0];
  ::setenv("STREAMER_MAX_BANDWIDTH", "8MB", 1);
  const Streamer streamer;
  std::map<RunaiFileStreamerSubmissionId, Submission*> numbers;
  for (Submission& submission : submissions) {
    // On a device that does not exist.
    const bool is_fourth = &submission == &submissions[3];
    const RunaiFileStreamerDevice device{
        is_fourth ? RUNAI_FILE_STREAMER_DEVICE_CUDA : RUNAI_FILE_STREAMER_DEVICE_CPU, 99};
    REQUIRE(submission.send(streamer.handle, device) == 0);
    numbers[submission.id] = &submission;
  }
  for (std::size_t left = 6 * 6; left > 0; --left) {
    const Got got = take(streamer);
    Submission& of = *numbers.at(got.id);
    REQUIRE(of.codes.emplace(std::pair(got.file, got.index), got.code).second);
    if (&of == &submissions[2] && of.codes.size() == 1) std::filesystem::resize_file(cut, 0);
  }
  ::unsetenv("STREAMER_MAX_BANDWIDTH");
  CHECK(take(streamer).code == 1);
  const auto codes = [&](std::size_t number) {
    std::map<int, int> counted;
    for (const auto& [range, code] : submissions[number].codes)
      ++counted[code];
    return counted;
  };
  const std::map<int, int> all_good = {{0, 6}};
  CHECK(codes(0) == all_good);
  CHECK(codes(1) == std::map<int, int>{{2, 6}});
  CHECK(codes(2)[2] > 0);
  CHECK(codes(2)[0] + codes(2)[2] == 6);
  CHECK(codes(3).size() == 1);
  CHECK_FALSE(codes(3).contains(0));
  CHECK(codes(4) == std::map<int, int>{{3, 1}, {0, 5}});
  CHECK(codes(5) == all_good);
  for (const unsigned i : {0U, 5U})
    CHECK(submissions[i].memory == content_of(i, submissions[i].memory.size()));
}

TEST_CASE("ending drops what is under way", "[runai]") {
  const Folder folder;
  const std::string path = folder.write("f0", std::string(8 << 20, 'x'));
  ::setenv("STREAMER_MAX_BANDWIDTH", "1MB", 1);
  // One that is read, one that follows it, and one that waits.
  std::vector<Submission> submissions(3);
  const int before = threads_now();
  {
    const Streamer streamer;
    for (Submission& one : submissions) {
      one.add_file(path);
      for (std::size_t i = 0; i < 8; ++i)
        one.add_range(i << 20, 1 << 20);
      REQUIRE(one.send(streamer.handle) == 0);
    }
  }
  ::unsetenv("STREAMER_MAX_BANDWIDTH");
  CHECK(threads_now() == before);
  // Cut off, half a minute before it would have been done; and without a thread, nobody writes
  // there.
  for (const Submission& one : submissions)
    CHECK(std::count(one.memory.begin(), one.memory.end(), 'x') < 8 << 20);
}
