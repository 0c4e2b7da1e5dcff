// SPDX-License-Identifier: Apache-2.0
// Loads through the runtime and the driver that a program has: the machine's own, or the stand-in's
// if LD_LIBRARY_PATH leads to it.
#include <dlfcn.h>

#include <cstring>
#include <thread>
#include <vector>

#include "gpu/copy_rate.hpp"
#include "gpu/gpu_kinds.hpp"
#include "gpu/kept_segments.hpp"
#include "support/lab.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// Calls of the driver that a program with a context of its own makes.
class Contexts {
 public:
  Contexts()
      : create_(find<int(void**, unsigned, int)>("cuCtxCreate_v2")),
        destroy_(find<int(void*)>("cuCtxDestroy_v2")),
        current_(find<int(void**)>("cuCtxGetCurrent")) {}

  void* make(int device) {
    void* context = nullptr;
    REQUIRE(create_(&context, 0, device) == 0);
    return context;
  }
  void end(void* context) { REQUIRE(destroy_(context) == 0); }
  void* current() {
    void* context = nullptr;
    REQUIRE(current_(&context) == 0);
    return context;
  }

 private:
  template <typename Function>
  Function* find(const char* name) {
    auto* const found = reinterpret_cast<Function*>(::dlsym(library_, name));
    REQUIRE(found != nullptr);
    return found;
  }
  void* const library_ = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  int (*create_)(void**, unsigned, int);
  int (*destroy_)(void*);
  int (*current_)(void**);
};

// On a thread that has the device, so that this one's context stays what it is.
void on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) {
  Result<void> used;
  std::thread([&] {
    used = runtime.use_device(device);
    if (used) body();
  }).join();
  REQUIRE(used);
}

void compare(GpuRuntime& runtime, const TensorLease& lease, const std::byte* expected,
             GpuStream stream) {
  if (lease.bytes() == 0) return;
  std::vector<std::byte> bytes(lease.bytes());
  Result<void> copied;
  on_device(runtime, lease.device().number, [&] {
    copied = runtime.copy_to_host(bytes.data(), lease.data(), bytes.size(), stream);
    if (copied) copied = runtime.synchronize(stream);
  });
  REQUIRE(copied);
  REQUIRE(std::memcmp(bytes.data(), expected, bytes.size()) == 0);
}

}  // namespace

TEST_CASE("a machine without a device is told what it lacks", "[cuda]") {
  const auto runtime = runtime_of({kCudaKind, 0});
  if (runtime) return skip("this machine has a device");
  CHECK(runtime.error().kind() == ErrorKind::device);
  INFO(runtime.error().message());
  bool is_clear = false;
  for (const char* const reason :
       {"no NVIDIA driver", "too old", "there is no GPU", "hides every GPU", "does not start"})
    is_clear = is_clear || runtime.error().message().find(reason) != std::string::npos;
  CHECK(is_clear);
}

TEST_CASE("loads to every device bring every byte, and the thread's context stays", "[cuda]") {
  const auto found = runtime_of({kCudaKind, 0});
  if (!found) return skip(found.error().message());
  GpuRuntime& runtime = **found;
  const int devices = *runtime.device_count();
  Contexts contexts;
  CHECK(contexts.current() == nullptr);
  std::vector<GpuStream> streams(static_cast<std::size_t>(devices));
  for (int device = 0; device < devices; ++device) {
    on_device(runtime, device,
              [&] { streams[static_cast<std::size_t>(device)] = *runtime.create_stream(); });
  }
  CHECK(contexts.current() == nullptr);
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Lab lab(random_files(seed, 2, 40, 2'000'000));
    if (seed % 2 == 0) make_cold(lab.path(0));
    LoadSettings settings;
    const int device = static_cast<int>(seed % static_cast<std::uint64_t>(devices));
    const bool has_pools = runtime.facts(device)->has_pools;
    settings.put(setting::kDeviceAllocator,
                 seed % 3 == 0 && has_pools ? DeviceAllocator::pool : DeviceAllocator::malloc);
    settings.put(setting::kDeviceStreams, static_cast<std::uint32_t>(1 + random() % 4));
    settings.put(setting::kStagingBytes, 4 * kMiB << random() % 5);
    if (seed % 4 == 0) settings.put(setting::kDeviceMemoryLimit, 8 * kMiB);
    LoadOptions options;
    options.device = {kCudaKind, device};
    const GpuStream stream = streams[static_cast<std::size_t>(device)];
    if (seed % 4 < 2) options.consumer_stream = stream;
    // None, a context of the program's own, or one of another device.
    void* const own =
        seed % 3 == 0
            ? nullptr
            : contexts.make(static_cast<int>(seed / 3 % static_cast<std::uint64_t>(devices)));
    auto load = start(lab, settings, options);
    std::uint32_t yielded = 0;
    while (TensorLease* const lease = next(*load)) {
      const RawFile& file = lab.files[lease->tensor().object];
      compare(runtime, *lease, file.bytes.data() + lease->tensor().bytes.offset, stream);
      lease->release();
      ++yielded;
    }
    CHECK(yielded == 80);
    CHECK(load->notes().empty());
    load.reset();
    CHECK(contexts.current() == own);
    if (own != nullptr) contexts.end(own);
  }
  for (int device = 0; device < devices; ++device) {
    on_device(runtime, device,
              [&] { REQUIRE(runtime.destroy_stream(streams[static_cast<std::size_t>(device)])); });
  }
  const auto rate = measure_copy_rate(runtime, devices - 1);
  REQUIRE(rate);
  CHECK(*rate > 0);
  drop_kept_segments();
}

TEST_CASE("a destination on another device than the load was told is refused", "[cuda]") {
  const auto found = runtime_of({kCudaKind, 0});
  if (!found) return skip(found.error().message());
  GpuRuntime& runtime = **found;
  if (*runtime.device_count() < 2) return skip("this machine has one device");
  const Lab lab(equal_tensors(2, 1'000'000));
  void* memory = nullptr;
  on_device(runtime, 1, [&] { memory = *runtime.allocate(1'000'000); });
  {
    std::vector<PlanRequest> requests = everything(*lab.checkpoint);
    requests[1].device = {kCudaKind, 0};
    requests[1].destination = static_cast<std::byte*>(memory);
    LoadOptions options;
    options.device = {kCudaKind, 0};
    auto load = Load::start(lab.checkpoint, requests, options, LoadSettings());
    REQUIRE(load);
    std::optional<Error> error;
    while (!error) {
      auto yielded = (*load)->next(in(std::chrono::seconds(60)));
      if (!yielded) {
        error = std::move(yielded).error();
      } else {
        REQUIRE(yielded->outcome == Load::Outcome::tensor);
        yielded->lease->release();
      }
    }
    CHECK(error->kind() == ErrorKind::invalid_argument);
    CHECK_THAT(error->message(),
               Catch::Contains("is memory of cuda:1") && Catch::Contains("memory of cuda:0"));
  }
  drop_kept_segments();
  on_device(runtime, 1, [&] { REQUIRE(runtime.free(memory)); });
}
