// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether what landed is what was stored: one checksum per object, of all of its bytes, against
// what the store or a manifest says. CRCs are taken chunk by chunk, while a chunk's bytes are still
// in the cache, and combined; SHA-256 goes from front to back, so that chunks wait for those before
// them.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/crypto.hpp"
#include "base/guarded.hpp"
#include "checkpoint/checkpoint.hpp"
#include "engine/manifest.hpp"
#include "engine/notes.hpp"
#include "engine/plan.hpp"

namespace streamer::core::inline engine {

class Integrity {
 public:
  // verify: "store", "required", or the path or URI of a manifest. Asks the store for checksums and
  // reads the headers of the objects again; blocks. An object of which not every byte is loaded, or
  // for which the store has no checksum, is not verified: with "required" that is an error,
  // otherwise a warning. An object that the manifest does not name is an error.
  static Result<std::unique_ptr<Integrity>> make(const Checkpoint& checkpoint, const Plan& plan,
                                                 const std::string& verify, Notes& notes);

  // Any reader, once per chunk, when its bytes are in place. address tells where a place is. signal
  // is called for each chunk whose tensors may be handed over now: this one, several, or none yet.
  // Fails with corrupt, naming the object, once an object is complete and its checksum is wrong.
  using Address = std::function<const std::byte*(Place place)>;
  using Signal = std::function<void(const Chunk& chunk)>;
  Result<void> landed(const Chunk& chunk, const Address& address, const Signal& signal);

  // For a chunk that is checked while its bytes pass by: the kind of CRC wanted of its bytes, one
  // piece after the other; nullopt: none.
  [[nodiscard]] std::optional<ChecksumKind> crc_of(const Chunk& chunk) const noexcept;
  Result<void> landed_as(const Chunk& chunk, std::uint64_t crc);
  // An object with a chunk that is checked while its bytes pass by, and whose checksum needs the
  // bytes in order; nullptr if there is none.
  [[nodiscard]] const Object* needs_order() const noexcept;

  // The number of objects whose checksums matched; thread-safe.
  [[nodiscard]] std::uint64_t objects_verified() const noexcept {
    return verified_.load(std::memory_order_relaxed);
  }

 private:
  struct Part {
    std::uint64_t crc = 0;
    bool has_landed = false;
  };
  // Of one object.
  struct State {
    std::vector<Part> parts;  // by chunk
    std::size_t left = 0;
    std::size_t next = 0;   // sha256: the first chunk that was not hashed
    std::uint64_t crc = 0;  // of the header
    Sha256Hasher sha256;    // header first
  };
  struct Watched {
    const Object* object = nullptr;
    ExpectedChecksum expected;
    std::uint32_t first_chunk = 0;  // the others follow it
    std::uint32_t chunks = 0;
    Guarded<State> state;
  };

  explicit Integrity(const Plan& plan) : plan_(plan) {}
  Result<void> watch(Watched& watched, const CheckpointObject& entry, ExpectedChecksum expected,
                     Store& store, std::span<const std::uint32_t> chunks);
  Result<void> finish(Watched& watched, State& state);
  Result<void> note_crc(Watched& watched, const Chunk& chunk, std::uint64_t crc);

  const Plan& plan_;
  std::vector<std::unique_ptr<Watched>> by_object_;  // nullptr: not verified
  std::atomic<std::uint64_t> verified_{0};
};

}  // namespace streamer::core::inline engine
