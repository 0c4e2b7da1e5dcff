// SPDX-License-Identifier: Apache-2.0
// Many readers, tiny chunks, random cancels; memory that stays within its limit; very many tensors.
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>

#include <fstream>
#include <random>
#include <thread>

#include "engine/reader_clock.hpp"
#include "gpu/kept_segments.hpp"
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

// 192 MiB in 24 tensors, written once for all tests of a run. Misaligned: no tensor begins where
// its elements could lie as the file has them, so that no direct read lands in place.
const Lab& big_lab(bool is_misaligned = false) {
  static const auto make = [](std::uint64_t shift) {
    auto files = equal_tensors(24, 8 * kMiB);
    for (RawTensor& tensor : files[0].tensors) {
      tensor.offset += shift;
      tensor.dtype = Dtype::f32;
      tensor.shape = {(8 * kMiB - 8) / 4};
    }
    return files;
  };
  if (is_misaligned) {
    static const Lab lab(make(1));
    return lab;
  }
  static const Lab lab(make(0));
  return lab;
}

struct Peak {
  std::uint64_t growth = UINT64_MAX;  // of resident memory
  LoadStats stats;
};

// Peak resident memory that a load adds to a process, without what devices of the stand-in hold,
// which is the host's.
Peak peak_of_load(const Lab& lab, const LoadSettings& settings, const LoadOptions& options = {}) {
  std::ofstream("/proc/self/clear_refs") << "5";  // resets VmHWM
  const std::uint64_t before = process_status("VmRSS");
  auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), options, settings);
  if (!load) return {};
  for (;;) {
    auto yielded = (*load)->next(in(60s));
    if (!yielded) return {};
    if (yielded->outcome == Load::Outcome::end) break;
    yielded->lease->release();
  }
  Peak peak{.stats = (*load)->stats()};
  load->reset();
  drop_kept_segments();
  peak.growth = process_status("VmHWM") - before - peak.stats.device_bytes;
  return peak;
}

// Stacks of threads, what malloc keeps for each, pages of code, the load's own lists.
constexpr std::uint64_t kBesideLimit = 24 * kMiB;

}  // namespace

TEST_CASE("1,000 rounds of 16 readers with tiny chunks and random cancels end well", "[stress]") {
  const Lab lab(random_files(11, 3, 60, 60'000));
  const auto requests = everything(*lab.checkpoint);
  std::mt19937_64 engine(11);
  for (int round = 0; round < 1000; ++round) {
    CAPTURE(round);
    LoadSettings settings;
    settings.put(setting::kConcurrency, 16);
    settings.put(setting::kChunkBytes, 4096);
    settings.put(setting::kIoUring, engine() % 4 == 0);
    const FileIo ways[] = {FileIo::automatic, FileIo::buffered, FileIo::direct};
    settings.put(setting::kFileIo, ways[engine() % 8 == 0 ? 2 : engine() % 2]);
    if (engine() % 2 == 0) settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
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

TEST_CASE("W4 tensors and the buffers of reading are within the limit together", "[limits]") {
  const bool is_misaligned = GENERATE(false, true);
  const FileIo file_io = GENERATE(FileIo::automatic, FileIo::direct);
  const std::uint64_t limit = GENERATE(std::uint64_t{20'000'000}, std::uint64_t{64'000'000});
  const std::uint32_t readers = GENERATE(1U, 16U);
  const std::uint64_t chunk_bytes = GENERATE(0ULL, 16 * kMiB);
  const Lab& lab = big_lab(is_misaligned);
  const bool is_direct = file_io == FileIo::direct;
  if (is_direct && !UniqueFd(::open(lab.path(0).c_str(), O_RDONLY | O_DIRECT)))
    return skip("the file system of the temporary folder does not have O_DIRECT");
  CAPTURE(is_misaligned, is_direct, limit, readers, chunk_bytes);
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, limit});
  settings.put(setting::kConcurrency, readers);
  settings.put(setting::kChunkBytes, chunk_bytes);
  settings.put(setting::kFileIo, file_io);
  const int status = in_child([&] {
    const Peak peak = peak_of_load(lab, settings);
    if (peak.stats.items_ready != 24) return 10;
    // Counted, and not a page more than that.
    if (peak.stats.arena_bytes + peak.stats.buffer_bytes > limit + 2 * kPageBytes) return 11;
    if (is_misaligned && is_direct && peak.stats.bytes_bounced == 0) return 12;
    if (!kIsSanitized && peak.growth > limit + kBesideLimit) {
      std::printf("grew by %lu\n", static_cast<unsigned long>(peak.growth));
      return 13;
    }
    return 0;
  });
  CHECK(status == 0);
}

TEST_CASE("W4 buffers of a load to a device are within the limit too", "[limits]") {
  if (kIsSanitized) return skip("sanitizers have memory of their own");
  const Lab& lab = big_lab();
  const bool is_cold = GENERATE(false, true);
  if (is_cold) make_cold(lab.path(0));
  CAPTURE(is_cold);
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 64 * kMiB});
  const int status = in_child([&] {
    CudaStandIn cuda({.longest_delay_us = 0});
    LoadOptions options;
    options.device = {kCudaKind, 0};
    options.gpu = &cuda;
    return peak_of_load(lab, settings, options).growth <= 64 * kMiB + kBesideLimit ? 0 : 1;
  });
  CHECK(status == 0);
}

TEST_CASE("W4 what a load keeps of each of many small tensors counts, too", "[limits]") {
  constexpr std::uint32_t kTensors = 50'000;
  static const Lab lab(equal_tensors(kTensors, 1024));
  constexpr std::uint64_t kLimit = 32 * kMiB;
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, kLimit});
  const int status = in_child([&] {
    const Peak peak = peak_of_load(lab, settings);
    if (peak.stats.items_ready != kTensors) return 10;
    if (peak.stats.arena_bytes + peak.stats.buffer_bytes + kTensors * 128ULL > kLimit) return 11;
    return kIsSanitized || peak.growth <= kLimit + kBesideLimit ? 0 : 12;
  });
  CHECK(status == 0);
}

TEST_CASE("memory of released tensors is kept as far as the window reaches, and else goes back",
          "[limits]") {
  constexpr std::uint64_t kTensorBytes = 8 * kMiB;
  constexpr std::uint64_t kKept = 2 * kTensorBytes;
  const Lab lab(equal_tensors(8, kTensorBytes));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::unlimited});
  settings.put(setting::kMapCached, false);
  LoadOptions options;
  options.ahead_bytes = kKept;
  auto load = start(lab, settings, options);
  std::vector<TensorLease*> held;
  while (TensorLease* const lease = next(*load))
    held.push_back(lease);
  std::uint64_t left = 0;
  for (TensorLease* const lease : held) {
    const auto page = reinterpret_cast<std::uintptr_t>(lease->data()) / kPageBytes * kPageBytes;
    std::vector<unsigned char> is_resident(kTensorBytes / kPageBytes);
    lease->release();
    REQUIRE(::mincore(reinterpret_cast<void*>(page), is_resident.size() * kPageBytes,
                      is_resident.data()) == 0);
    left += kPageBytes * static_cast<std::uint64_t>(std::count_if(
                             is_resident.begin(), is_resident.end(),
                             [](unsigned char page_is) { return (page_is & 1) != 0; }));
  }
  CHECK(held.size() == 8);
  CHECK(left >= kTensorBytes);
  // And of the others the huge pages that they began and ended in.
  CHECK(left <= kKept + 6 * 4 * kMiB);
}

TEST_CASE("100,000 tensors are planned in linear time and 216 bytes each", "[limits]") {
  struct Cost {
    double cpu_seconds;
    double bytes_per_tensor;
  };
  const auto plan = [](std::uint32_t tensors) {
    RawFile file;
    file.bytes.resize(4096);
    for (std::uint32_t t = 0; t < tensors; ++t)
      file.tensors.push_back({Dtype::f32, {32, 32}, 8 + t * 4096ULL});
    const TemporaryFolder folder;
    const std::size_t before = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
    const auto checkpoint = make_raw_checkpoint(folder.path(), {file});
    std::uint64_t names = 0;
    for (std::uint32_t t = 0; t < checkpoint->tensors.size(); ++t)
      names += checkpoint->tensors[t].name.size() + 1;
    // Of this thread: how busy the machine is does not count.
    const std::uint64_t began = thread_cpu_ns();
    auto load = Load::start(checkpoint, everything(*checkpoint), {}, {});
    const std::uint64_t took = thread_cpu_ns() - began;
    REQUIRE(load);
    const std::size_t after = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
    return Cost{static_cast<double>(took) * 1e-9,
                static_cast<double>(after - before - names) / tensors};
  };
  static_cast<void>(plan(10'000));
  const Cost few = plan(10'000);
  const Cost many = plan(100'000);
  CAPTURE(few.cpu_seconds, many.cpu_seconds, many.bytes_per_tensor);
  // Ten times as many take about ten times as long; caches that do not hold them are allowed for.
  CHECK(many.cpu_seconds < 40 * std::max(few.cpu_seconds, 0.002));
  if (!kIsSanitized) CHECK(many.bytes_per_tensor < 216);
}
