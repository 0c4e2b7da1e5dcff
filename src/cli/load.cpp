// SPDX-License-Identifier: Apache-2.0
// streamer load: brings a checkpoint to memory and says how that went.
#include <fmt/format.h>

#include <chrono>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/ranks.hpp"

namespace streamer::cli {

namespace {

double seconds(std::uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

void print_text(const LoadStats& stats) {
  write_to(stdout, "loaded {} tensors, {} ({} bytes) in {:.3f} s: {:.2f} GB/s\n", stats.items_ready,
           human_bytes(stats.bytes_ready), stats.bytes_ready, seconds(stats.elapsed_ns),
           gigabytes_per_second(stats.bytes_ready, stats.elapsed_ns));
  write_to(stdout, "readers: {}; read {} bytes: {} direct{}, {} from the page cache, {} buffered\n",
           stats.readers, stats.bytes_read, stats.bytes_direct,
           stats.uses_io_uring != 0 ? " (io_uring)" : "", stats.bytes_page_cache,
           stats.bytes_buffered);
  if (stats.network_requests != 0) {
    write_to(stdout,
             "network: {} bytes in {} requests over up to {} connections; {} hedges, {} bytes came "
             "twice\n",
             stats.bytes_network, stats.network_requests, stats.most_connections, stats.hedges,
             stats.bytes_discarded);
  }
  if (stats.bytes_to_devices != 0) {
    write_to(stdout, "device: {} bytes copied through {} of pinned segments to {} of the device\n",
             stats.bytes_to_devices, human_bytes(stats.staging_bytes),
             human_bytes(stats.device_bytes));
  }
  write_to(stdout, "verified: {} of {} files\n", stats.objects_verified, stats.objects);
  write_to(stdout, "chunks: {}; retries: {}\n", stats.chunks, stats.retries);
  write_to(stdout, "held back by: {}\n", held_back_by(stats));
  print_notes(stats.notes);
}

void print_json(const LoadStats& stats) {
  write_to(
      stdout,
      "{{\"tensors\":{},\"bytes\":{},\"seconds\":{:.6f},\"gigabytes_per_second\":{:.3f},"
      "\"readers\":{},\"chunks\":{},\"retries\":{},\"bytes_read\":{},\"bytes_direct\":{},"
      "\"bytes_page_cache\":{},\"bytes_buffered\":{},\"bytes_bounced\":{},\"uses_io_uring\":{},"
      "\"arena_bytes\":{},\"buffer_bytes\":{},\"reader_cpu_seconds\":{:.6f},\"storage_wait_"
      "seconds\":{:.6f},"
      "\"window_wait_seconds\":{:.6f},\"bandwidth_wait_seconds\":{:.6f},"
      "\"consumer_wait_seconds\":{:.6f},\"bytes_network\":{},"
      "\"bytes_discarded\":{},\"network_requests\":{},\"hedges\":{},\"most_connections\":{},"
      "\"objects\":{},\"objects_verified\":{},\"bytes_to_devices\":{},\"staging_wait_seconds\":{:."
      "6f},"
      "\"staging_bytes\":{},\"device_bytes\":{},"
      "\"bytes_sent\":{},\"bytes_received\":{},\"exchange_wait_seconds\":{:.6f},"
      "\"rank\":{},\"ranks\":{},"
      "\"held_back_by\":\"{}\",\"notes\":{}}}\n",
      stats.items_ready, stats.bytes_ready, seconds(stats.elapsed_ns),
      gigabytes_per_second(stats.bytes_ready, stats.elapsed_ns), stats.readers, stats.chunks,
      stats.retries, stats.bytes_read, stats.bytes_direct, stats.bytes_page_cache,
      stats.bytes_buffered, stats.bytes_bounced, stats.uses_io_uring != 0, stats.arena_bytes,
      stats.buffer_bytes, seconds(stats.reader_cpu_ns), seconds(stats.storage_wait_ns),
      seconds(stats.window_wait_ns), seconds(stats.bandwidth_wait_ns),
      seconds(stats.consumer_wait_ns), stats.bytes_network, stats.bytes_discarded,
      stats.network_requests, stats.hedges, stats.most_connections, stats.objects,
      stats.objects_verified, stats.bytes_to_devices, seconds(stats.staging_wait_ns),
      stats.staging_bytes, stats.device_bytes, stats.bytes_sent, stats.bytes_received,
      seconds(stats.exchange_wait_ns), stats.rank, stats.ranks, held_back_by(stats),
      json_string(stats.notes));
}

// What a load of several ranks did, by rank.
void print_text(const std::vector<LoadStats>& all) {
  std::uint64_t read = 0;
  for (const LoadStats& stats : all) {
    read += stats.bytes_read;
    write_to(stdout,
             "rank {}: read {} bytes, received {}, sent {}, has {} in {} tensors, {:.3f} s\n",
             stats.rank, stats.bytes_read, stats.bytes_received, stats.bytes_sent,
             stats.bytes_ready, stats.items_ready, seconds(stats.elapsed_ns));
  }
  write_to(stdout, "ranks: {}; read {} bytes between them\n", all.size(), read);
}

void print_json(const std::vector<LoadStats>& all) {
  write_to(stdout, "[");
  for (std::size_t i = 0; i < all.size(); ++i) {
    write_to(stdout, "{}", i == 0 ? "" : ",");
    print_json(all[i]);
  }
  write_to(stdout, "]\n");
}

}  // namespace

int run_load(const LoadArguments& arguments, bool as_json) {
  auto ranks = Ranks::open(arguments);
  if (!ranks) return report(ranks.error());
  auto request = ranks->make_request(arguments);
  if (!request) return report(request.error());
  auto load = Load::start(request->plan, request->options);
  if (!load) return report(load.error());
  Progress progress;
  // Each tensor is released at once: what is measured is the way there.
  auto taken = take_all(
      *load, [](Tensor) { return Result<void>(); },
      [&] {
        if (ranks->is_first()) progress.show(load->stats());
      });
  const LoadStats stats = load->stats();
  if (ranks->is_first()) progress.finish(stats);
  if (!taken) return report(taken.error());
  if (ranks->is_alone()) {
    as_json ? print_json(stats) : print_text(stats);
    return finish_output();
  }
  auto all = ranks->gather(stats);
  if (!all) return report(all.error());
  if (!ranks->is_first()) return kExitOk;
  if (as_json) {
    print_json(*all);
  } else {
    print_text(stats);
    print_text(*all);
  }
  return finish_output();
}

}  // namespace streamer::cli
