// SPDX-License-Identifier: Apache-2.0
#pragma once
// One rank's side of a distributed load: reads this rank's units, and in rounds sends the other
// ranks what they need of them and receives what this rank needs of theirs.
//
// A round: take the units from the load that reads them; agree that all ranks have theirs; pack
// what each rank needs; pass it on; put what arrived into its place. What a rank needs of a unit is
// sent from where it was read, and received in its place, if it is dense there; otherwise it is
// packed into a buffer, or received in one. In the meantime the reading load works ahead, as far as
// its memory allows, which is two rounds or more.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "distributed/communicator.hpp"
#include "distributed/exchange_memory.hpp"
#include "distributed/own_units.hpp"
#include "distributed/schedule.hpp"
#include "engine/source.hpp"

namespace streamer::core::inline distributed {

class Exchange final : public OrderedSource {
 public:
  struct Options {
    std::chrono::milliseconds timeout{600'000};
    Device device = {};
    GpuRuntime* gpu = nullptr;            // of the device
    GpuStream consumer_stream = nullptr;  // of the load whose source this is
  };

  // communicator must outlive it. needs: one list per rank, or a single list if all need the same.
  // own: this rank's units.
  Exchange(Communicator& communicator, Schedule schedule, std::vector<std::vector<Need>> needs,
           std::unique_ptr<OwnUnits> own, Options options);
  ~Exchange() override;

  std::vector<std::uint32_t> arrange(ReadingList& list) override;
  [[nodiscard]] Result<void> check(const Plan& plan) const override;
  void land_in(Landing& landing) override { landing_ = &landing; }

  [[nodiscard]] std::string_view name() const noexcept override { return "ranks"; }
  [[nodiscard]] std::uint32_t threads() const noexcept override { return 1; }
  void run(std::uint32_t number, ReaderCounters& mine) override;
  void stop() noexcept override;
  void add_to(LoadStats& stats) const override;
  [[nodiscard]] std::string notes() const override;

 private:
  // Bytes of a unit that one of this rank's items wants. They are dense in the message and in the
  // item.
  struct ItemPart {
    std::uint32_t unit = 0;  // in the schedule
    std::uint32_t item = 0;  // in the plan
    Overlap of_item;
  };
  [[nodiscard]] bool is_mine(const Unit& unit) const noexcept;
  [[nodiscard]] const std::vector<Need>& needs_of_rank(std::uint32_t rank) const noexcept;
  [[nodiscard]] bool is_sent(std::size_t list) const noexcept;
  void measure_buffers();
  Result<void> open_memory();
  void exchange_all(ReaderCounters& mine);
  Result<void> run_rounds(ReaderCounters& mine);
  Result<void> agree_on(const Error* mine);
  Result<void> take_units(Round round);
  Result<void> pack(Round round);
  Result<void> pack_for(std::size_t list, Round round, std::byte*& at,
                        std::vector<Outgoing>& messages);
  void choose_destinations(Round round);
  [[nodiscard]] std::byte* place_of(std::size_t first, std::size_t end) const;
  Result<void> pass_on();
  Result<void> unpack(ReaderCounters& mine, Round round);
  Result<void> gather(std::byte* to, const StridedRange& range, Overlap part, const Unit& unit,
                      const std::byte* bytes);
  Result<void> wait_for_room(ReaderCounters& mine, const ItemPart& part);
  Result<void> hand_over(ReaderCounters& mine);
  void release_units() noexcept;

  Communicator& communicator_;
  const Schedule schedule_;
  const std::vector<std::vector<Need>> needs_;
  const Options options_;
  std::vector<StridedRange> ranges_;          // of the items
  std::vector<ItemPart> parts_;               // by unit
  std::vector<std::uint64_t> message_bytes_;  // by message: bytes received of it
  std::uint64_t send_bytes_ = 0;              // at most, in a round
  std::uint64_t receive_bytes_ = 0;
  const std::unique_ptr<OwnUnits> own_;
  Landing* landing_ = nullptr;

  // Used by the thread that runs it.
  std::unique_ptr<ExchangeMemory> memory_;
  std::vector<NeedCursor> cursors_;      // by list of needs
  std::vector<const std::byte*> taken_;  // of the round's units that are this rank's
  std::size_t next_part_ = 0;
  std::vector<std::uint32_t> landed_;  // items whose copies are under way, as often as they are
  std::byte* send_buffer_ = nullptr;
  std::byte* receive_buffer_ = nullptr;
  std::vector<Outgoing> outgoing_;
  std::vector<Incoming> incoming_;
  // By message: the bytes that still have to be put into their places; nullptr: received in place.
  std::vector<const std::byte*> messages_;
  std::uint32_t next_message_ = 0;  // the first without a destination yet
  bool others_wait_ = true;         // for this rank's success or error

  // Written by that thread, read by add_to().
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> bytes_received_{0};
  std::atomic<std::uint64_t> exchange_wait_ns_{0};
};

}  // namespace streamer::core::inline distributed
