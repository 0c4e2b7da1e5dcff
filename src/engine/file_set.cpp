// SPDX-License-Identifier: Apache-2.0
#include "engine/file_set.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace streamer::core::inline engine {

FileSet::FileSet(std::span<const SourceObject> objects, const Plan& plan, FileIo file_io,
                 const CuFile* cu_file, Notes& notes)
    : file_io_(file_io), cu_file_(cu_file), notes_(notes) {
  slots_.with([&](std::vector<Slot>& slots) {
    for (const SourceObject& one : objects)
      slots.push_back({one.object, 0, nullptr});
    for (const Chunk& chunk : plan.chunks())
      ++slots[chunk.object].chunks_left;
  });
}

Result<std::shared_ptr<const OpenFile>> FileSet::open(std::uint32_t object) {
  using OpenedFile = std::shared_ptr<const OpenFile>;
  return slots_.with([&](std::vector<Slot>& slots) -> Result<OpenedFile> {
    Slot& slot = slots[object];
    if (slot.file) return slot.file;
    auto file = std::make_shared<OpenFile>(*slot.object);
    file->buffered = TRY(open_pinned(*slot.object));
    if (file_io_ != FileIo::buffered) open_direct(*file);
    if (cu_file_ != nullptr && file->direct) open_past_host(*file);
    slot.file = std::move(file);
    return slot.file;
  });
}

void FileSet::open_direct(OpenFile& file) const {
  auto direct = open_pinned(*file.object, O_DIRECT);
  int refusal = direct ? 0 : direct.error().fields().os_error;
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (direct && ::statx(direct->get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) != 0) {
    const bool usable = status.stx_dio_offset_align != 0 &&
                        status.stx_dio_offset_align <= kPageBytes &&
                        status.stx_dio_mem_align <= kPageBytes;
    if (usable) file.memory_alignment = std::max<std::uint64_t>(status.stx_dio_mem_align, 1);
    if (!usable) refusal = EINVAL;
  }
#endif
  if (direct && refusal == 0) {
    file.direct = *std::move(direct);
    return;
  }
  notes_.add(fmt::format("the file system of {} does not allow O_DIRECT ({}): reading buffered",
                         file.object->uri.text(), std::generic_category().message(refusal)));
}

void FileSet::open_past_host(OpenFile& file) const {
  auto opened = cu_file_->open(file.direct.get());
  if (opened) {
    file.past_host = *std::move(opened);
    return;
  }
  notes_.add(fmt::format("GPUDirect Storage does not take {} ({}): reading through host memory",
                         file.object->uri.text(), opened.error().message()));
}

void FileSet::chunk_landed(std::uint32_t object) {
  slots_.with([&](std::vector<Slot>& slots) {
    Slot& slot = slots[object];
    if (--slot.chunks_left == 0) slot.file.reset();
  });
}

}  // namespace streamer::core::inline engine
