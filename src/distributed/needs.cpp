// SPDX-License-Identifier: Apache-2.0
#include "distributed/needs.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

namespace streamer::core::inline distributed {

namespace {

Need dense(std::uint32_t object, std::uint64_t begin, std::uint64_t end) {
  return {object,
          {.offset = begin, .run_bytes = end - begin, .stride_bytes = end - begin, .count = 1}};
}

bool comes_before(const Need& a, const Need& b) {
  return a.object != b.object ? a.object < b.object : a.range.offset < b.range.offset;
}

// Appends a range, or extends the last one if at most gap_bytes lie between the two.
void append(std::vector<Need>& needs, const Need& next, std::uint64_t gap_bytes = 0) {
  if (!needs.empty()) {
    Need& last = needs.back();
    if (last.object == next.object && last.range.count == 1 && next.range.count == 1 &&
        end_of(last.range) <= next.range.offset &&
        next.range.offset - end_of(last.range) <= gap_bytes) {
      last = dense(last.object, last.range.offset, end_of(next.range));
      return;
    }
  }
  needs.push_back(next);
}

struct Columns {
  std::uint64_t begin = 0;  // from the first byte of the first row of all
  std::uint64_t end = 0;
  std::uint64_t first_row = 0;
  std::uint64_t end_row = 0;
};

// Merges needs that are columns of the same rows, which lie stride apart, if at most gap_bytes lie
// between them; nullopt if the needs are not of this form.
std::optional<std::vector<Columns>> columns_of(std::span<const Need> group,
                                               std::uint64_t gap_bytes) {
  const std::uint64_t stride = group.front().range.stride_bytes;
  const std::uint64_t base = group.front().range.offset;
  std::vector<Columns> columns;
  for (const Need& need : group) {
    if (need.range.count == 1 || need.range.stride_bytes != stride) return std::nullopt;
    const std::uint64_t begin = (need.range.offset - base) % stride;
    const std::uint64_t row = (need.range.offset - base) / stride;
    if (begin + need.range.run_bytes > stride) return std::nullopt;
    columns.push_back({begin, begin + need.range.run_bytes, row, row + need.range.count});
  }
  std::sort(columns.begin(), columns.end(),
            [](const Columns& a, const Columns& b) { return a.begin < b.begin; });
  std::vector<Columns> merged;
  for (const Columns& next : columns) {
    if (merged.empty() || next.begin > merged.back().end + gap_bytes) {
      merged.push_back(next);
      continue;
    }
    Columns& last = merged.back();
    last.end = std::max(last.end, next.end);
    last.first_row = std::min(last.first_row, next.first_row);
    last.end_row = std::max(last.end_row, next.end_row);
  }
  return merged;
}

// For needs that overlap.
void unite_group(std::span<const Need> group, std::uint64_t gap_bytes, std::vector<Need>& united) {
  const Need& first = group.front();
  std::uint64_t end = 0;
  for (const Need& need : group)
    end = std::max(end, end_of(need.range));
  const auto columns = columns_of(group, gap_bytes);
  const std::uint64_t stride = first.range.stride_bytes;
  const bool is_dense =
      !columns ||
      (columns->size() == 1 && columns->front().end - columns->front().begin + gap_bytes >= stride);
  if (is_dense) return append(united, dense(first.object, first.range.offset, end), gap_bytes);
  for (const Columns& column : *columns) {
    united.push_back({first.object,
                      {.offset = first.range.offset + column.first_row * stride + column.begin,
                       .run_bytes = column.end - column.begin,
                       .stride_bytes = stride,
                       .count = column.end_row - column.first_row}});
  }
}

}  // namespace

std::uint64_t end_of(const StridedRange& range) noexcept {
  return range.offset + range.stride_bytes * (range.count - 1) + range.run_bytes;
}

std::uint64_t bytes_below(const StridedRange& range, std::uint64_t offset) noexcept {
  if (offset <= range.offset) return 0;
  if (offset >= end_of(range)) return range.total_bytes();
  const std::uint64_t within = offset - range.offset;
  const std::uint64_t run = within / range.stride_bytes;
  return run * range.run_bytes + std::min(within - run * range.stride_bytes, range.run_bytes);
}

std::vector<Need> needs_of(std::span<const Wanted> wanted) {
  std::vector<Need> needs;
  for (const Wanted& want : wanted) {
    if (want.range.total_bytes() == 0) continue;
    append(needs, want.range.count == 1 ? dense(want.object, want.range.offset, end_of(want.range))
                                        : Need{want.object, want.range});
  }
  return needs;
}

std::string encode(std::span<const Need> needs) {
  std::string text;
  text.reserve(needs.size() * 5 * sizeof(std::uint64_t));
  for (const Need& need : needs) {
    for (const std::uint64_t number :
         {std::uint64_t{need.object}, need.range.offset, need.range.run_bytes,
          need.range.stride_bytes, need.range.count}) {
      for (unsigned byte = 0; byte < sizeof number; ++byte)
        text += static_cast<char>(number >> (8 * byte) & 0xFFU);
    }
  }
  return text;
}

Result<std::vector<Need>> decode_needs(std::string_view text, const Checkpoint& checkpoint) {
  constexpr std::size_t kNumbers = 5;
  constexpr std::size_t kNeedBytes = kNumbers * sizeof(std::uint64_t);
  const Error wrong(ErrorKind::corrupt, "a rank's description of what it needs is malformed");
  if (text.size() % kNeedBytes != 0) return wrong.copy();
  std::vector<Need> needs;
  for (std::size_t at = 0; at < text.size();) {
    std::array<std::uint64_t, kNumbers> numbers{};
    for (std::uint64_t& number : numbers) {
      for (unsigned byte = 0; byte < sizeof number; ++byte, ++at)
        number |= std::uint64_t{static_cast<unsigned char>(text[at])} << (8 * byte);
    }
    // From another process, so it is checked like any other input.
    const auto [object, offset, run, stride, count] = numbers;
    if (object >= checkpoint.objects.size() || run == 0 || count == 0 || stride < run)
      return wrong.copy();
    const auto rows = checked_multiply(stride, count - 1);
    const auto begin = rows ? checked_add(offset, *rows) : std::nullopt;
    const auto end = begin ? checked_add(*begin, run) : std::nullopt;
    if (!end || *end > checkpoint.objects[object].object.size) return wrong.copy();
    needs.push_back({static_cast<std::uint32_t>(object), {offset, run, stride, count}});
  }
  return needs;
}

std::vector<Need> unite(std::span<const std::vector<Need>> needs, std::uint64_t gap_bytes) {
  std::vector<Need> all;
  for (const std::vector<Need>& of_rank : needs)
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  std::stable_sort(all.begin(), all.end(), comes_before);
  std::vector<Need> united;
  for (std::size_t begin = 0; begin < all.size();) {
    std::uint64_t reach = end_of(all[begin].range);
    std::size_t end = begin + 1;
    while (end < all.size() && all[end].object == all[begin].object &&
           all[end].range.offset < reach) {
      reach = std::max(reach, end_of(all[end].range));
      ++end;
    }
    unite_group(std::span(all).subspan(begin, end - begin), gap_bytes, united);
    begin = end;
  }
  return united;
}

}  // namespace streamer::core::inline distributed
