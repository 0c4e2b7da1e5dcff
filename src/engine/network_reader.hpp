// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that claims chunks and brings them over a network: many requests at once in one event
// loop. Bytes go from the loop's buffer straight to where they belong.
//
// A stretch is one or more chunks that follow each other in an object, asked for by one request.
// How much of it is there is one number, how much is confirmed another. Bytes are confirmed once
// their answer ended as announced or brought a guard's length behind them (broken_answer.hpp), and
// only then are their chunks handed over. When a request fails, the next one asks from what was
// confirmed on; when one is slow, a second is made (a hedge), and whichever brings a byte first
// lands it.

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "engine/load_core.hpp"
#include "engine/network_share.hpp"
#include "http/event_loop.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core {

class NetworkReader {
 public:
  // All must outlive the reader. number: which of the core's readers this is; network_number: which
  // of its network readers.
  NetworkReader(LoadCore& core, NetworkShare& share, const LoadSettings& settings,
                std::uint32_t number, std::uint32_t network_number);
  ~NetworkReader();

  // The thread's body: returns once nothing is left to bring or the load stopped, with nothing in
  // flight.
  void run();

 private:
  class Flight;
  struct Stretch;
  using Flights = std::list<std::unique_ptr<Flight>>;

  Result<void> work();
  void step();

  // Getting work.
  bool start_next();
  void claim_more();
  void split_claim(std::uint32_t first, std::uint32_t end);
  [[nodiscard]] std::uint32_t chunks_per_request() const;
  Stretch* stretch_that_is_due();
  bool admit(Stretch& stretch);
  Stretch* split_largest();
  Stretch* split_at(Stretch& stretch, std::size_t first);
  [[nodiscard]] bool admits(const Stretch& stretch) const;
  bool is_quiet(Stretch& stretch);
  [[nodiscard]] std::uint64_t begin_of(const Stretch& stretch) const;
  [[nodiscard]] const Object& object_of(const Stretch& stretch) const;
  [[nodiscard]] const Chunk& chunk_at(const Stretch& stretch, std::size_t index) const;

  // Doing it.
  bool fly(Stretch& stretch, bool is_hedge);
  void land(Flight& flight, std::uint64_t offset, std::string_view bytes);
  bool may_write(Flight& flight, std::uint64_t offset, std::string_view bytes, bool is_fresh);
  bool take_over(Flight& flight);
  void copy_out(Stretch& stretch, std::uint64_t offset, std::string_view bytes);
  void put(Stretch& stretch, const Chunk& chunk, Place place, std::string_view bytes);
  void stage(Stretch& stretch, const Chunk& chunk, Place place, std::string_view bytes);
  void mark(Stretch& stretch);
  void fill_chunks(Stretch& stretch);

  // What counts.
  void settle(Stretch& stretch);
  void land_chunks(Stretch& stretch);
  void host_chunk_landed(Stretch& stretch, const Chunk& chunk);
  bool judge_broken(Stretch& stretch);
  void break_off(Flight& flight, bool is_refused);
  void go_back(Stretch& stretch, std::uint64_t to);

  // What became of it.
  void finish(Transfer& transfer);
  void retry(Stretch& stretch, const Flight& flight);
  void end_flight(Flight& flight);
  void drop_finished();
  void note_first_byte(Flight& flight);
  void note_rate(double bytes, double time);
  void measure_rates();

  // Now and then.
  void watch();
  bool is_too_slow(const Flight& flight) const;
  void hedge_if_slow(Stretch& stretch);
  [[nodiscard]] SteadyTime next_event() const;
  [[nodiscard]] std::uint32_t in_flight() const noexcept;
  void count_time();

  LoadCore& core_;
  NetworkShare& share_;
  ReaderCounters& counters_;
  WakeFd& wake_;
  const LoadSettings settings_;
  const std::uint32_t network_number_;
  const double chunk_bytes_;          // of the largest
  std::vector<RemoteStore*> stores_;  // by object; nullptr: not remote

  std::list<std::unique_ptr<Stretch>> stretches_;  // claimed and not whole
  Flights flights_;
  std::uint32_t hedges_in_flight_ = 0;
  bool all_claimed_ = false;
  // Whether a window shuts out a stretch that could go else, and how often windows had moved when
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
