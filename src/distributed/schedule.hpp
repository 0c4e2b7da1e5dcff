// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which rank reads what, and when it is passed on. A pure function of what all ranks need, so every
// rank computes the same schedule and no message has to describe it.

#include <cstdint>
#include <span>
#include <vector>

#include "distributed/needs.hpp"

namespace streamer::core::inline distributed {

enum class PartitionPolicy { chunks, files };

// Bytes of one object that one rank reads: dense, or some columns of rows.
struct Unit {
  std::uint32_t object = 0;
  std::uint32_t owner = 0;  // the rank
  StridedRange range;
  // The message it is passed on in: one unit, or several small ones of one owner in one round.
  std::uint32_t message = 0;
};

// The alignment of units in the memory they are read to.
inline constexpr std::uint64_t kReadAlignment = 64;

// Smaller units share a message: one message costs about as much as copying this many bytes.
inline constexpr std::uint64_t kMessageBytes = 64 * kKiB;

// [begin, end) of Schedule::units.
struct Round {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

struct ScheduleOptions {
  std::uint32_t ranks = 1;
  PartitionPolicy policy = PartitionPolicy::chunks;
  // How much a rank may receive in one round.
  std::uint64_t buffer_bytes = 128 * kMiB;
  // See unite().
  std::uint64_t gap_bytes = 0;
};

struct Schedule {
  // In the order in which they are passed on; those of one rank are ordered by object and offset.
  std::vector<Unit> units;
  std::vector<Round> rounds;
  std::uint32_t messages = 0;  // how many
  std::vector<std::uint64_t> bytes_by_rank;
  // The most that one rank reads for one round.
  std::uint64_t share_bytes = 0;
};

// united: see unite(). With PartitionPolicy::chunks each unit goes to the rank that has least so
// far, the lowest of several, so that no two ranks differ by more than one unit; with files, whole
// objects do, the largest first.
[[nodiscard]] Schedule make_schedule(std::span<const Need> united, const ScheduleOptions& options);

// Bytes [begin, end) of a need, counted among its own, dense.
struct Overlap {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  [[nodiscard]] bool empty() const noexcept { return begin >= end; }
  [[nodiscard]] std::uint64_t size() const noexcept { return empty() ? 0 : end - begin; }
};

// Which bytes of the range are in the unit. Both come from the same needs: see unite().
[[nodiscard]] Overlap overlap(const StridedRange& range, const Unit& unit) noexcept;

// Walks needs in parallel with units that are ordered by object and offset.
class NeedCursor {
 public:
  // needs: by object and offset; borrowed.
  explicit NeedCursor(std::span<const Need> needs) noexcept : needs_(needs) {}

  // Calls visit(index, Overlap) for each need that has bytes of the unit, in their order.
  template <typename Visit>
  void visit(const Unit& unit, Visit&& visit) {
    while (first_ < needs_.size() && is_behind(needs_[first_], unit))
      ++first_;
    const std::uint64_t unit_end = end_of(unit.range);
    for (std::size_t i = first_;
         i < needs_.size() && needs_[i].object == unit.object && needs_[i].range.offset < unit_end;
         ++i) {
      const Overlap shared = overlap(needs_[i].range, unit);
      if (!shared.empty()) visit(i, shared);
    }
  }

 private:
  // Whether neither the unit nor those after it have any of the need.
  static bool is_behind(const Need& need, const Unit& unit) noexcept {
    return need.object < unit.object ||
           (need.object == unit.object && end_of(need.range) <= unit.range.offset);
  }

  std::span<const Need> needs_;
  std::size_t first_ = 0;
};

}  // namespace streamer::core::inline distributed
