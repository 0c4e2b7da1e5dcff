// SPDX-License-Identifier: Apache-2.0
#pragma once
// A checkpoint whose bytes are known by their place, and a server on loopback that has it.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"

namespace streamer::test {

// One file of safetensors: large tensors, and many small ones.
struct KitFile {
  std::filesystem::path path;
  std::uint64_t data_bytes = 0;
  // By the number of the tensor in the file: where its bytes begin, in the file's data.
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint64_t> sizes;
};

core::Result<KitFile> make_kit_file(const std::filesystem::path& path, std::uint64_t bytes);
// Whether they are the file's data from that offset on. Offsets are multiples of 8.
bool are_kit_bytes(const std::byte* bytes, std::uint64_t size, std::uint64_t offset);

// Writes the file's dirty pages and drops it from the page cache.
core::Result<void> make_cold(const std::filesystem::path& path);
// Reads it in blocks to memory that is used again, by so many threads. flags: for open().
core::Result<void> read_plainly(const std::filesystem::path& path, unsigned threads, int flags);

// Plain HTTP/1.1 on 127.0.0.1: GET and HEAD with ranges, of one file.
class KitServer {
 public:
  static core::Result<std::unique_ptr<KitServer>> start(const std::filesystem::path& path);
  ~KitServer();
  KitServer(const KitServer&) = delete;
  KitServer& operator=(const KitServer&) = delete;
  [[nodiscard]] std::string url() const;

 private:
  KitServer(int listener, int file, std::uint64_t size);
  void serve(int socket) const;

  const int listener_;
  const int file_;
  const std::uint64_t size_;
  std::atomic<bool> is_ending_{false};
  std::thread thread_;
};

}  // namespace streamer::test
