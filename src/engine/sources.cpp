// SPDX-License-Identifier: Apache-2.0
#include "engine/sources.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/blocking_source.hpp"
#include "engine/cached_source.hpp"
#include "engine/file_source.hpp"
#include "engine/network_source.hpp"
#include "storage/cache/cache_entry.hpp"
#include "storage/cache/cache_format.hpp"

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

// For what is there of objects that are kept.
constexpr SourceRow kFromCache = {
    nullptr, kMiB, {.files = true, .reads_block = true}, CachedSource::make};

const SourceRow& row_of(Store& store) {
  return *std::find_if(std::begin(kSources), std::end(kSources),
                       [&](const SourceRow& row) { return row.brings(store); });
}

// By chunk, not by object: an object may be cached in part.
const SourceRow& row_of(const SourceObject& one, const Chunk& chunk) {
  if (one.cached && one.cached->has({chunk.offset, chunk.size})) return kFromCache;
  return row_of(*one.store);
}

void note_what_is_not_kept(const SourceObject& one, Notes& notes) {
  if (one.cached || one.store->cache() == nullptr || one.object->size == 0) return;
  notes.add(fmt::format("{} is not cached (cache_weights): {}", one.object->uri.text(),
                        is_strong_etag(one.object->etag)
                            ? "too many files are open; raise their number (ulimit -n)"
                            : "its store gives it no strong ETag, which would tell its versions "
                              "apart"));
}

}  // namespace

// One for each of the checkpoint's objects, in its order, which chunks refer to by number.
Result<std::vector<SourceObject>> source_objects(const Checkpoint& checkpoint) {
  std::vector<SourceObject> objects;
  for (const CheckpointObject& entry : checkpoint.objects) {
    Store* const store = TRY(checkpoint.stores->of(entry.object.uri));
    objects.push_back({&entry.object, store, store->cached(entry.object)});
  }
  return objects;
}

// What sizes are chosen by: file readers block in the kernel and want threads of their own, the
// network needs few threads and many connections.
ReadingFrom reading_from(std::span<const SourceObject> objects) {
  ReadingFrom from;
  for (const SourceObject& one : objects) {
    const ReadingFrom& needed = row_of(*one.store).from;
    from.files = from.files || needed.files;
    from.network = from.network || needed.network;
    from.reads_block = from.reads_block || needed.reads_block;
    if (!one.cached || one.cached->is_empty()) continue;
    from.files = from.reads_block = true;
  }
  return from;
}

// How large a hole between two wanted ranges may be before it costs less to make two requests. Of
// several stores the dearest decides.
Result<std::uint64_t> coalesce_gap_bytes(const Checkpoint& checkpoint,
                                         const LoadSettings& settings) {
  if (const auto chosen = settings.get(setting::kCoalesceGapBytes)) return *chosen;
  std::uint64_t most = 0;
  for (const CheckpointObject& entry : checkpoint.objects)
    most = std::max(most, row_of(*TRY(checkpoint.stores->of(entry.object.uri))).gap_bytes);
  return most;
}

// Divides the plan's chunks among the sources that can bring them; each gets its own, and its own
// threads.
Result<std::vector<std::unique_ptr<Source>>> make_sources(SourceParts parts) {
  std::vector<std::unique_ptr<Source>> sources;
  const auto all = parts.landing.plan().chunks();
  for (const SourceObject& one : parts.objects)
    note_what_is_not_kept(one, parts.landing.notes());
  // Asked once: what is kept may change meanwhile.
  std::vector<const SourceRow*> row_of_chunk;
  for (const Chunk& chunk : all)
    row_of_chunk.push_back(&row_of(parts.objects[chunk.object], chunk));
  std::vector<const SourceRow*> rows = {&kFromCache};
  for (const SourceRow& row : kSources)
    rows.push_back(&row);
  // The memory limit has room for the buffers of this many threads, of all kinds together.
  const auto kinds =
      static_cast<std::uint32_t>(std::count_if(rows.begin(), rows.end(), [&](const SourceRow* row) {
        return row->from.files &&
               std::find(row_of_chunk.begin(), row_of_chunk.end(), row) != row_of_chunk.end();
      }));
  parts.threads = std::max(1U, parts.sizes.file_readers / std::max(1U, kinds));
  for (const SourceRow* const row : rows) {
    parts.chunks.clear();
    for (const Chunk& chunk : all) {
      if (row_of_chunk[chunk.number] == row) parts.chunks.push_back(chunk.number);
    }
    if (!parts.chunks.empty()) sources.push_back(TRY(row->make(parts)));
  }
  return sources;
}

}  // namespace streamer::core::inline engine
