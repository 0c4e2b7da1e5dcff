// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/nearest.hpp"
#include "boundary.hpp"
#include "engine/stats.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

// Sets the fields that the struct has of the list's; returns how many those are.
template <typename Out>
constexpr std::size_t fill(Out& out, const core::LoadStats& stats) {
  std::size_t fields = 0;
#define LOAD_STAT(name, start, meaning)                     \
  if constexpr (requires { out.name; }) {                   \
    out.name = static_cast<decltype(out.name)>(stats.name); \
    ++fields;                                               \
  }
#include "engine/load_stats.inc"
  return fields;
}

constexpr std::size_t fields_of_list() {
  streamer_load_stats out = STREAMER_LOAD_STATS_INIT;
  return fill(out, core::LoadStats());
}
// The others are struct_size, held_back_by and notes.
static_assert(fields_of_list() + 3 == count_fields<streamer_load_stats>(),
              "a field of the C struct is no row of engine/load_stats.inc");

}  // namespace

extern "C" {

const char* streamer_held_back_by_name(uint32_t held_back_by) {
  // Names are literals, so NUL-terminated.
  return core::held_back_by_name(static_cast<core::HeldBackBy>(held_back_by)).data();
}

void streamer_load_get_stats(const streamer_load* load, streamer_load_stats* stats_out) {
  if (load == nullptr || stats_out == nullptr) return;
  const core::LoadStats stats = load->load->stats();
  streamer_load_stats out = STREAMER_LOAD_STATS_INIT;
  fill(out, stats);
  out.held_back_by = static_cast<std::uint32_t>(core::judge(stats));
  out.notes = "";
  const streamer_status kept = guarded(nullptr, [&]() -> Result<streamer_status> {
    auto notes = std::make_unique<std::string>(load->checkpoint_notes + load->load->notes());
    load->notes.with([&](auto& all) {
      // Notes only grow, so a new text is needed only when there is more to say.
      if (all.empty() || *all.back() != *notes) all.push_back(std::move(notes));
      out.notes = all.back()->c_str();
    });
    return STREAMER_OK;
  });
  static_cast<void>(kept);
  copy_out_if_sound(out, stats_out);
}

size_t streamer_stat_count(void) {
  return core::stat_rows().size();
}

streamer_status streamer_stat_get_info(size_t index, streamer_stat_info* info_out,
                                       streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(info_out);
    const auto rows = core::stat_rows();
    if (index >= rows.size())
      return Error(ErrorKind::invalid_argument,
                   fmt::format("there are {} stats, and index is {}", rows.size(), index));
    streamer_stat_info info = STREAMER_STAT_INFO_INIT;
    info.name = rows[index].name;
    info.meaning = rows[index].meaning;
    TRY(copy_out(info, info_out));
    return STREAMER_OK;
  });
}

streamer_status streamer_load_get_stat(const streamer_load* load, const char* name,
                                       uint64_t* value_out, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(load);
    STREAMER_REQUIRE(name);
    STREAMER_REQUIRE(value_out);
    const auto rows = core::stat_rows();
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const core::StatRow& one) {
      return one.name == std::string_view(name);
    });
    if (row != rows.end()) {
      *value_out = load->load->stats().*row->value;
      return STREAMER_OK;
    }
    std::vector<std::string_view> names;
    for (const core::StatRow& one : rows)
      names.push_back(one.name);
    const std::string_view meant = core::nearest(name, names);
    return Error(ErrorKind::not_found,
                 fmt::format("a load has no stat \"{}\"{}; streamer_stat_get_info() lists them",
                             name, meant.empty() ? "" : fmt::format(" (\"{}\"?)", meant)));
  });
}

size_t streamer_load_get_all_stats(const streamer_load* load, uint64_t* values_out, size_t count) {
  const auto rows = core::stat_rows();
  if (load == nullptr || values_out == nullptr) return rows.size();
  const core::LoadStats stats = load->load->stats();
  for (std::size_t i = 0; i < std::min(count, rows.size()); ++i)
    values_out[i] = stats.*rows[i].value;
  return rows.size();
}

}  // extern "C"
