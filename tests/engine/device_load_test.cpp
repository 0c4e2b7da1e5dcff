// SPDX-License-Identifier: Apache-2.0
// Loads that end in memory of devices, on a stand-in for the CUDA runtime: every byte, every order,
// every call that fails.
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "gpu/kept_segments.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/lab.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

// Some memory of the caller on a device; what is around an item's bytes must stay as it is.
class CallersMemory {
 public:
  CallersMemory(CudaStandIn& cuda, int device, std::uint64_t bytes)
      : cuda_(cuda), device_(device), bytes_(bytes + 2 * kMargin) {
    const UseDevice use(cuda_, device_);
    memory_ = static_cast<std::byte*>(*cuda_.allocate(bytes_));
    std::memset(memory_, 0x5A, bytes_);
  }
  CallersMemory(CallersMemory&& other) noexcept
      : cuda_(other.cuda_),
        device_(other.device_),
        bytes_(other.bytes_),
        memory_(std::exchange(other.memory_, nullptr)) {}
  ~CallersMemory() {
    if (memory_ == nullptr) return;
    const UseDevice use(cuda_, device_);
    static_cast<void>(cuda_.free(memory_).has_value());
  }
  std::byte* data() const { return memory_ + kMargin; }
  bool is_whole() const {
    const auto is_mine = [](std::byte b) { return b == std::byte{0x5A}; };
    return std::all_of(memory_, memory_ + kMargin, is_mine) &&
           std::all_of(memory_ + bytes_ - kMargin, memory_ + bytes_, is_mine);
  }

 private:
  static constexpr std::uint64_t kMargin = 64;
  CudaStandIn& cuda_;
  const int device_;
  const std::uint64_t bytes_;
  std::byte* memory_ = nullptr;
};

// A load of a random checkpoint with random settings to random devices.
struct Trial {
  Trial(std::uint64_t seed, std::uint32_t tensors, std::uint64_t largest, int most_devices)
      : random(seed),
        lab(random_files(seed, 1 + static_cast<std::uint32_t>(random() % 3), tensors, largest)),
        devices(static_cast<int>(1 + random() % static_cast<std::uint64_t>(most_devices))) {
    for (std::size_t f = 0; f < lab.files.size(); ++f) {
      if (random() % 2 == 0) make_cold(lab.path(f));
    }
    requests = everything(*lab.checkpoint);
    for (PlanRequest& request : requests) {
      const TensorView tensor = lab.checkpoint->tensors[request.tensor];
      if (random() % 4 == 0) {
        request.part = Part::slice;
        request.dimension = static_cast<std::uint32_t>(random() % 2);
        const std::uint64_t extent = tensor.shape[request.dimension];
        request.start = random() % (extent + 1);
        request.stop = request.start + random() % (extent + 1 - request.start);
      }
      largest_item = std::max(largest_item, requested_bytes(tensor, request)->total_bytes());
    }
    const FileIo ways[] = {FileIo::automatic, FileIo::direct, FileIo::buffered};
    settings.put(setting::kFileIo, ways[random() % 3]);
    settings.put(setting::kIoUring, random() % 2 == 0);
    settings.put(setting::kConcurrency, static_cast<std::uint32_t>(random() % 9));
    settings.put(setting::kChunkBytes, random() % 2 == 0 ? 0 : 4096 + random() % 200'000);
    settings.put(setting::kCoalesceGapBytes, random() % 2 == 0 ? 16 * kKiB : 0);
    settings.put(setting::kDeviceStreams, static_cast<std::uint32_t>(1 + random() % 4));
    settings.put(setting::kDeviceAlignment, random() % 4 == 0 ? 1 : 512);
    settings.put(setting::kDeviceAllocator,
                 random() % 2 == 0 ? DeviceAllocator::malloc : DeviceAllocator::pool);
    settings.put(setting::kStagingSegmentBytes, kPageBytes << random() % 6);
    settings.put(
        setting::kStagingBytes,
        (2 + random() % 63) * (settings.get(setting::kStagingSegmentBytes) + 2 * kPageBytes));
    if (random() % 3 == 0)
      settings.put(setting::kDeviceMemoryLimit, largest_item + 1 + random() % 500'000);
    if (random() % 3 == 0) settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum, 0});
    options.order = random() % 2 == 0 ? Order::completion : Order::plan;
    options.read_order = random() % 2 == 0 ? ReadOrder::storage : ReadOrder::item;
  }

  // Where every request goes: the load's device, another one, memory of the caller there, or the
  // host's.
  void spread(CudaStandIn& cuda) {
    options.gpu = &cuda;
    options.device = {kCudaKind, 0};
    if (random() % 3 == 0) return;
    for (PlanRequest& request : requests) {
      request.device = {kCudaKind,
                        static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(devices))};
      const std::uint64_t bytes =
          requested_bytes(lab.checkpoint->tensors[request.tensor], request)->total_bytes();
      const std::uint64_t kind = random() % 6;
      if (kind == 0) {
        callers.emplace_back(cuda, request.device.number, bytes + 8);
        request.destination = callers.back().data() + random() % 8;
      } else if (kind == 1) {
        request.device = kHost;
        request.destination = host_buffers.emplace_back(bytes + 4).data();
      }
    }
  }

  // Takes everything, as a consumer with a mind of its own would.
  void run() {
    auto load = Load::start(lab.checkpoint, requests, options, settings);
    if (!load) FAIL(load.error().line());
    const std::uint64_t staging_bytes = (*load)->stats().staging_bytes;
    CHECK(staging_bytes <=
          static_cast<std::uint64_t>(devices) *
              std::max(settings.get(setting::kStagingBytes),
                       2 * (settings.get(setting::kStagingSegmentBytes) + 2 * kPageBytes)));
    take_at_random(*std::move(load), lab, requests, random, [&](const TensorLease& lease) {
      const PlanRequest& request = requests[lease.item()];
      const bool has_own = request.device != kHost || request.destination != nullptr;
      REQUIRE(lease.device() == (has_own ? request.device : options.device));
    });
    for (const CallersMemory& memory : callers)
      CHECK(memory.is_whole());
  }

  std::mt19937_64 random;
  const Lab lab;
  const int devices;
  std::vector<PlanRequest> requests;
  std::uint64_t largest_item = 1;
  std::deque<CallersMemory> callers;
  std::deque<std::vector<std::byte>> host_buffers;
  LoadSettings settings;
  LoadOptions options;
};

void check_clean(CudaStandIn& cuda) {
  drop_kept_segments();
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}

LoadSettings small_segments() {
  LoadSettings settings;
  settings.put(setting::kStagingSegmentBytes, 16 * kKiB);
  settings.put(setting::kStagingBytes, 8 * (16 * kKiB + 2 * kPageBytes));
  return settings;
}

LoadOptions to_device(CudaStandIn& cuda) {
  LoadOptions options;
  options.device = {kCudaKind, 0};
  options.gpu = &cuda;
  return options;
}

}  // namespace

TEST_CASE("every item of every load to devices is byte for byte what was stored", "[device-load]") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Trial trial(seed, 40, 300'000, 8);
    CudaStandIn cuda({.devices = trial.devices,
                      .seed = seed,
                      .longest_delay_us = static_cast<std::uint32_t>(trial.random() % 200)});
    trial.spread(cuda);
    trial.run();
    trial.callers.clear();
    check_clean(cuda);
  }
}

TEST_CASE("1,000 schedules of loads to devices, some cut off", "[schedules]") {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    CAPTURE(seed);
    Trial trial(seed * 7919, 12, 20'000, 3);
    CudaStandIn cuda({.devices = trial.devices,
                      .seed = seed,
                      .longest_delay_us = static_cast<std::uint32_t>(trial.random() % 40)});
    trial.spread(cuda);
    if (seed % 4 != 0) {
      trial.run();
    } else {
      auto load = Load::start(trial.lab.checkpoint, trial.requests, trial.options, trial.settings);
      REQUIRE(load);
      const std::uint64_t stop_after = trial.random() % 10;
      for (std::uint64_t i = 0; i < stop_after; ++i) {
        auto yielded = (*load)->next(in(30s));
        if (!yielded || yielded->outcome != Load::Outcome::tensor) break;
        yielded->lease->release();
      }
    }
    trial.callers.clear();
    check_clean(cuda);
  }
}

TEST_CASE("whatever call fails, a load ends with one clear error and leaves nothing behind",
          "[device-load]") {
  const Lab lab(equal_tensors(24, 40'000));
  for (const bool is_sticky : {false, true}) {
    std::istringstream functions(
        "cuDeviceGet cuDevicePrimaryCtxGetState cuDeviceGetPCIBusId cuDevicePrimaryCtxRetain "
        "cuCtxSetCurrent cuMemGetInfo cuMemAlloc cuMemAllocAsync cuMemFree cuMemFreeAsync "
        "cuMemHostRegister cuMemHostUnregister cuPointerGetAttribute cuStreamCreate "
        "cuStreamDestroy cuEventCreate cuEventDestroy cuMemcpyHtoDAsync cuEventRecord "
        "cuEventSynchronize cuStreamSynchronize cuStreamWaitEvent cuCtxSynchronize");
    for (std::string function; functions >> function;) {
      for (const int n : {1, 2, 7}) {
        INFO(function << " " << n << (is_sticky ? " sticky" : ""));
        CudaStandIn cuda({.longest_delay_us = 50});
        std::optional<Error> error;
        std::string notes;
        {
          std::vector<PlanRequest> requests = everything(*lab.checkpoint);
          CallersMemory caller(cuda, 0, 40'000);
          requests[5].device = {kCudaKind, 0};
          requests[5].destination = caller.data();
          LoadSettings settings = small_segments();
          const bool uses_pool = n == 2 || function.find("Async") != std::string::npos;
          if (uses_pool) settings.put(setting::kDeviceAllocator, DeviceAllocator::pool);
          cuda.fail(function, cuda.calls(function) + n, is_sticky);
          auto load = Load::start(lab.checkpoint, requests, to_device(cuda), settings);
          if (!load) {
            error = std::move(load).error();
          } else {
            for (;;) {
              auto yielded = (*load)->next(in(30s));
              if (!yielded) {
                error = std::move(yielded).error();
                break;
              }
              REQUIRE(yielded->outcome != Load::Outcome::not_ready);
              if (yielded->outcome == Load::Outcome::end) break;
              lab.check(*yielded->lease, requests);
              yielded->lease->release();
            }
            if (error) {
              // It stays the same one.
              const auto again = (*load)->next(in(1s));
              REQUIRE_FALSE(again);
              CHECK(again.error().message() == error->message());
            }
            notes = (*load)->notes();
            load->reset();
          }
          CHECK(caller.is_whole());
          cuda.fail("", 0);  // the caller's own calls succeed
        }
        if (error) {
          CHECK(error->kind() == ErrorKind::device);
          // What can be done without is not what a lost device fails by.
          const bool is_needed = function != "cuDeviceGet" && function != "cuDeviceGetPCIBusId" &&
                                 function != "cuMemHostRegister" && function != "cuMemGetInfo";
          if (is_needed) CHECK_THAT(error->message(), Catch::Contains(function));
        }
        if (function == "cuMemcpyHtoDAsync" || function == "cuEventRecord" ||
            function == "cuEventSynchronize")
          CHECK(error);
        if (function == "cuMemHostRegister" && n == 1 && !is_sticky) {
          CHECK_FALSE(error);
          CHECK_THAT(notes, Catch::Contains("not pinned"));
        }
        drop_kept_segments();
        CHECK(cuda.violations() == std::vector<std::string>());
        // What could not be given back because giving back failed.
        const bool may_stay = is_sticky || function == "cuMemFree" ||
                              function == "cuMemFreeAsync" || function == "cuMemHostUnregister" ||
                              function == "cuStreamDestroy" || function == "cuEventDestroy" ||
                              function == "cuCtxSetCurrent" || function == "cuDeviceGet" ||
                              function == "cuDevicePrimaryCtxRetain" ||
                              function == "cuDevicePrimaryCtxGetState";
        if (!may_stay) CHECK(cuda.things_alive() == 0);
      }
    }
  }
}

TEST_CASE("what a consumer that holds everything has used up is named", "[device-load]") {
  const Lab lab(equal_tensors(40, 10'000));
  CudaStandIn cuda({.devices = 1});
  std::vector<PlanRequest> requests = everything(*lab.checkpoint);
  // The first ten to the host, which has no limit of its own.
  for (std::size_t i = 10; i < requests.size(); ++i)
    requests[i].device = {kCudaKind, 0};
  LoadSettings settings = small_segments();
  settings.put(setting::kDeviceMemoryLimit, 50'000);
  LoadOptions options;
  options.gpu = &cuda;
  std::vector<TensorLease*> held;
  {
    auto load = Load::start(lab.checkpoint, requests, options, settings);
    REQUIRE(load);
    std::optional<Error> full;
    while (!full) {
      auto yielded = (*load)->next(in(30s));
      if (!yielded) {
        full = std::move(yielded).error();
      } else {
        REQUIRE(yielded->outcome == Load::Outcome::tensor);
        held.push_back(yielded->lease);
      }
    }
    CHECK(full->kind() == ErrorKind::memory_limit);
    CHECK_THAT(full->message(), Catch::StartsWith("the device_memory_limit of"));
  }
  for (TensorLease* const lease : held)
    lease->release();
  drop_kept_segments();
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("a device that is not there, and limits that are too small, are errors that say so",
          "[device-load]") {
  const Lab lab(equal_tensors(4, 10'000));
  CudaStandIn cuda({.devices = 2, .memory_bytes = 20'000});
  const auto error_of = [&](const LoadOptions& options, const LoadSettings& settings) {
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), options, settings);
    if (!load) return std::move(load).error();
    auto yielded = (*load)->next(in(30s));
    REQUIRE_FALSE(yielded);
    return std::move(yielded).error();
  };
  LoadOptions options = to_device(cuda);
  options.device = {kCudaKind, 2};
  const Error none = error_of(options, small_segments());
  CHECK(none.kind() == ErrorKind::invalid_argument);
  CHECK_THAT(none.message(), Catch::Contains("cuda:2") && Catch::Contains("2 devices"));

  const Error full = error_of(to_device(cuda), small_segments());
  CHECK(full.kind() == ErrorKind::out_of_memory);
  CHECK_THAT(full.message(), Catch::Contains("cuda:0") && Catch::Contains("20000") &&
                                 Catch::Contains("device_memory_limit"));

  LoadSettings limited = small_segments();
  limited.put(setting::kDeviceMemoryLimit, 9'999);
  const Error limit = error_of(to_device(cuda), limited);
  CHECK(limit.kind() == ErrorKind::memory_limit);
  CHECK_THAT(limit.message(), Catch::Contains("\"0.0\"") && Catch::Contains("10000") &&
                                  Catch::Contains("device_memory_limit is 9999"));
  drop_kept_segments();
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("a device's memory limit holds, and who holds all of it is told", "[device-load]") {
  const Lab lab(equal_tensors(40, 50'000));
  CudaStandIn cuda({.longest_delay_us = 100, .memory_bytes = 220'000});
  LoadSettings settings = small_segments();
  settings.put(setting::kDeviceMemoryLimit, 200'000);
  {
    auto load = start(lab, settings, to_device(cuda));
    std::vector<TensorLease*> held;
    const auto requests = everything(*lab.checkpoint);
    std::size_t yielded = 0;
    bool was_full = false;
    for (;;) {
      auto next = load->next(in(30s));
      if (!next) {
        REQUIRE(next.error().kind() == ErrorKind::memory_limit);
        REQUIRE(held.size() >= 3);
        was_full = true;
        for (TensorLease* const lease : held) {
          lab.check(*lease, requests);
          lease->release();
        }
        held.clear();
        continue;
      }
      if (next->outcome == Load::Outcome::end) break;
      REQUIRE(next->outcome == Load::Outcome::tensor);
      held.push_back(next->lease);
      ++yielded;
    }
    CHECK(was_full);
    CHECK(yielded == 40);
    CHECK(load->stats().device_bytes <= 210'000);
    for (TensorLease* const lease : held)
      lease->release();
  }
  check_clean(cuda);
}

TEST_CASE("tensors that are ordered by the consumer's stream need no wait on the host",
          "[device-load]") {
  const Lab lab(equal_tensors(60, 30'000));
  for (const std::uint64_t limit : {std::uint64_t{0}, std::uint64_t{100'000}}) {
    CAPTURE(limit);
    CudaStandIn cuda({.longest_delay_us = 300});
    REQUIRE(cuda.use_device(0));
    const GpuStream consumer = *cuda.create_stream();
    std::vector<std::vector<std::byte>> seen(60, std::vector<std::byte>(30'000));
    {
      LoadSettings settings = small_segments();
      settings.put(setting::kDeviceMemoryLimit, limit);
      settings.put(setting::kDeviceStreams, 3);
      LoadOptions options = to_device(cuda);
      options.consumer_stream = consumer;
      auto load = start(lab, settings, options);
      while (TensorLease* const lease = next(*load)) {
        // The consumer's kernel reads it some time, while the tensor is released at once.
        cuda.enqueue(consumer, [&seen, from = lease->data(), item = lease->item()] {
          std::memcpy(seen[item].data(), from, 30'000);
        });
        lease->release();
      }
      REQUIRE(cuda.synchronize(consumer));
    }
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const bool is_same =
          std::memcmp(seen[i].data(), lab.files[0].bytes.data() + i * 30'000, 30'000) == 0;
      CHECK(is_same);
    }
    REQUIRE(cuda.destroy_stream(consumer));
    check_clean(cuda);
  }
}

TEST_CASE("many small tensors are few copies", "[device-load]") {
  // Odd sizes, so that none lies on the device as it does in the file.
  RawFile file;
  std::uint64_t offset = 0;
  for (std::uint64_t t = 0; t < 3000; ++t) {
    const std::uint64_t bytes = 1 + t * 37 % 3000;
    file.tensors.push_back({Dtype::u8, {bytes}, offset});
    offset += bytes;
  }
  file.bytes = random_bytes(offset, 5);
  const Lab lab({file});
  for (const FileIo way : {FileIo::buffered, FileIo::direct}) {
    CudaStandIn cuda({.longest_delay_us = 20});
    {
      LoadSettings settings;
      settings.put(setting::kFileIo, way);
      settings.put(setting::kStagingSegmentBytes, 256 * kKiB);
      auto load = start(lab, settings, to_device(cuda));
      CHECK(drain(*load, lab) == 3000);
      const LoadStats stats = load->stats();
      const std::uint64_t segments = stats.bytes_to_devices / (256 * kKiB);
      const std::uint64_t chunks = stats.chunks;
      CHECK(static_cast<std::uint64_t>(cuda.calls("cuMemcpyHtoDAsync")) <= segments + 2 * chunks);
      CHECK(stats.bytes_to_devices < offset + 3000 * 512);
    }
    check_clean(cuda);
  }
}

TEST_CASE("reading and copying overlap", "[device-load]") {
  constexpr std::uint64_t kBytes = 12 * kMiB;
  constexpr double kRate = 40e6;
  const Lab lab(equal_tensors(12, kBytes / 12));
  CudaStandIn cuda({.longest_delay_us = 0, .copy_seconds_per_byte = 1 / kRate});
  {
    // Reads that are held back, copies that are slow, and both: the best of three each, in turn,
    // because both sides sleep, and a busy machine wakes them late.
    const auto seconds = [&](bool is_held_back, const LoadOptions& options) {
      LoadSettings settings;
      if (is_held_back) settings.put(setting::kMaxBandwidth, static_cast<std::uint64_t>(kRate));
      settings.put(setting::kStagingSegmentBytes, 256 * kKiB);
      const auto began = std::chrono::steady_clock::now();
      auto load = start(lab, settings, options);
      CHECK(drain(*load, lab) == 12);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    };
    double reading = 1e9;
    double copying = 1e9;
    double both = 1e9;
    for (int round = 0; round < 3; ++round) {
      reading = std::min(reading, seconds(true, {}));
      copying = std::min(copying, seconds(false, to_device(cuda)));
      both = std::min(both, seconds(true, to_device(cuda)));
    }
    std::printf("reading %.3f s, copying %.3f s, at once %.3f s\n", reading, copying, both);
    // One after the other they would take as long as both. Beside other tests this is no
    // measurement: RESULTS.md has one.
    if (!kIsSanitized) CHECK(both < 0.8 * (reading + copying));
  }
  check_clean(cuda);
}

TEST_CASE("a full ring stops readers, who neither drop nor spin", "[device-load]") {
  const Lab lab(equal_tensors(16, kMiB));
  CudaStandIn cuda({.longest_delay_us = 0, .copy_seconds_per_byte = 1 / 30e6});
  {
    LoadSettings settings = small_segments();
    settings.put(setting::kStagingBytes, 0);  // two
    auto load = start(lab, settings, to_device(cuda));
    CHECK(drain(*load, lab) == 16);
    const LoadStats stats = load->stats();
    CHECK(stats.staging_bytes == 2 * (16 * kKiB + 2 * kPageBytes));
    CHECK(judge(stats) == HeldBackBy::device_copy);
    // A reader that spins uses its time; one that sleeps does not, however slow the machine is.
    CHECK(stats.reader_cpu_ns < stats.elapsed_ns / 2);
  }
  check_clean(cuda);
}

TEST_CASE("the caller's device stays what it was, and segments are pinned once for many loads",
          "[device-load]") {
  const Lab lab(equal_tensors(4, 100'000));
  CudaStandIn cuda({.devices = 3});
  REQUIRE(cuda.use_device(2));
  int pinned = 0;
  for (int round = 0; round < 3; ++round) {
    LoadOptions options = to_device(cuda);
    options.device = {kCudaKind, 1};
    auto load = start(lab, small_segments(), options);
    CHECK(drain(*load, lab) == 4);
    load.reset();
    CHECK(cuda.current_device() == 2);
    if (round == 0) pinned = cuda.calls("cuMemHostRegister");
  }
  CHECK(pinned > 0);
  CHECK(cuda.calls("cuMemHostRegister") == pinned);
  CHECK(kept_segments_bytes() == small_segments().get(setting::kStagingBytes));
  drop_kept_segments();
  // Not even for a moment: it would give a context to the device that is the thread's own.
  CHECK(cuda.contexts_set_here() == 1);
  REQUIRE(cuda.use_device(0));
  check_clean(cuda);
}

TEST_CASE("uncached chunks go past the host where GPUDirect Storage takes them", "[device-load]") {
  const Lab lab(equal_tensors(16, 300'000));
  if (!UniqueFd(::open(lab.path(0).c_str(), O_RDONLY | O_DIRECT)))
    return skip("the file system of the temporary folder does not have O_DIRECT");
  const char* const library = std::getenv("FAKE_CUFILE");
  REQUIRE(library != nullptr);
  CudaStandIn cuda({});
  LoadSettings settings;
  settings.put(setting::kGpudirect, library);
  settings.put(setting::kStagingBytes, 8 * kMiB);
  const auto run = [&](const char* fails) {
    ::setenv("FAKE_CUFILE_FAILS", fails, 1);
    make_cold(lab.path(0));
    auto load = start(lab, settings, to_device(cuda));
    CHECK(drain(*load, lab) == 16);
    return std::pair(load->stats(), load->notes());
  };
  const auto [whole, no_notes] = run("");
  CHECK(whole.bytes_past_host == 16 * 300'000);
  CHECK(whole.bytes_to_devices == 0);
  CHECK(no_notes.empty());

  const auto [partly, read_notes] = run("read");
  CHECK(partly.bytes_past_host < 16 * 300'000);
  CHECK(partly.bytes_to_devices >= 16 * 300'000 - partly.bytes_past_host);
  CHECK_THAT(read_notes, Catch::Contains("could not read") && Catch::Contains("5030"));

  const auto [not_at_all, open_notes] = run("register");
  CHECK(not_at_all.bytes_past_host == 0);
  CHECK_THAT(open_notes, Catch::Contains("does not take") && Catch::Contains("5011"));

  // What is in the page cache is copied from there.
  const auto [cached, none] = [&] {
    ::setenv("FAKE_CUFILE_FAILS", "", 1);
    LoadSettings buffered;
    buffered.put(setting::kFileIo, FileIo::buffered);
    auto load = start(lab, buffered);
    CHECK(drain(*load, lab) == 16);
    load = start(lab, settings, to_device(cuda));
    CHECK(drain(*load, lab) == 16);
    return std::pair(load->stats(), load->notes());
  }();
  CHECK(cached.bytes_past_host == 0);
  ::unsetenv("FAKE_CUFILE_FAILS");

  settings.put(setting::kGpudirect, "/nowhere/libcufile.so.0");
  const auto load =
      Load::start(lab.checkpoint, everything(*lab.checkpoint), to_device(cuda), settings);
  REQUIRE_FALSE(load);
  CHECK(load.error().kind() == ErrorKind::device);
  CHECK_THAT(load.error().message(), Catch::Contains("/nowhere/libcufile.so.0"));
  check_clean(cuda);
}
