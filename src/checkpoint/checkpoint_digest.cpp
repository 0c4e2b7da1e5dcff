// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint_digest.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>

namespace streamer::core::inline checkpoint {

namespace {

void put(std::string& text, std::uint64_t number) {
  for (unsigned byte = 0; byte < sizeof number; ++byte)
    text += static_cast<char>(number >> (8 * byte) & 0xFFU);
}

// Some bytes of a file, spread evenly over its tensors: other weights differ nearly everywhere.
Result<void> add_sample(Sha256Hasher& hasher, Store& store, const CheckpointObject& entry) {
  constexpr std::uint64_t kSamples = 8;
  const std::uint64_t bytes = entry.object.size - std::min(entry.head_bytes, entry.object.size);
  std::array<char, 512> sample{};
  const std::uint64_t each = std::min<std::uint64_t>(sample.size(), bytes / kSamples);
  for (std::uint64_t i = 0; i < kSamples && each != 0; ++i) {
    const std::uint64_t at = entry.head_bytes + bytes / kSamples * i;
    TRY(store.read(entry.object, {at, each},
                   std::as_writable_bytes(std::span(sample)).first(each)));
    hasher.update(std::string_view(sample.data(), each));
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
    Store* const store = TRY(checkpoint.stores->of(entry.object.uri));
    if (store->has_files()) TRY(add_sample(hasher, *store, entry));
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
