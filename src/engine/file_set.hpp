// SPDX-License-Identifier: Apache-2.0
#pragma once
// The files of a load: opened when their first chunk is claimed, closed when their last has landed.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/guarded.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "engine/load_settings.hpp"
#include "engine/notes.hpp"
#include "engine/plan.hpp"
#include "engine/source_object.hpp"
#include "gpu/cu_file.hpp"
#include "storage/file_store.hpp"

namespace streamer::core::inline engine {

// One open file, shared by the readers that have chunks of it in flight. Immutable except for the
// mutable members.
struct OpenFile {
  explicit OpenFile(const Object& of) : object(&of), pinned(of) {}

  const Object* const object;
  const PinnedFile pinned;
  UniqueFd buffered;
  UniqueFd direct;  // empty: the file system or the settings do not allow O_DIRECT
  // What an address of a direct read must be a multiple of.
  std::uint64_t memory_alignment = kPageBytes;
  // Set once a direct read was refused all the same; relaxed, because a reader that misses it only
  // tries once more.
  mutable std::atomic<bool> direct_is_refused{false};
  // Uses `direct`, and is closed before it; nullptr: not wanted, or not available.
  std::unique_ptr<CuFile::File> past_host;
  // Set once a read past the host failed; relaxed, as the flag above.
  mutable std::atomic<bool> past_host_is_refused{false};
};

class FileSet {
 public:
  // The references must outlive the set. cu_file: nullptr without GPUDirect Storage.
  FileSet(std::span<const SourceObject> objects, const Plan& plan, FileIo file_io,
          const CuFile* cu_file, Notes& notes);

  // Thread-safe.
  Result<std::shared_ptr<const OpenFile>> open(std::uint32_t object);
  // Thread-safe. Once per chunk of the object.
  void chunk_landed(std::uint32_t object);

 private:
  struct Slot {
    const Object* object = nullptr;
    std::uint32_t chunks_left = 0;
    std::shared_ptr<const OpenFile> file;
  };

  void open_direct(OpenFile& file) const;
  void open_past_host(OpenFile& file) const;

  const FileIo file_io_;
  const CuFile* const cu_file_;
  Notes& notes_;
  Guarded<std::vector<Slot>> slots_;
};

}  // namespace streamer::core::inline engine
