// SPDX-License-Identifier: Apache-2.0
// Loads from device to device through NCCL, on stand-ins for NCCL and for the CUDA runtime.
#include <dlfcn.h>

#include <cstdlib>
#include <optional>

#include "distributed/agreement.hpp"
#include "distributed/distributed_load.hpp"
#include "distributed/nccl_communicator.hpp"
#include "gpu/kept_segments.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/fake_nccl.hpp"
#include "support/lab.hpp"
#include "support/ranks.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

// The stand-in's own functions.
class FakeNccl {
 public:
  FakeNccl() : path(std::getenv("FAKE_NCCL")), library_(::dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE(library_ != nullptr);
    find<void(FakeNcclEnqueue)>("fake_nccl_use")(
        [](void* stream, void (*work)(void*), void* argument) {
          cuda->enqueue(stream, [work, argument] { work(argument); });
        });
    fail("", 0);
  }
  ~FakeNccl() { cuda = nullptr; }

  void fail(const char* function, int n) {
    find<void(const char*, int)>("fake_nccl_fail")(function, n);
  }
  int alive() { return find<int()>("fake_nccl_alive")(); }

  const char* const path;
  static inline CudaStandIn* cuda = nullptr;  // whose streams are used

 private:
  template <typename Function>
  Function* find(const char* name) {
    return reinterpret_cast<Function*>(::dlsym(library_, name));
  }
  void* const library_;
};

struct Outcome {
  std::optional<Error> error;
  std::uint32_t items = 0;
  bool is_right = true;
};

// One rank's load of everything to its device.
Outcome load(const Lab& lab, Communicator& base, CudaStandIn& cuda, const std::string& library,
             std::chrono::milliseconds timeout) {
  Outcome outcome;
  const Device device{kCudaKind, static_cast<std::int32_t>(base.rank())};
  auto opened = open_nccl(base, cuda, device.number, library, timeout);
  if (!opened) {
    outcome.error = std::move(opened).error();
    return outcome;
  }
  LoadSettings settings;
  settings.put(setting::kStagingSegmentBytes, 64 * kKiB);
  settings.put(setting::kStagingBytes, 256 * kKiB);
  LoadOptions options;
  options.device = device;
  options.gpu = &cuda;
  DistributedSettings distributed;
  distributed.put(setting::kDistributedBufferBytes, kMiB)
      .put(setting::kDistributedTimeoutS, timeout);
  auto started = start_distributed(**opened, lab.checkpoint, everything(*lab.checkpoint), options,
                                   settings, distributed);
  if (!started) {
    outcome.error = std::move(started).error();
    return outcome;
  }
  for (;;) {
    auto next = (*started)->next(in(60s));
    if (!next) {
      outcome.error = std::move(next).error();
      return outcome;
    }
    if (next->outcome != Load::Outcome::tensor) return outcome;
    const TensorLease& lease = *next->lease;
    const RawFile& file = lab.files[lease.tensor().object];
    outcome.is_right = outcome.is_right && lease.device() == device &&
                       std::memcmp(lease.data(), file.bytes.data() + lease.tensor().bytes.offset,
                                   lease.bytes()) == 0;
    ++outcome.items;
    next->lease->release();
  }
}

std::vector<Outcome> load_all(const Lab& lab, RankWorld& world, CudaStandIn& cuda,
                              const std::string& library, std::chrono::milliseconds timeout = 30s) {
  std::vector<Outcome> outcomes(world.size());
  on_ranks(world.size(), [&](std::uint32_t rank) {
    outcomes[rank] = load(lab, world.of(rank), cuda, library, timeout);
  });
  drop_kept_segments();
  return outcomes;
}

}  // namespace

TEST_CASE("ranks pass on through NCCL what each of them read", "[nccl]") {
  FakeNccl nccl;
  const Lab lab(equal_tensors(50, 100'003));
  for (const std::uint32_t ranks : {2U, 4U, 8U}) {
    CAPTURE(ranks);
    CudaStandIn cuda({.devices = static_cast<int>(ranks), .longest_delay_us = 50});
    FakeNccl::cuda = &cuda;
    RankWorld world(ranks);
    for (const Outcome& outcome : load_all(lab, world, cuda, nccl.path)) {
      if (outcome.error) FAIL(outcome.error->line());
      CHECK(outcome.items == 50);
      CHECK(outcome.is_right);
    }
    CHECK(cuda.violations().empty());
    CHECK(cuda.things_alive() == 0);
    CHECK(nccl.alive() == 0);
  }
}

TEST_CASE("whatever call of NCCL fails, every rank has an error soon", "[nccl]") {
  FakeNccl nccl;
  const Lab lab(equal_tensors(50, 100'003));
  for (const std::string function :
       {"ncclGetUniqueId", "ncclCommInitRank", "ncclGroupStart", "ncclSend", "ncclRecv",
        "ncclGroupEnd", "ncclCommGetAsyncError"}) {
    for (const int n : {1, 3}) {
      if (n == 3 && function == "ncclGetUniqueId") continue;
      INFO(function << " " << n);
      CudaStandIn cuda({.devices = 3, .longest_delay_us = 50});
      FakeNccl::cuda = &cuda;
      RankWorld world(3);
      nccl.fail(function.c_str(), n);
      const auto outcomes = load_all(lab, world, cuda, nccl.path, 1s);
      nccl.fail("", 0);
      int named = 0;
      for (const Outcome& outcome : outcomes) {
        REQUIRE(outcome.error);
        named += outcome.error->message().find(function) != std::string::npos ? 1 : 0;
      }
      CHECK(named >= 1);
    }
  }
}

TEST_CASE("without NCCL, or with too old a one, it says so on every rank", "[nccl]") {
  const Lab lab(equal_tensors(4, 1000));
  CudaStandIn cuda({.devices = 2});
  for (const std::string library : {"/nonexistent/libnccl.so.2", "libm.so.6"}) {
    RankWorld world(2);
    for (const Outcome& outcome : load_all(lab, world, cuda, library)) {
      REQUIRE(outcome.error);
      CHECK(outcome.error->kind() == ErrorKind::unsupported);
      CHECK_THAT(outcome.error->message(), Catch::Contains("NCCL"));
    }
    CHECK(cuda.things_alive() == 0);
  }
}
