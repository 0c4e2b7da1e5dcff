// SPDX-License-Identifier: Apache-2.0
#include "engine/integrity.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/counted.hpp"

namespace streamer::core::inline engine {

namespace {

std::string_view as_bytes_of(const std::byte* data, std::uint64_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Whether the chunks cover every byte of the object after its header.
bool covers(const Plan& plan, const CheckpointObject& entry,
            std::span<const std::uint32_t> chunks) {
  if (entry.head_bytes == 0) return false;  // ranges of a file
  std::uint64_t at = entry.head_bytes;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& chunk = plan.chunks()[chunks[i]];
    if (chunks[i] != chunks[0] + i || chunk.offset != at) return false;
    plan.for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
      if (piece.offset == at) at += piece.size;
    });
    if (at != chunk.end()) return false;
  }
  return at == entry.object.size;
}

// The files that are not verified, in one note for each reason: a model may have hundreds.
class PassedOver {
 public:
  void add(const Uri& uri, const std::string& why) {
    const auto found = std::find_if(reasons_.begin(), reasons_.end(),
                                    [&](const Reason& reason) { return reason.why == why; });
    if (found == reasons_.end()) {
      reasons_.push_back({why, uri.text(), 1});
    } else {
      ++found->files;
    }
  }
  void say(Notes& notes) const {
    for (const Reason& reason : reasons_) {
      const std::string others =
          reason.files == 1 ? "is"
                            : fmt::format("and {} are", counted(reason.files - 1, "more file"));
      notes.warn(fmt::format("{} {} not verified: {}", reason.first, others, reason.why));
    }
  }

 private:
  struct Reason {
    std::string why;
    std::string first;
    std::uint64_t files = 0;
  };
  std::vector<Reason> reasons_;
};

}  // namespace

Result<std::unique_ptr<Integrity>> Integrity::make(const Checkpoint& checkpoint, const Plan& plan,
                                                   const std::string& verify, Notes& notes) {
  std::unique_ptr<Integrity> integrity(new Integrity(plan));
  const bool is_required = verify == "required";
  const bool asks_store = verify == "store" || is_required;
  Manifest manifest;
  if (!asks_store) manifest = TRY(Manifest::read(*checkpoint.stores, verify));
  std::vector<std::vector<std::uint32_t>> chunks(checkpoint.objects.size());
  for (std::uint32_t i = 0; i < plan.chunks().size(); ++i)
    chunks[plan.chunks()[i].object].push_back(i);
  integrity->by_object_.resize(checkpoint.objects.size());
  PassedOver passed_over;
  const auto pass_over = [&](const Uri& uri, const std::string& why) -> Result<void> {
    if (is_required) {
      return Error(ErrorKind::unsupported,
                   "verify is \"required\", and this file cannot be verified: " + why)
          .at(uri.text());
    }
    passed_over.add(uri, why);
    return {};
  };
  for (std::size_t i = 0; i < checkpoint.objects.size(); ++i) {
    const CheckpointObject& entry = checkpoint.objects[i];
    const Uri& uri = entry.object.uri;
    if (!covers(plan, entry, chunks[i])) {
      TRY(pass_over(uri, "not all of it is loaded, or some of it more than once"));
      continue;
    }
    Store* const store = TRY(checkpoint.stores->of(uri));
    StoredChecksum found;
    if (asks_store) {
      found = TRY(store->stored_checksum(entry.object));
    } else if (const ExpectedChecksum* const named = manifest.find(uri)) {
      found.expected = *named;
    } else {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("the manifest {} does not name this file", verify))
          .at(uri.text());
    }
    if (!found.expected) {
      TRY(pass_over(uri, "no checksum of the whole object: " + found.absent_because));
      continue;
    }
    integrity->by_object_[i] = std::make_unique<Watched>();
    TRY(integrity->watch(*integrity->by_object_[i], entry, *std::move(found.expected), *store,
                         chunks[i]));
  }
  passed_over.say(notes);
  return integrity;
}

Result<void> Integrity::watch(Watched& watched, const CheckpointObject& entry,
                              ExpectedChecksum expected, Store& store,
                              std::span<const std::uint32_t> chunks) {
  watched.object = &entry.object;
  watched.expected = std::move(expected);
  watched.first_chunk = chunks.empty() ? 0 : chunks.front();
  watched.chunks = static_cast<std::uint32_t>(chunks.size());
  // The checksum covers the header too, but the checkpoint keeps only what was parsed from it.
  std::vector<std::byte> header(entry.head_bytes);
  TRY(store.read(entry.object, {0, header.size()}, header));
  const std::string_view bytes = as_bytes_of(header.data(), header.size());
  return watched.state.with([&](State& state) -> Result<void> {
    state.parts.resize(chunks.size());
    state.left = chunks.size();
    if (watched.expected.kind == ChecksumKind::sha256) {
      state.sha256.update(bytes);
    } else {
      state.crc = crc_update(watched.expected.kind, 0, bytes);
    }
    if (state.left != 0) return {};
    return finish(watched, state);
  });
}

Result<void> Integrity::landed(const Chunk& chunk, const Address& address, const Signal& signal) {
  Watched* const watched = by_object_[chunk.object].get();
  if (watched == nullptr) {
    signal(chunk);
    return {};
  }
  const ChecksumKind kind = watched->expected.kind;
  if (kind != ChecksumKind::sha256) {
    // Outside the lock: several threads sum chunks of one object at the same time.
    std::uint64_t crc = 0;
    plan_.for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
      crc = crc_update(kind, crc, as_bytes_of(address(piece.place), piece.size));
    });
    TRY(note_crc(*watched, chunk, crc));
    signal(chunk);
    return {};
  }
  // SHA-256 cannot be combined from parts: a chunk that lands early stays unsignalled until
  // all chunks before it have been hashed.
  return watched->state.with([&](State& state) -> Result<void> {
    state.parts[chunk.number - watched->first_chunk].has_landed = true;
    while (state.next < state.parts.size() && state.parts[state.next].has_landed) {
      const Chunk& ready = plan_.chunks()[watched->first_chunk + state.next];
      plan_.for_each_piece(ready, ready.offset, [&](const Piece& piece) {
        state.sha256.update(as_bytes_of(address(piece.place), piece.size));
      });
      ++state.next;
      if (--state.left == 0) TRY(finish(*watched, state));
      signal(ready);
    }
    return {};
  });
}

std::optional<ChecksumKind> Integrity::crc_of(const Chunk& chunk) const noexcept {
  const Watched* const watched = by_object_[chunk.object].get();
  if (watched == nullptr || watched->expected.kind == ChecksumKind::sha256) return std::nullopt;
  return watched->expected.kind;
}

Result<void> Integrity::landed_as(const Chunk& chunk, std::uint64_t crc) {
  Watched* const watched = by_object_[chunk.object].get();
  if (watched == nullptr) return {};
  return note_crc(*watched, chunk, crc);
}

const Object* Integrity::needs_order() const noexcept {
  for (const Chunk& chunk : plan_.chunks()) {
    const Watched* const watched = by_object_[chunk.object].get();
    const bool needs =
        chunk.memory != 0 && watched != nullptr && watched->expected.kind == ChecksumKind::sha256;
    if (needs) return watched->object;
  }
  return nullptr;
}

// The last chunk's tensors are handed over only if the object is what was stored.
Result<void> Integrity::note_crc(Watched& watched, const Chunk& chunk, std::uint64_t crc) {
  return watched.state.with([&](State& state) -> Result<void> {
    state.parts[chunk.number - watched.first_chunk] = {crc, true};
    --state.left;
    if (state.left != 0) return {};
    return finish(watched, state);
  });
}

Result<void> Integrity::finish(Watched& watched, State& state) {
  const ChecksumKind kind = watched.expected.kind;
  std::string found;
  if (kind == ChecksumKind::sha256) {
    found = std::string(as_text(state.sha256.finish()));
  } else {
    std::uint64_t crc = state.crc;
    for (std::size_t i = 0; i < state.parts.size(); ++i) {
      crc =
          crc_combine(kind, crc, state.parts[i].crc, plan_.chunks()[watched.first_chunk + i].size);
    }
    found = crc_bytes(kind, crc);
  }
  if (found == watched.expected.bytes) {
    verified_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  return Error(ErrorKind::corrupt,
               fmt::format("ChecksumMismatch: the {} of what was read is {}, but {} says {}: the "
                           "file was damaged in transit or in the store",
                           checksum_name(kind), hex(found), watched.expected.source,
                           hex(watched.expected.bytes)))
      .at(watched.object->uri.text());
}

}  // namespace streamer::core::inline engine
