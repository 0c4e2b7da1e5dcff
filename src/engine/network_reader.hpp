// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that claims chunks and reads them over a network: many requests at once in one event
// loop. Bytes go from the loop's buffer straight to their place.
//
// A range is one or more consecutive chunks of an object, requested together. How much of it has
// arrived is one number, how much is confirmed another. Bytes are confirmed once their answer ended
// as announced or brought a guard's length after them (broken_answer.hpp), and only then are their
// chunks handed over. When a request fails, the next one starts at the first unconfirmed byte; when
// one is slow, a second is made (a hedge), and the first to bring a byte lands it.

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
#include "engine/reader_clock.hpp"
#include "engine/source_object.hpp"
#include "engine/staging.hpp"
#include "http/event_loop.hpp"
#include "http/idle_loops.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline engine {

class NetworkReader final : private RangeReceiver {
 public:
  // What the network readers of a load share. All must outlive them.
  struct Shared {
    Landing& landing;
    Staging* staging;                       // nullptr without a device
    std::span<const SourceObject> objects;  // by number in the plan
    ChunkQueue& chunks;                     // the queue they claim from
    NetworkShare& share;
    const LoadSettings& settings;
    IdleLoops* loops;  // nullptr: connections end with the load
  };

  // wake: belongs to the landing, and only this reader watches it. number: among the network
  // readers.
  NetworkReader(const Shared& shared, WakeFd& wake, std::uint32_t number, ReaderCounters& mine);
  ~NetworkReader();

  // The thread's body: returns once nothing is left to read or the load has stopped, with no
  // request in flight.
  void run();

 private:
  using Requests = std::list<std::unique_ptr<InFlightRequest>>;

  Result<void> work();
  void keep_connections();
  void step();

  // Claiming work.
  bool start_next();
  void claim_more();
  void split_claim(std::uint32_t first, std::uint32_t end);
  std::unique_ptr<PendingRange> make_range(std::uint32_t object, std::uint64_t begin);
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

  // Requesting and landing bytes.
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

  // Confirming bytes, or taking them back.
  void settle(PendingRange& range);
  void land_chunks(PendingRange& range);
  void host_chunk_landed(PendingRange& range, const Chunk& chunk);
  void keep(PendingRange& range, const Chunk& chunk);
  bool judge_broken(PendingRange& range);
  void break_off(InFlightRequest& request, bool is_refused);
  void go_back(PendingRange& range, std::uint64_t to);

  // Ending requests.
  void finish(Transfer& transfer);
  void retry(PendingRange& range, const InFlightRequest& request);
  void end_request(InFlightRequest& request);
  void drop_finished();
  void first_byte_came(InFlightRequest& request) override;
  void note_rate(double bytes, double time);
  void measure_rates();

  // Periodic checks.
  void watch();
  [[nodiscard]] Error silence() const;
  bool is_too_slow(const InFlightRequest& request) const;
  void hedge_if_slow(PendingRange& range);
  [[nodiscard]] SteadyTime next_event() const;
  [[nodiscard]] std::uint32_t requests_in_flight() const noexcept;

  Landing& landing_;
  Staging* const staging_;
  const std::span<const SourceObject> objects_;
  ChunkQueue& chunks_;
  NetworkShare& share_;
  ReaderCounters& counters_;
  WakeFd& wake_;
  IdleLoops* const idle_loops_;
  const LoadSettings settings_;
  const std::uint32_t number_;
  const double chunk_bytes_;          // of the largest
  std::vector<RemoteStore*> stores_;  // by object; nullptr: not remote

  std::list<std::unique_ptr<PendingRange>> ranges_;  // claimed and not whole
  Requests requests_;
  std::uint32_t hedges_in_flight_ = 0;
  bool all_claimed_ = false;
  // Whether only a closed window holds back a range, and how often windows had moved when that was
  // found.
  bool is_shut_out_ = false;
  std::uint64_t window_moves_ = 0;
  RetryBudget budget_;

  // Measured, to predict how long requests will take.
  double rate_ = 0;                // bytes per second of a request in flight
  double first_byte_s_ = 0;        // from the request to the answer's first byte
  std::uint32_t first_bytes_ = 0;  // samples behind first_byte_s_
  std::uint32_t rates_ = 0;        // samples behind rate_
  std::uint64_t hedged_bytes_ = 0;
  std::uint64_t bytes_observed_ = 0;

  const ReaderClock clock_;
  SteadyTime last_progress_{};
  SteadyTime next_watch_{};
  std::unique_ptr<EventLoop> loop_;  // last: its transfers are ended before what they use
};

}  // namespace streamer::core::inline engine
