// SPDX-License-Identifier: Apache-2.0
#include "distributed/schedule.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace streamer::core::inline distributed {

namespace {

// Small enough to balance, large enough for storage to read them at full speed.
constexpr std::uint64_t kLargestUnitBytes = 8 * kMiB;
constexpr std::uint64_t kSmallestUnitBytes = 64 * kKiB;
constexpr std::uint64_t kUnitsPerRank = 16;
// A round ends when the next unit would not fit, so units must be small compared with it.
constexpr std::uint64_t kUnitsPerRound = 4;
// MPI counts bytes in an int.
constexpr std::uint64_t kLargestShareBytes = 512 * kMiB;
// Reading, passing on and consuming overlap only if there are several rounds; a round costs two
// collective calls.
constexpr std::uint64_t kRounds = 16;
constexpr std::uint64_t kSmallestShareBytes = 2 * kMiB;

std::uint64_t total_bytes(std::span<const Need> needs) {
  return std::accumulate(
      needs.begin(), needs.end(), std::uint64_t{0},
      [](std::uint64_t sum, const Need& need) { return sum + need.range.total_bytes(); });
}

std::uint64_t share_bytes(std::uint64_t total, const ScheduleOptions& options) {
  const std::uint64_t most = std::clamp(options.buffer_bytes / options.ranks,
                                        kUnitsPerRound * kSmallestUnitBytes, kLargestShareBytes);
  return std::min(most, std::max(total / options.ranks / kRounds, kSmallestShareBytes));
}

std::uint64_t unit_bytes(std::uint64_t total, std::uint64_t share, std::uint32_t ranks) {
  const std::uint64_t even = std::bit_ceil(total / (ranks * kUnitsPerRank));
  const std::uint64_t most = std::bit_floor(share / kUnitsPerRound);
  return std::clamp(std::min(even, most), kSmallestUnitBytes, kLargestUnitBytes);
}

// Pieces of dense ranges end at multiples of the unit's size, a power of two of whole pages.
void cut_dense(std::uint32_t object, std::uint64_t begin, std::uint64_t end, std::uint64_t most,
               std::vector<Unit>& units) {
  while (begin < end) {
    const std::uint64_t stop = std::min(end, round_down(begin, most) + most);
    units.push_back({object, 0, {begin, stop - begin, stop - begin, 1}});
    begin = stop;
  }
}

std::vector<Unit> cut(std::span<const Need> united, std::uint64_t most) {
  std::vector<Unit> units;
  for (const Need& need : united) {
    const StridedRange& range = need.range;
    if (range.count == 1) {
      cut_dense(need.object, range.offset, end_of(range), most, units);
      continue;
    }
    const std::uint64_t rows_each = std::max<std::uint64_t>(most / range.run_bytes, 1);
    for (std::uint64_t row = 0; row < range.count; row += rows_each) {
      const std::uint64_t rows = std::min(rows_each, range.count - row);
      const std::uint64_t offset = range.offset + row * range.stride_bytes;
      if (range.run_bytes > most || rows == 1) {
        cut_dense(need.object, offset, offset + range.run_bytes, most, units);
      } else {
        units.push_back({need.object, 0, {offset, range.run_bytes, range.stride_bytes, rows}});
      }
    }
  }
  // Columns of the same rows were cut one after the other.
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return a.object != b.object ? a.object < b.object : a.range.offset < b.range.offset;
  });
  return units;
}

std::uint32_t least_of(const std::vector<std::uint64_t>& bytes_by_rank) {
  return static_cast<std::uint32_t>(std::min_element(bytes_by_rank.begin(), bytes_by_rank.end()) -
                                    bytes_by_rank.begin());
}

void share_out_chunks(Schedule& schedule) {
  for (Unit& unit : schedule.units) {
    unit.owner = least_of(schedule.bytes_by_rank);
    schedule.bytes_by_rank[unit.owner] += unit.range.total_bytes();
  }
}

void share_out_files(Schedule& schedule) {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> files;  // object, bytes
  for (const Unit& unit : schedule.units) {
    if (files.empty() || files.back().first != unit.object) files.emplace_back(unit.object, 0);
    files.back().second += unit.range.total_bytes();
  }
  std::stable_sort(files.begin(), files.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::uint32_t> owners;  // by object
  for (const auto& [object, bytes] : files) {
    const std::uint32_t owner = least_of(schedule.bytes_by_rank);
    schedule.bytes_by_rank[owner] += bytes;
    owners.resize(std::max<std::size_t>(owners.size(), object + 1));
    owners[object] = owner;
  }
  for (Unit& unit : schedule.units)
    unit.owner = owners[unit.object];
}

// Each rank reads its units by object and offset; the rank that is furthest behind comes next.
void order(std::vector<Unit>& units, std::uint32_t ranks) {
  std::vector<std::uint64_t> begins;
  std::vector<std::uint64_t> read(ranks);
  for (const Unit& unit : units) {
    begins.push_back(read[unit.owner]);
    read[unit.owner] += unit.range.total_bytes();
  }
  std::vector<std::uint32_t> sequence(units.size());
  std::iota(sequence.begin(), sequence.end(), 0U);
  std::stable_sort(sequence.begin(), sequence.end(), [&](std::uint32_t a, std::uint32_t b) {
    return begins[a] != begins[b] ? begins[a] < begins[b] : units[a].owner < units[b].owner;
  });
  std::vector<Unit> ordered;
  ordered.reserve(units.size());
  for (const std::uint32_t i : sequence)
    ordered.push_back(units[i]);
  units = std::move(ordered);
}

// Room for the unit, and for the padding between two of them in the memory they are read to: a page
// if reads are to land in place, otherwise less.
std::uint64_t room_for(const Unit& unit) {
  const std::uint64_t bytes = unit.range.total_bytes();
  return bytes + (bytes >= kSmallestUnitBytes ? kPageBytes : 2 * kReadAlignment);
}

void cut_rounds(Schedule& schedule, std::uint32_t ranks) {
  std::vector<std::uint64_t> bytes(ranks);
  Round round;
  for (const Unit& unit : schedule.units) {
    const std::uint64_t room = room_for(unit);
    if (bytes[unit.owner] + room > schedule.share_bytes && round.end != round.begin) {
      schedule.rounds.push_back(round);
      round.begin = round.end;
      std::fill(bytes.begin(), bytes.end(), 0);
    }
    bytes[unit.owner] += room;
    ++round.end;
  }
  if (round.end != round.begin) schedule.rounds.push_back(round);
}

void number_messages(Schedule& schedule, std::uint32_t ranks) {
  struct Open {
    std::uint32_t message = 0;
    std::uint64_t bytes = kMessageBytes;  // nothing fits any more
  };
  for (const Round round : schedule.rounds) {
    std::vector<Open> open(ranks);
    for (std::uint32_t u = round.begin; u < round.end; ++u) {
      Unit& unit = schedule.units[u];
      const std::uint64_t bytes = unit.range.total_bytes();
      Open& of_owner = open[unit.owner];
      if (of_owner.bytes + bytes > kMessageBytes) of_owner = {schedule.messages++, 0};
      of_owner.bytes += bytes;
      unit.message = of_owner.message;
    }
  }
}

}  // namespace

Schedule make_schedule(std::span<const Need> united, const ScheduleOptions& options) {
  Schedule schedule;
  const std::uint64_t total = total_bytes(united);
  schedule.share_bytes = share_bytes(total, options);
  schedule.bytes_by_rank.resize(options.ranks);
  schedule.units = cut(united, unit_bytes(total, schedule.share_bytes, options.ranks));
  options.policy == PartitionPolicy::chunks ? share_out_chunks(schedule)
                                            : share_out_files(schedule);
  order(schedule.units, options.ranks);
  cut_rounds(schedule, options.ranks);
  number_messages(schedule, options.ranks);
  return schedule;
}

Overlap overlap(const StridedRange& range, const Unit& unit) noexcept {
  const StridedRange& has = unit.range;
  if (has.count > 1) {
    // The same rows: the range's columns are among the unit's, or none of them is.
    const std::uint64_t stride = has.stride_bytes;
    const std::uint64_t column = range.offset >= has.offset
                                     ? (range.offset - has.offset) % stride
                                     : (stride - (has.offset - range.offset) % stride) % stride;
    if (column >= has.run_bytes) return {};
  }
  return {bytes_below(range, has.offset), bytes_below(range, end_of(has))};
}

}  // namespace streamer::core::inline distributed
