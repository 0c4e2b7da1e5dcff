// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a network reader has in hand: stretches of an object that it brings, and requests for them.

#include <memory>
#include <vector>

#include "engine/network_reader.hpp"
#include "engine/staged_chunk.hpp"

namespace streamer::core {

[[nodiscard]] inline double in_seconds(std::chrono::nanoseconds time) noexcept {
  return std::chrono::duration<double>(time).count();
}

struct NetworkReader::Stretch {
  Stretch(const RetryPolicy& policy) : attempts(policy) {}

  std::uint32_t object = 0;
  std::vector<std::uint32_t> chunks;  // numbers in the plan; of one memory
  std::size_t landed_chunks = 0;      // of them
  std::uint64_t next = 0;             // of the object: everything before it has landed
  std::uint64_t end = 0;
  Attempts attempts;
  std::uint64_t next_at_last_failure = 0;
  SteadyTime not_before{};
  bool wants_fresh_connection = false;
  std::uint32_t flights = 0;
  bool was_hedged = false;
  // Where the next byte goes: a piece of the current chunk.
  std::uint64_t piece_begin = 0;
  std::uint64_t piece_end = 0;
  Place piece_place;
  std::unique_ptr<StagedChunk> staged;  // of the chunk that is under way to a device

  [[nodiscard]] bool is_whole() const noexcept { return next == end; }
  [[nodiscard]] std::uint64_t left() const noexcept { return end - next; }
};

// One request for what is left of a stretch.
class NetworkReader::Flight final : public RangeSink {
 public:
  Flight(NetworkReader& reader, Stretch& of, const Object& object, SignedRequest signed_request)
      : RangeSink(
            {of.next, of.end - of.next},
            {.size = object.size, .etag = object.etag, .last_modified = object.last_modified}),
        request(std::move(signed_request)),
        stretch(&of),
        reader_(reader) {}

  SignedRequest request;
  Stretch* stretch;  // nullptr: what it brings is not needed any more
  std::unique_ptr<Transfer> transfer;
  HostAddresses* host = nullptr;
  bool is_hedge = false;
  SteadyTime began{};
  SteadyTime first_byte_at{};
  std::uint64_t marked_bytes = 0;  // received at marked_at, for the rate
  SteadyTime marked_at{};

 private:
  void land(std::uint64_t offset, std::string_view bytes) override {
    if (first_byte_at == SteadyTime{}) reader_.note_first_byte(*this);
    add(reader_.counters_.bytes_network, bytes.size());
    if (stretch == nullptr) {
      add(reader_.counters_.bytes_discarded, bytes.size());
    } else {
      reader_.land(*stretch, offset, bytes);
    }
  }

  NetworkReader& reader_;
};

}  // namespace streamer::core
