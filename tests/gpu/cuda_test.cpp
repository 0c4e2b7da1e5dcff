// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime itself: what is said where it is not to be had, and loads where it is.
#include "gpu/gpu_kinds.hpp"

#include <cstring>
#include <vector>

#include "gpu/copy_rate.hpp"
#include "gpu/kept_segments.hpp"
#include "support/lab.hpp"

#if STREAMER_TEST_CUDA
#include <cuda_runtime_api.h>
#endif

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("a machine without a device is told what it lacks", "[cuda]") {
  const auto runtime = runtime_of({kCudaKind, 0});
  if (runtime) return skip("this machine has a device");
  CHECK(runtime.error().kind() == ErrorKind::device);
  INFO(runtime.error().message());
  bool is_clear = false;
  for (const char* const reason :
       {"built without CUDA", "no NVIDIA driver", "too old", "no GPU", "does not start"})
    is_clear = is_clear || runtime.error().message().find(reason) != std::string::npos;
  CHECK(is_clear);
}

#if STREAMER_TEST_CUDA

namespace {

std::vector<std::byte> bytes_at(const TensorLease& lease, cudaStream_t stream) {
  std::vector<std::byte> bytes(lease.bytes());
  REQUIRE(cudaSetDevice(lease.device().number) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(bytes.data(), lease.data(), bytes.size(), cudaMemcpyDeviceToHost,
                          stream) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  return bytes;
}

}  // namespace

TEST_CASE("loads to a real device bring every byte", "[cuda]") {
  const auto runtime = runtime_of({kCudaKind, 0});
  if (!runtime) return skip(runtime.error().message());
  const int last = *(*runtime)->device_count() - 1;
  REQUIRE(cudaSetDevice(last) == cudaSuccess);
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Lab lab(random_files(seed, 2, 60, 3'000'000));
    if (seed % 2 == 0) make_cold(lab.path(0));
    LoadSettings settings;
    settings.put(setting::kDeviceAllocator,
                 seed % 3 == 0 ? DeviceAllocator::pool : DeviceAllocator::malloc);
    settings.put(setting::kDeviceStreams, static_cast<std::uint32_t>(1 + random() % 4));
    settings.put(setting::kStagingBytes, 4 * kMiB << random() % 5);
    const bool is_limited = seed % 4 == 0;
    if (is_limited) settings.put(setting::kDeviceMemoryLimit, 8 * kMiB);
    LoadOptions options;
    options.device = {kCudaKind, last};
    if (seed % 4 < 2) options.consumer_stream = stream;
    REQUIRE(cudaSetDevice(0) == cudaSuccess);
    auto load = start(lab, settings, options);
    int now = -1;
    REQUIRE(cudaGetDevice(&now) == cudaSuccess);
    CHECK(now == 0);
    CHECK(cudaPeekAtLastError() == cudaSuccess);
    std::uint32_t yielded = 0;
    while (TensorLease* const lease = next(*load)) {
      const RawFile& file = lab.files[lease->tensor().object];
      const std::byte* const expected = file.bytes.data() + lease->tensor().bytes.offset;
      const auto found = lease->bytes() == 0 ? std::vector<std::byte>() : bytes_at(*lease, stream);
      REQUIRE((found.empty() || std::memcmp(found.data(), expected, found.size()) == 0));
      lease->release();
      ++yielded;
    }
    CHECK(yielded == 120);
    CHECK(load->notes().empty());
  }
  REQUIRE(cudaSetDevice(last) == cudaSuccess);
  REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
  const auto rate = measure_copy_rate(**runtime, last);
  REQUIRE(rate);
  CHECK(*rate > 1e8);
  drop_kept_segments();
}

#endif
