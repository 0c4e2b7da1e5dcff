// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a network reader works on: ranges of objects, and requests for them.

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/plan.hpp"
#include "engine/staged_chunk.hpp"
#include "http/broken_answer.hpp"
#include "http/host_addresses.hpp"
#include "storage/cache/cache_run.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline engine {

[[nodiscard]] inline double in_seconds(std::chrono::nanoseconds time) noexcept {
  return std::chrono::duration<double>(time).count();
}

class InFlightRequest;

// Consecutive chunks of an object, claimed and not yet all handed over.
struct PendingRange {
  PendingRange(const RetryPolicy& policy) : attempts(policy) {}

  std::uint32_t object = 0;
  std::vector<std::uint32_t> chunks;  // numbers in the plan; of one memory
  std::size_t filled_chunks = 0;      // of chunks: all bytes have arrived
  std::size_t landed_chunks = 0;      // of filled_chunks: confirmed, and handed over
  std::uint64_t next = 0;             // of the object: everything before it has arrived
  std::uint64_t confirmed = 0;        // of the object: everything before it is right
  std::uint64_t end = 0;
  InFlightRequest* writer = nullptr;  // it brought the bytes between confirmed and next
  BrokenAnswers broken;               // they brought the bytes that are being read again
  Attempts attempts;
  std::uint64_t furthest_at_failure = 0;  // the furthest `next` at which a request failed
  SteadyTime not_before{};
  bool wants_fresh_connection = false;
  std::uint32_t requests = 0;
  std::string host;  // that the latest request went to
  bool was_hedged = false;
  // Where the next byte goes: a piece of a chunk.
  std::uint64_t piece_begin = 0;
  std::uint64_t piece_end = 0;
  Place piece_place;
  const Chunk* piece_chunk = nullptr;
  // Chunks for a device that have not landed, in order. Only the last may hold a segment.
  std::deque<std::unique_ptr<StagedChunk>> staged;
  bool is_unquiet = false;  // copies of bytes that were taken back may be in progress
  // CRCs of chunks for the host that have not landed, in order.
  struct PassingCrc {
    std::uint32_t chunk = 0;  // number in the plan
    std::uint64_t crc = 0;    // of its bytes before `next`
    bool is_lost = false;     // some of them were taken back
  };
  std::deque<PassingCrc> crcs;
  std::optional<CacheRun> cache_run;  // what is kept of the bytes; nullopt: nothing

  [[nodiscard]] bool is_whole() const noexcept { return landed_chunks == chunks.size(); }
  [[nodiscard]] std::uint64_t left() const noexcept { return end - next; }
};

// Receives the bytes of requests. One thread.
class RangeReceiver {
 public:
  virtual void first_byte_came(InFlightRequest& request) = 0;
  // Bytes of the object from `offset` on, where the request's range may need them.
  virtual void bytes_came(InFlightRequest& request, std::uint64_t offset,
                          std::string_view bytes) = 0;

 protected:
  ~RangeReceiver() = default;
};

// One request for the rest of a range.
class InFlightRequest final : public RangeSink {
 public:
  InFlightRequest(RangeReceiver& receiver, PendingRange& of, ByteRange wanted,
                  PinnedVersion expected, SignedRequest signed_by)
      : RangeSink(wanted, std::move(expected)),
        signed_request(std::move(signed_by)),
        range(&of),
        position(wanted.offset),
        receiver_(receiver) {}

  SignedRequest signed_request;
  PendingRange* range;     // nullptr: its bytes are no longer needed
  std::uint64_t position;  // of the object: where its next bytes belong
  bool has_ended_well = false;
  AnswerSamples samples;
  std::uint64_t last_difference = 0;  // from the range's writer: one byte behind it; 0: none
  std::unique_ptr<Transfer> transfer;
  HostAddresses* host = nullptr;
  bool is_hedge = false;
  SteadyTime began{};
  SteadyTime first_byte_at{};
  std::uint64_t marked_bytes = 0;  // received at marked_at, for the rate
  SteadyTime marked_at{};

  // Of the object: the bytes it brought before this are confirmed.
  [[nodiscard]] std::uint64_t sure_until() const noexcept {
    if (has_ended_well) return UINT64_MAX;
    return sure_before(wanted().offset, position);
  }

 private:
  void land(std::uint64_t offset, std::string_view bytes) override {
    if (first_byte_at == SteadyTime{}) receiver_.first_byte_came(*this);
    receiver_.bytes_came(*this, offset, bytes);
  }

  RangeReceiver& receiver_;
};

}  // namespace streamer::core::inline engine
