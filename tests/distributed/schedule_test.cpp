// SPDX-License-Identifier: Apache-2.0
#include "distributed/schedule.hpp"

#include <map>
#include <random>
#include <set>

#include "support/catch.hpp"
#include "support/sanitized.hpp"

using namespace streamer;
using namespace streamer::core;

namespace {

Need dense(std::uint32_t object, std::uint64_t begin, std::uint64_t end) {
  return {object, {begin, end - begin, end - begin, 1}};
}

// Every byte that a range has, one by one.
template <typename Visit>
void for_each_byte(const StridedRange& range, Visit&& visit) {
  for (std::uint64_t run = 0; run < range.count; ++run) {
    for (std::uint64_t i = 0; i < range.run_bytes; ++i)
      visit(range.offset + run * range.stride_bytes + i);
  }
}

using ByteSet = std::map<std::pair<std::uint32_t, std::uint64_t>, int>;

ByteSet count_bytes(const std::vector<Need>& needs) {
  ByteSet bytes;
  for (const Need& need : needs)
    for_each_byte(need.range, [&](std::uint64_t at) { ++bytes[{need.object, at}]; });
  return bytes;
}

// Matrices one behind the other in two objects, and what a rank wants of them.
struct Matrix {
  std::uint32_t object;
  std::uint64_t offset;
  std::uint64_t rows;
  std::uint64_t columns;
};

std::vector<Matrix> random_matrices(std::mt19937_64& random) {
  std::vector<Matrix> matrices;
  for (std::uint32_t object = 0; object < 2; ++object) {
    std::uint64_t offset = random() % 50;
    for (int i = 0; i < 6; ++i) {
      const Matrix matrix{object, offset, 1 + random() % 9, 1 + random() % 40};
      matrices.push_back(matrix);
      offset += matrix.rows * matrix.columns + (random() % 3 == 0 ? random() % 20 : 0);
    }
  }
  return matrices;
}

// Nothing, all of it, some rows or some columns.
StridedRange random_part(const Matrix& matrix, std::mt19937_64& random, bool only_columns) {
  const std::uint64_t all = matrix.rows * matrix.columns;
  const auto bounds = [&](std::uint64_t extent) {
    std::uint64_t begin = random() % extent;
    std::uint64_t end = random() % extent;
    if (begin > end) std::swap(begin, end);
    return std::pair(begin, end + 1);
  };
  switch (only_columns ? 3 : random() % 4) {
    case 0:
      return {};
    case 1:
      return {matrix.offset, all, all, 1};
    case 2: {
      const auto [begin, end] = bounds(matrix.rows);
      const std::uint64_t bytes = (end - begin) * matrix.columns;
      return {matrix.offset + begin * matrix.columns, bytes, bytes, 1};
    }
    default: {
      const auto [begin, end] = bounds(matrix.columns);
      if (matrix.rows == 1 || end - begin == matrix.columns) {
        const std::uint64_t bytes = (end - begin) * matrix.rows;
        return {matrix.offset + begin, bytes, bytes, 1};
      }
      return {matrix.offset + begin, end - begin, matrix.columns, matrix.rows};
    }
  }
}

std::vector<Wanted> as_wanted(const std::vector<Need>& needs) {
  std::vector<Wanted> wanted;
  for (const Need& need : needs)
    wanted.push_back({.range = need.range, .object = need.object});
  return wanted;
}

}  // namespace

TEST_CASE("what ranks need becomes ranges that have each byte once", "[needs]") {
  for (std::uint64_t seed = 1; seed <= (test::kIsSanitized ? 60 : 400); ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const bool only_columns = seed % 4 == 0;
    const std::uint64_t gap_bytes = seed % 3 == 0 ? random() % 10 : 0;
    std::vector<std::vector<Need>> needs(1 + random() % 4);
    const auto matrices = random_matrices(random);
    for (auto& of_rank : needs) {
      for (const Matrix& matrix : matrices) {
        const StridedRange part = random_part(matrix, random, only_columns);
        if (part.total_bytes() != 0) of_rank.push_back({matrix.object, part});
      }
      of_rank = needs_of(as_wanted(of_rank));
    }
    const std::vector<Need> united = unite(needs, gap_bytes);
    const ByteSet read = count_bytes(united);
    for (const auto& [byte, count] : read) {
      if (count != 1) FAIL("byte " << byte.second << " is read " << count << " times");
    }
    ByteSet needed;
    for (const auto& of_rank : needs)
      needed.merge(count_bytes(of_rank));
    for (const auto& [byte, count] : needed) {
      if (!read.contains(byte)) FAIL("byte " << byte.second << " is not read");
    }
    // Slices of one kind are read to the byte.
    if (only_columns && gap_bytes == 0) REQUIRE(read.size() == needed.size());
  }
}

TEST_CASE("neighbours are one need, and needs pass through a message", "[needs]") {
  const std::vector<Need> needs = needs_of(as_wanted({dense(0, 10, 20),
                                                      dense(0, 20, 30),
                                                      dense(0, 31, 40),
                                                      dense(1, 40, 50),
                                                      {1, {50, 2, 5, 3}}}));
  REQUIRE(needs.size() == 4);
  CHECK(needs[0].range.run_bytes == 20);
  Checkpoint checkpoint;
  checkpoint.objects.resize(2);
  checkpoint.objects[0].object.size = 40;
  checkpoint.objects[1].object.size = 62;
  const std::string text = encode(needs);
  const auto decoded = decode_needs(text, checkpoint);
  REQUIRE(decoded);
  CHECK(encode(*decoded) == text);
  CHECK(count_bytes(*decoded) == count_bytes(needs));
  // Cut short, and beyond an object's end.
  CHECK_FALSE(decode_needs(std::string_view(text).substr(1), checkpoint));
  checkpoint.objects[1].object.size = 61;
  CHECK_FALSE(decode_needs(text, checkpoint));
  for (const Need& wrong :
       {Need{7, {0, 1, 1, 1}}, Need{0, {0, 0, 0, 1}}, Need{0, {0, 4, 2, 2}}, Need{0, {0, 1, 1, 0}},
        Need{0, {1, 1, UINT64_MAX, 3}}, Need{0, {UINT64_MAX, 1, 1, 1}}}) {
    CHECK_FALSE(decode_needs(encode(std::vector<Need>{wrong}), checkpoint));
  }
}

TEST_CASE("a schedule gives every byte to one rank, evenly, in rounds that fit", "[schedule]") {
  for (std::uint64_t seed = 1; seed <= (test::kIsSanitized ? 20 : 100); ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<Need> united;
    std::uint64_t total = 0;
    std::set<std::uint64_t> ends;
    const auto objects = static_cast<std::uint32_t>(1 + random() % 9);
    for (std::uint32_t object = 0; object < objects; ++object) {
      const std::uint64_t begin = random() % 5000;
      const std::uint64_t bytes = 1 + random() % (30 * kMiB);
      united.push_back(dense(object, begin, begin + bytes));
      const StridedRange rows{begin + bytes, 1 + random() % 200'000, 300'000, 2 + random() % 9};
      united.push_back({object, rows});
      ends.insert(begin + bytes);
      for (std::uint64_t row = 0; row < rows.count; ++row)
        ends.insert(rows.offset + row * rows.stride_bytes + rows.run_bytes);
      total += bytes + rows.total_bytes();
    }
    for (const PartitionPolicy policy : {PartitionPolicy::chunks, PartitionPolicy::files}) {
      const ScheduleOptions options{.ranks = static_cast<std::uint32_t>(2 + random() % 7),
                                    .policy = policy,
                                    .buffer_bytes = kMiB << random() % 6};
      const Schedule schedule = make_schedule(united, options);
      const Schedule again = make_schedule(united, options);
      REQUIRE(again.units.size() == schedule.units.size());
      std::vector<std::uint64_t> bytes(options.ranks);
      std::vector<std::pair<std::uint32_t, std::uint64_t>> last(options.ranks);
      std::set<std::uint32_t> owners_of[16];
      std::uint64_t largest = 0;
      for (const Unit& unit : schedule.units) {
        // As wide as they can be; the others end where a multiple of the unit's size does.
        if (unit.range.count == 1)
          REQUIRE((end_of(unit.range) % (64 * kKiB) == 0 || ends.contains(end_of(unit.range))));
        bytes[unit.owner] += unit.range.total_bytes();
        largest = std::max(largest, unit.range.total_bytes());
        owners_of[unit.object].insert(unit.owner);
        const std::pair at(unit.object, unit.range.offset + 1);
        REQUIRE(at > last[unit.owner]);  // each rank reads forward
        last[unit.owner] = at;
      }
      CHECK(std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0}) == total);
      CHECK(bytes == schedule.bytes_by_rank);
      const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
      if (policy == PartitionPolicy::chunks) {
        CHECK(*most - *least <= largest);
      } else {
        for (const auto& owners : owners_of)
          CHECK(owners.size() <= 1);
      }
      std::uint32_t end = 0;
      for (const Round round : schedule.rounds) {
        REQUIRE(round.begin == end);
        REQUIRE(round.end > round.begin);
        end = round.end;
        std::vector<std::uint64_t> in_round(options.ranks);
        for (std::uint32_t u = round.begin; u < round.end; ++u)
          in_round[schedule.units[u].owner] += schedule.units[u].range.total_bytes();
        CHECK(*std::max_element(in_round.begin(), in_round.end()) <= schedule.share_bytes);
      }
      CHECK(end == schedule.units.size());
    }
  }
}

TEST_CASE("what units have of needs is all of them, once", "[schedule]") {
  for (std::uint64_t seed = 1; seed <= (test::kIsSanitized ? 50 : 300); ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::vector<Need>> needs(2 + random() % 3);
    const auto matrices = random_matrices(random);
    for (auto& of_rank : needs) {
      for (const Matrix& matrix : matrices) {
        const StridedRange part = random_part(matrix, random, seed % 3 == 0);
        if (part.total_bytes() != 0) of_rank.push_back({matrix.object, part});
      }
    }
    // Units far smaller than a schedule's, so that they cut needs everywhere.
    std::vector<Unit> units;
    for (const Need& need : unite(needs, 0)) {
      const std::uint64_t step = 1 + random() % 7;
      for (std::uint64_t at = 0; need.range.count == 1 && at < need.range.run_bytes; at += step) {
        const std::uint64_t bytes = std::min(step, need.range.run_bytes - at);
        units.push_back({need.object, 0, {need.range.offset + at, bytes, bytes, 1}});
      }
      for (std::uint64_t row = 0; need.range.count > 1 && row < need.range.count; row += 2) {
        StridedRange rows = need.range;
        rows.offset += row * rows.stride_bytes;
        rows.count = std::min<std::uint64_t>(2, need.range.count - row);
        if (rows.count == 1) rows.stride_bytes = rows.run_bytes;
        units.push_back({need.object, 0, rows});
      }
    }
    std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
      return std::pair(a.object, a.range.offset) < std::pair(b.object, b.range.offset);
    });
    for (const auto& of_rank : needs) {
      NeedCursor cursor(of_rank);
      std::vector<std::uint64_t> next(of_rank.size());
      for (const Unit& unit : units) {
        std::uint64_t shared_bytes = 0;
        cursor.visit(unit, [&](std::size_t need, Overlap shared) {
          REQUIRE(shared.begin == next[need]);  // in order, without holes
          next[need] = shared.end;
          shared_bytes += shared.size();
        });
        REQUIRE(shared_bytes <= unit.range.total_bytes());
      }
      for (std::size_t i = 0; i < of_rank.size(); ++i)
        REQUIRE(next[i] == of_rank[i].range.total_bytes());
    }
  }
}
