// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that claims chunks and brings them over a network: many requests at once in one event
// loop. Bytes go from the loop's buffer straight to where they belong.
//
// A range is one or more chunks that follow each other in an object, asked for by one request.
// How much of it is there is one number, how much is confirmed another. Bytes are confirmed once
// their answer ended as announced or brought a guard's length behind them (broken_answer.hpp), and
// only then are their chunks handed over. When a request fails, the next one asks from what was
// confirmed on; when one is slow, a second is made (a hedge), and whichever brings a byte first
// lands it.

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/chunk_queue.hpp"
#include "engine/landing.hpp"
#include "engine/load_settings.hpp"
#include "engine/network_request.hpp"
#include "engine/network_share.hpp"
#include "engine/source_object.hpp"
#include "engine/staging.hpp"
#include "http/event_loop.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core {

class NetworkReader final : private RangeReceiver {
 public:
  // What its threads have in common. All must outlive them.
  struct Shared {
    Landing& landing;
    Staging* staging;                       // nullptr without a device
    std::span<const SourceObject> objects;  // by number in the plan
    ChunkQueue& chunks;                     // that they claim
    NetworkShare& share;
    const LoadSettings& settings;
  };

  // wake: of the landing, and watched by this one alone. number: which of the network's readers.
  NetworkReader(const Shared& shared, WakeFd& wake, std::uint32_t number, ReaderCounters& mine);
  ~NetworkReader();

  // The thread's body: returns once nothing is left to bring or the load stopped, with nothing in
  // request.
  void run();

 private:
  using Requests = std::list<std::unique_ptr<InFlightRequest>>;

  Result<void> work();
  void step();

  // Getting work.
  bool start_next();
  void claim_more();
  void split_claim(std::uint32_t first, std::uint32_t end);
  [[nodiscard]] std::uint32_t chunks_per_request() const;
  PendingRange* range_that_is_due();
  bool admit(PendingRange& range);
  PendingRange* split_largest();
  PendingRange* split_at(PendingRange& range, std::size_t first);
  [[nodiscard]] bool admits(const PendingRange& range) const;
  bool is_quiet(PendingRange& range);
  [[nodiscard]] std::uint64_t begin_of(const PendingRange& range) const;
  [[nodiscard]] const Object& object_of(const PendingRange& range) const;
  [[nodiscard]] const Chunk& chunk_at(const PendingRange& range, std::size_t index) const;

  // Doing it.
  bool send(PendingRange& range, bool is_hedge);
  void bytes_came(InFlightRequest& request, std::uint64_t offset, std::string_view bytes) override;
  void land(InFlightRequest& request, std::uint64_t offset, std::string_view bytes);
  bool may_write(InFlightRequest& request, std::uint64_t offset, std::string_view bytes,
                 bool is_fresh);
  bool take_over(InFlightRequest& request);
  void copy_out(PendingRange& range, std::uint64_t offset, std::string_view bytes);
  void put(PendingRange& range, const Chunk& chunk, Place place, std::string_view bytes);
  void stage(PendingRange& range, const Chunk& chunk, Place place, std::string_view bytes);
  void mark(PendingRange& range);
  void fill_chunks(PendingRange& range);

  // What counts.
  void settle(PendingRange& range);
  void land_chunks(PendingRange& range);
  void host_chunk_landed(PendingRange& range, const Chunk& chunk);
  bool judge_broken(PendingRange& range);
  void break_off(InFlightRequest& request, bool is_refused);
  void go_back(PendingRange& range, std::uint64_t to);

  // What became of it.
  void finish(Transfer& transfer);
  void retry(PendingRange& range, const InFlightRequest& request);
  void end_request(InFlightRequest& request);
  void drop_finished();
  void first_byte_came(InFlightRequest& request) override;
  void note_rate(double bytes, double time);
  void measure_rates();

  // Now and then.
  void watch();
  bool is_too_slow(const InFlightRequest& request) const;
  void hedge_if_slow(PendingRange& range);
  [[nodiscard]] SteadyTime next_event() const;
  [[nodiscard]] std::uint32_t requests_in_flight() const noexcept;
  void count_time();

  Landing& landing_;
  Staging* const staging_;
  const std::span<const SourceObject> objects_;
  ChunkQueue& chunks_;
  NetworkShare& share_;
  ReaderCounters& counters_;
  WakeFd& wake_;
  const LoadSettings settings_;
  const std::uint32_t number_;
  const double chunk_bytes_;          // of the largest
  std::vector<RemoteStore*> stores_;  // by object; nullptr: not remote

  std::list<std::unique_ptr<PendingRange>> ranges_;  // claimed and not whole
  Requests requests_;
  std::uint32_t hedges_in_flight_ = 0;
  bool all_claimed_ = false;
  // Whether a window shuts out a range that could go else, and how often windows had moved when
  // that was found.
  bool is_shut_out_ = false;
  std::uint64_t window_moves_ = 0;
  RetryBudget budget_;

  // Measured, for guesses about what is still to come.
  double rate_ = 0;                // bytes per second of a request that is under way
  double first_byte_s_ = 0;        // from the request to the answer's first byte
  std::uint32_t first_bytes_ = 0;  // that first_byte_s_ stands on
  std::uint32_t rates_ = 0;        // that rate_ stands on
  std::uint64_t hedged_bytes_ = 0;
  std::uint64_t bytes_observed_ = 0;

  std::int64_t started_ns_ = 0;
  SteadyTime last_progress_{};
  SteadyTime next_watch_{};
  std::unique_ptr<EventLoop> loop_;  // last: its transfers are ended before what they use
};

}  // namespace streamer::core
