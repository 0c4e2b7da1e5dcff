// SPDX-License-Identifier: Apache-2.0
// Many readers, tiny chunks, random cancels; memory that stays within its limit; very many tensors.
#include <fcntl.h>
#include <malloc.h>

#include <fstream>
#include <random>
#include <thread>

#include "base/text.hpp"
#include "device/kept_segments.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/lab.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

// A line of /proc/self/status in bytes.
std::uint64_t process_status(const std::string& name) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(name + ":", 0) == 0) return std::stoull(line.substr(name.size() + 1)) * kKiB;
  }
  return 0;
}

// Peak resident memory that a load of 512 MiB adds to a process, without what devices of the
// stand-in hold, which is the host's; or UINT64_MAX.
std::uint64_t peak_growth_of_load(const Lab& lab, const LoadSettings& settings,
                                  const LoadOptions& options = {}) {
  std::ofstream("/proc/self/clear_refs") << "5";  // resets VmHWM
  const std::uint64_t before = process_status("VmRSS");
  auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), options, settings);
  if (!load) return UINT64_MAX;
  for (;;) {
    auto yielded = (*load)->next(in(60s));
    if (!yielded) return UINT64_MAX;
    if (yielded->outcome == Load::Outcome::end) break;
    yielded->lease->release();
  }
  const std::uint64_t device_bytes = (*load)->stats().device_bytes;
  load->reset();
  drop_kept_segments();
  return process_status("VmHWM") - before - device_bytes;
}

}  // namespace

TEST_CASE("1,000 rounds of 16 readers with tiny chunks and random cancels end well", "[stress]") {
  const Lab lab(random_files(11, 3, 60, 60'000));
  const auto requests = everything(*lab.checkpoint);
  std::mt19937_64 engine(11);
  for (int round = 0; round < 1000; ++round) {
    CAPTURE(round);
    LoadSettings settings;
    settings.concurrency = 16;
    settings.chunk_bytes = 4096;
    settings.io_uring = engine() % 4 == 0;
    const FileIo ways[] = {FileIo::automatic, FileIo::buffered, FileIo::direct};
    settings.file_io = ways[engine() % 8 == 0 ? 2 : engine() % 2];
    if (engine() % 2 == 0) settings.memory_limit.mode = MemoryLimit::Mode::minimum;
    auto load = start(lab, settings,
                      {.order = engine() % 2 == 0 ? Order::completion : Order::plan,
                       .when_full = engine() % 2 == 0 ? WhenFull::fail : WhenFull::wait});
    // A third of the rounds run to the end, the others are cut off by another thread or by us.
    const std::uint64_t stop_after = engine() % 3 == 0 ? UINT64_MAX : engine() % 180;
    const bool from_outside = engine() % 2 == 0;
    std::thread canceller;
    if (stop_after != UINT64_MAX && from_outside) {
      canceller = std::thread([&load, stop_after] {
        while (load->stats().items_ready < stop_after % 40)
          std::this_thread::yield();
        load->cancel();
      });
    }
    for (std::uint64_t i = 0; i < stop_after || from_outside; ++i) {
      auto yielded = load->next(in(30s));
      if (!yielded) {
        REQUIRE(yielded.error().kind() == ErrorKind::cancelled);
        break;
      }
      REQUIRE(yielded->outcome != Load::Outcome::not_ready);
      if (yielded->outcome == Load::Outcome::end) break;
      lab.check(*yielded->lease, requests);
      yielded->lease->release();
    }
    if (canceller.joinable()) canceller.join();
  }
}

TEST_CASE("memory grows by no more than the limit and 64 MiB", "[limits]") {
  if (kIsSanitized) return;  // sanitizers have memory of their own
  const Lab lab(equal_tensors(64, 8 * kMiB));
  const bool is_cold = GENERATE(false, true);
  const std::uint64_t limit = GENERATE(16 * kMiB, 100 * kMiB, 256 * kMiB);
  if (is_cold) make_cold(lab.path(0));
  CAPTURE(is_cold, limit);
  LoadSettings settings;
  settings.memory_limit = {MemoryLimit::Mode::bytes, limit};
  const int status =
      in_child([&] { return peak_growth_of_load(lab, settings) <= limit + 64 * kMiB ? 0 : 1; });
  CHECK(status == 0);
}

TEST_CASE("a load to a device takes host memory for its segments and 64 MiB", "[limits]") {
  if (kIsSanitized) return;
  const Lab lab(equal_tensors(64, 8 * kMiB));
  const bool is_cold = GENERATE(false, true);
  if (is_cold) make_cold(lab.path(0));
  CAPTURE(is_cold);
  LoadSettings settings;
  // The checkpoint is eight times as large; the segments stay within the limit too.
  settings.memory_limit = {MemoryLimit::Mode::bytes, 64 * kMiB};
  const int status = in_child([&] {
    CudaStandIn cuda({.longest_delay_us = 0});
    LoadOptions options;
    options.device = 0;
    options.cuda = &cuda;
    return peak_growth_of_load(lab, settings, options) <= 64 * kMiB + 64 * kMiB ? 0 : 1;
  });
  CHECK(status == 0);
}

TEST_CASE("memory of released tensors goes back while a load without a limit runs", "[limits]") {
  if (kIsSanitized) return;
  const Lab lab(equal_tensors(64, 8 * kMiB));
  LoadSettings settings;
  settings.memory_limit.mode = MemoryLimit::Mode::unlimited;
  settings.bandwidth_bytes_per_s = kGiB;  // slower than the consumer, so that nothing piles up
  const int status =
      in_child([&] { return peak_growth_of_load(lab, settings) <= 192 * kMiB ? 0 : 1; });
  CHECK(status == 0);
}

TEST_CASE("100,000 tensors are planned within a second and 200 bytes each", "[limits]") {
  RawFile file;
  file.bytes.resize(4096);
  for (std::uint32_t t = 0; t < 100'000; ++t) {
    file.tensors.push_back({Dtype::f32, {32, 32}, 8 + t * 4096ULL});
  }
  const TemporaryFolder folder;
  const std::size_t before = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  const auto checkpoint = make_raw_checkpoint(folder.path(), {file});
  std::uint64_t names = 0;
  for (std::uint32_t t = 0; t < checkpoint->tensors.size(); ++t) {
    names += checkpoint->tensors[t].name.size() + 1;
  }
  const auto began = std::chrono::steady_clock::now();
  auto load = Load::start(checkpoint, everything(*checkpoint), {}, {});
  const auto took = std::chrono::steady_clock::now() - began;
  REQUIRE(load);
  const std::size_t after = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  if (!kIsSanitized) {
    CHECK(took < 1s);
    CHECK(after - before - names < 200 * 100'000);
    INFO((after - before - names) / 100'000 << " bytes per tensor");
  }
}
