// SPDX-License-Identifier: Apache-2.0
#include "engine/sources.hpp"

#include <algorithm>
#include <utility>

#include "engine/blocking_source.hpp"
#include "engine/file_source.hpp"
#include "engine/network_source.hpp"

namespace streamer::core::inline engine {

namespace {

Result<std::unique_ptr<Source>> make_file_source(SourceParts parts) {
  return std::unique_ptr<Source>(std::make_unique<FileSource>(std::move(parts)));
}

// The only list of sources.
struct SourceRow {
  bool (*brings)(Store& store);
  // The cost of a request: the bytes that could have arrived in its time.
  std::uint64_t gap_bytes;
  ReadingFrom from;
  Result<std::unique_ptr<Source>> (*make)(SourceParts parts);
};

// A store uses the first source that can read it.
constexpr SourceRow kSources[] = {
    // 10 ms of a connection's time.
    {[](Store& store) { return store.remote() != nullptr; },
     kMiB,
     {.network = true},
     NetworkSource::make},
    // A disk's.
    {[](Store& store) { return store.has_files(); }, 16 * kKiB, {.files = true}, make_file_source},
    // Other stores, of which nothing is known: between the two.
    {[](Store&) { return true; },
     256 * kKiB,
     {.files = true, .reads_block = true},
     BlockingSource::make},
};

const SourceRow& row_of(const SourceObject& one) {
  return *std::find_if(std::begin(kSources), std::end(kSources),
                       [&](const SourceRow& row) { return row.brings(*one.store); });
}

}  // namespace

Result<std::vector<SourceObject>> source_objects(const Checkpoint& checkpoint) {
  std::vector<SourceObject> objects;
  for (const CheckpointObject& entry : checkpoint.objects)
    objects.push_back({&entry.object, TRY(checkpoint.stores->of(entry.object.uri))});
  return objects;
}

ReadingFrom reading_from(std::span<const SourceObject> objects) {
  ReadingFrom from;
  for (const SourceObject& one : objects) {
    from.files = from.files || row_of(one).from.files;
    from.network = from.network || row_of(one).from.network;
    from.reads_block = from.reads_block || row_of(one).from.reads_block;
  }
  return from;
}

Result<std::uint64_t> coalesce_gap_bytes(const Checkpoint& checkpoint,
                                         const LoadSettings& settings) {
  if (const auto chosen = settings.get(setting::kCoalesceGapBytes)) return *chosen;
  std::uint64_t most = 0;
  for (const SourceObject& one : TRY(source_objects(checkpoint)))
    most = std::max(most, row_of(one).gap_bytes);
  return most;
}

Result<std::vector<std::unique_ptr<Source>>> make_sources(SourceParts parts) {
  std::vector<std::unique_ptr<Source>> sources;
  const auto all = parts.landing.plan().chunks();
  // The memory limit has room for the buffers of this many threads, of all kinds together.
  const auto kinds = static_cast<std::uint32_t>(
      std::count_if(std::begin(kSources), std::end(kSources), [&](const SourceRow& row) {
        return row.from.files &&
               std::any_of(parts.objects.begin(), parts.objects.end(),
                           [&](const SourceObject& one) { return &row_of(one) == &row; });
      }));
  parts.threads = std::max(1U, parts.sizes.file_readers / std::max(1U, kinds));
  for (const SourceRow& row : kSources) {
    parts.chunks.clear();
    for (const Chunk& chunk : all) {
      if (&row_of(parts.objects[chunk.object]) == &row) parts.chunks.push_back(chunk.number);
    }
    if (!parts.chunks.empty()) sources.push_back(TRY(row.make(parts)));
  }
  return sources;
}

}  // namespace streamer::core::inline engine
