// SPDX-License-Identifier: Apache-2.0
#pragma once
// GPUDirect Storage: reads files straight into device memory, without the host's. Its library comes
// with CUDA and is loaded on demand.

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace streamer::core::inline gpu {

class CuFile {
 public:
  // Loads the library, once per process and name, and opens its driver, which can take seconds.
  // Fails with device, saying what is missing. Static lifetime.
  static Result<const CuFile*> get(const std::string& library);

  // A file that was opened with O_DIRECT; the descriptor must stay open as long as this object.
  class File {
   public:
    File(const CuFile& library, void* handle) : library_(library), handle_(handle) {}
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    // Reads all of [offset, offset + size) into memory of the thread's current device. Thread-safe;
    // blocks.
    Result<void> read(void* to, std::uint64_t offset, std::uint64_t size) const;

   private:
    const CuFile& library_;
    void* const handle_;
  };

  // Fails if the file system does not support it.
  Result<std::unique_ptr<File>> open(int fd) const;

 private:
  struct Calls;
  explicit CuFile(std::unique_ptr<Calls> calls);
  ~CuFile() = default;  // never called

  const std::unique_ptr<Calls> calls_;
};

}  // namespace streamer::core::inline gpu
