// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint_digest.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "storage/file_store.hpp"

namespace streamer::core::inline checkpoint {

namespace {

void put(std::string& text, std::uint64_t number) {
  for (unsigned byte = 0; byte < sizeof number; ++byte)
    text += static_cast<char>(number >> (8 * byte) & 0xFFU);
}

// Some bytes of a file, spread evenly over its tensors: other weights differ nearly everywhere.
Result<void> add_sample(Sha256Hasher& hasher, const CheckpointObject& entry) {
  constexpr std::uint64_t kSamples = 8;
  const UniqueFd fd = TRY(open_pinned(entry.object));
  const std::uint64_t bytes = entry.object.size - std::min(entry.head_bytes, entry.object.size);
  std::array<char, 512> sample{};
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const std::uint64_t at = entry.head_bytes + bytes / kSamples * i;
    const ssize_t got = ::pread(fd.get(), sample.data(), sample.size(), static_cast<off_t>(at));
    if (got < 0) return os_failure("read the file", errno).at(entry.object.uri.text());
    hasher.update(std::string_view(sample.data(), static_cast<std::size_t>(got)));
  }
  return {};
}

}  // namespace

Result<Sha256Digest> digest_of(const Checkpoint& checkpoint) {
  Sha256Hasher hasher;
  std::string row;
  for (const CheckpointObject& entry : checkpoint.objects) {
    row.clear();
    put(row, entry.object.size);
    const std::string& version =
        entry.object.etag.empty() ? entry.object.last_modified : entry.object.etag;
    put(row, version.size());
    hasher.update(row + version);
    if (entry.object.uri.scheme() == "file") TRY(add_sample(hasher, entry));
  }
  for (std::uint32_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const TensorView tensor = checkpoint.tensors[i];
    row.clear();
    put(row, tensor.name.size());
    row += tensor.name;
    put(row, static_cast<std::uint64_t>(tensor.dtype));
    put(row, tensor.shape.size());
    for (const std::uint64_t extent : tensor.shape)
      put(row, extent);
    put(row, tensor.object);
    put(row, tensor.bytes.offset);
    put(row, tensor.bytes.size);
    hasher.update(row);
  }
  return hasher.finish();
}

}  // namespace streamer::core::inline checkpoint
