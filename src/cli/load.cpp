// SPDX-License-Identifier: Apache-2.0
// streamer load: streams a checkpoint to memory and reports how it went.
#include <fmt/format.h>

#include <chrono>

#include "base/counted.hpp"
#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/ranks.hpp"

namespace streamer::cli {

namespace {

double seconds(std::uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

void print_text(const LoadFigures& figures) {
  const LoadStats& stats = figures.stats;
  write_to(stdout, "loaded {} tensors, {} ({} bytes) in {:.3f} s: {}\n", stats.items_ready,
           human_bytes(stats.bytes_ready), stats.bytes_ready, seconds(stats.elapsed_ns),
           human_rate(stats.bytes_ready, stats.elapsed_ns));
  write_to(stdout, "readers: {}; read {} bytes: {} direct{}, {} from the page cache, {} buffered\n",
           stats.readers, stats.bytes_read, figures["bytes_direct"],
           figures["uses_io_uring"] != 0 ? " (io_uring)" : "", figures["bytes_page_cache"],
           figures["bytes_buffered"]);
  if (figures["network_requests"] != 0) {
    write_to(stdout,
             "network: {} bytes in {} requests over up to {} connections; {} hedges, {} bytes came "
             "twice\n",
             figures["bytes_network"], figures["network_requests"], figures["most_connections"],
             figures["hedges"], figures["bytes_discarded"]);
  }
  if (figures["bytes_from_cache"] + figures["bytes_to_cache"] + figures["bytes_cache_dropped"] !=
      0) {
    write_to(stdout,
             "cache: {} bytes came from it, {} went to it, {} were dropped; {} bad blocks\n",
             figures["bytes_from_cache"], figures["bytes_to_cache"], figures["bytes_cache_dropped"],
             figures["cache_blocks_bad"]);
  }
  if (figures["bytes_to_devices"] != 0) {
    write_to(stdout, "device: {} bytes copied through {} of pinned segments to {} of the device\n",
             figures["bytes_to_devices"], human_bytes(figures["staging_bytes"]),
             human_bytes(figures["device_bytes"]));
  }
  if (stats.objects_verified != 0)
    write_to(stdout, "verified: {} of {}\n", stats.objects_verified,
             core::counted(stats.objects, "file"));
  else
    write_to(stdout, "verified: none of {} (see the setting verify)\n",
             core::counted(stats.objects, "file"));
  write_to(stdout, "chunks: {}; retries: {}\n", figures["chunks"], figures["retries"]);
  write_to(stdout, "held back by: {}\n", held_back_by(stats));
  print_notes(stats.notes);
}

// Every number under its name; times in seconds, and null for "no limit".
void print_json(const LoadFigures& figures) {
  const LoadStats& stats = figures.stats;
  write_to(stdout,
           "{{\"tensors\":{},\"bytes\":{},\"seconds\":{:.6f},\"gigabytes_per_second\":{:.3f}",
           stats.items_ready, stats.bytes_ready, seconds(stats.elapsed_ns),
           gigabytes_per_second(stats.bytes_ready, stats.elapsed_ns));
  const std::vector<StatInfo> all = all_stats();
  constexpr std::string_view kNanoseconds = "_ns";
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string_view name = all[i].name;
    const std::uint64_t value = figures.values[i];
    if (name.ends_with(kNanoseconds)) {
      write_to(stdout, ",\"{}_seconds\":{:.6f}", name.substr(0, name.size() - kNanoseconds.size()),
               seconds(value));
    } else if (value == UINT64_MAX) {
      write_to(stdout, ",\"{}\":null", name);
    } else {
      write_to(stdout, ",\"{}\":{}", name, value);
    }
  }
  write_to(stdout, ",\"held_back_by\":\"{}\",\"notes\":{}}}\n", held_back_by(stats),
           json_string(stats.notes));
}

// What a load of several ranks did, by rank.
void print_text(const std::vector<LoadFigures>& all) {
  std::uint64_t read = 0;
  for (const LoadFigures& figures : all) {
    const LoadStats& stats = figures.stats;
    read += stats.bytes_read;
    write_to(stdout,
             "rank {}: read {} bytes, received {}, sent {}, has {} in {} tensors, {:.3f} s\n",
             stats.rank, stats.bytes_read, figures["bytes_received"], figures["bytes_sent"],
             stats.bytes_ready, stats.items_ready, seconds(stats.elapsed_ns));
  }
  write_to(stdout, "ranks: {}; read {} bytes between them\n", all.size(), read);
}

void print_json(const std::vector<LoadFigures>& all) {
  write_to(stdout, "[");
  for (std::size_t i = 0; i < all.size(); ++i) {
    write_to(stdout, "{}", i == 0 ? "" : ",");
    print_json(all[i]);
  }
  write_to(stdout, "]\n");
}

}  // namespace

int run_load(const LoadArguments& arguments, bool explains) {
  auto ranks = Ranks::open(arguments);
  if (!ranks) return report(ranks.error());
  auto request = ranks->make_request(arguments);
  if (!request) return report(request.error());
  auto load = Load::start(request->plan, request->options);
  if (!load) return report(load.error());
  // Beside the JSON, not in it.
  if (explains && ranks->is_first())
    write_to(prints_json() ? stderr : stdout, "{}", load->explain());
  ProgressDisplay progress;
  // Each tensor is released at once: what is measured is the way there.
  auto taken = take_all(
      *load, [](Tensor) { return Result<void>(); },
      [&] {
        if (ranks->is_first()) progress.show(progress_of(load->stats()));
      });
  const LoadFigures figures = LoadFigures::of(*load);
  if (ranks->is_first()) progress.finish(progress_of(figures.stats));
  if (!taken) return report(taken.error());
  if (ranks->is_alone()) {
    prints_json() ? print_json(figures) : print_text(figures);
    return finish_output();
  }
  auto all = ranks->gather(figures);
  if (!all) return report(all.error());
  if (!ranks->is_first()) return kExitOk;
  if (prints_json()) {
    print_json(*all);
  } else {
    print_text(figures);
    print_text(*all);
  }
  return finish_output();
}

}  // namespace streamer::cli
