// SPDX-License-Identifier: Apache-2.0
#pragma once
// What tests of the native functions of the Run:ai Model Streamer make submissions with.

#include <cstddef>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gpu/gpu_kinds.hpp"
#include "runai_file_streamer.h"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

namespace streamer::test::runai {

inline constexpr RunaiFileStreamerDevice kCpu{RUNAI_FILE_STREAMER_DEVICE_CPU, 0};

struct Folder {
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path() + "/" + name, std::ios::binary) << content;
    return path() + "/" + name;
  }
  [[nodiscard]] std::string path() const { return folder.path().string(); }

  streamer::test::TemporaryFolder folder;
};

inline std::string content_of(unsigned file, std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    content[i] = static_cast<char>((i * 31 + file * 7 + i / 251) & 0xFF);
  return content;
}

struct Streamer {
  void* handle = nullptr;
  Streamer() { REQUIRE(runai_file_streamer_start(&handle) == 0); }
  ~Streamer() { runai_file_streamer_end(handle); }
  Streamer(const Streamer&) = delete;
  Streamer& operator=(const Streamer&) = delete;
};

// For the length of the process.
inline char* allocate_on(int device, std::size_t bytes) {
  streamer::core::GpuRuntime& runtime =
      **streamer::core::runtime_of({streamer::core::kCudaKind, 0});
  REQUIRE(runtime.use_device(device));
  return static_cast<char*>(*runtime.allocate(bytes));
}

// One submission as the functions want it, and the memory it is read to.
struct Submission {
  RunaiFileStreamerSubmissionId id = 77;
  std::vector<std::string> paths;
  std::vector<unsigned> counts;
  std::vector<std::size_t> offsets;
  std::vector<std::size_t> sizes;
  std::vector<void*> places;
  std::string memory;
  std::map<std::pair<unsigned, unsigned>, int> codes;

  void add_file(const std::string& path) {
    paths.push_back(path);
    counts.push_back(0);
  }
  void add_range(std::size_t offset, std::size_t size) {
    ++counts.back();
    offsets.push_back(offset);
    sizes.push_back(size);
  }
  int send(void* streamer, RunaiFileStreamerDevice device = kCpu) {
    std::size_t all = 0;
    for (const std::size_t size : sizes)
      all += size;
    memory.assign(all, '\x5A');
    char* base = memory.data();
    if (device.type == RUNAI_FILE_STREAMER_DEVICE_CUDA && all != 0 && device.id >= 0 &&
        device.id < 2)
      base = allocate_on(device.id, all);
    all = 0;
    for (const std::size_t size : sizes) {
      places.push_back(base + all);
      all += size;
    }
    std::vector<const char*> texts;
    for (const std::string& path : paths)
      texts.push_back(path.c_str());
    return runai_file_streamer_request(streamer, &id, static_cast<unsigned>(paths.size()),
                                       texts.data(), counts.data(), offsets.data(), sizes.data(),
                                       places.data(), device);
  }
};

struct Got {
  int code = 0;
  RunaiFileStreamerSubmissionId id = 0;
  unsigned file = 0;
  unsigned index = 0;
  int is_last = 0;
};

inline Got take(const Streamer& streamer, unsigned timeout_ms = 0) {
  Got got;
  got.code = runai_file_streamer_response(streamer.handle, &got.id, &got.file, &got.index,
                                          &got.is_last, timeout_ms);
  return got;
}

// All responses of the submissions, and what they say of the last one of each.
inline void drain(const Streamer& streamer, std::vector<Submission*> submissions) {
  std::map<RunaiFileStreamerSubmissionId, Submission*> running;
  for (Submission* const submission : submissions)
    running[submission->id] = submission;
  while (!running.empty()) {
    const Got got = take(streamer);
    REQUIRE(running.contains(got.id));
    Submission& submission = *running[got.id];
    REQUIRE(submission.codes.emplace(std::pair(got.file, got.index), got.code).second);
    const bool is_last = submission.codes.size() == submission.sizes.size();
    REQUIRE((got.is_last == 1) == is_last);
    if (is_last) running.erase(got.id);
  }
  CHECK(take(streamer).code == 1);
}

}  // namespace streamer::test::runai
