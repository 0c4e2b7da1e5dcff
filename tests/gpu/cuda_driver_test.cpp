// SPDX-License-Identifier: Apache-2.0
// The driver and its runtime over the stand-in for libcuda.so.1: what is said where there is none
// to be had, versions, contexts.
#include "gpu/cuda_driver_runtime.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "gpu/device_memory.hpp"
#include "support/catch.hpp"
#include "support/cuda_stand_in.hpp"

using namespace streamer::core;
using namespace streamer::test;
using Catch::Contains;

namespace {

// A variable of the environment, as long as the test runs.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    if (value == nullptr) {
      ::unsetenv(name);
    } else {
      ::setenv(name, value, 1);
    }
  }
  ~Variable() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

std::string refusal_of(const std::string& library) {
  const auto driver = load_cuda_driver(library);
  REQUIRE_FALSE(driver);
  CHECK(driver.error().kind() == ErrorKind::device);
  return driver.error().message();
}

std::string refusal(const StandInOptions& options) {
  return refusal_of(LoadedStandIn(options).path());
}

void copy_there_and_back(CudaStandIn& cuda) {
  REQUIRE(cuda.use_device(0));
  const GpuStream stream = *cuda.create_stream();
  std::vector<std::byte> from(3 * 1000);
  for (std::size_t i = 0; i < from.size(); ++i)
    from[i] = static_cast<std::byte>(i * 7);
  std::vector<std::byte> to(from.size());
  auto* const first = static_cast<std::byte*>(*cuda.allocate(from.size()));
  auto* const second = static_cast<std::byte*>(*cuda.allocate(from.size()));
  REQUIRE(cuda.copy_to_device(first, from.data(), from.size(), stream));
  REQUIRE(cuda.copy_on_device(second, 1000, first, 1000, 700, 3, stream));
  REQUIRE(cuda.copy_on_device(second + 700, UINT64_MAX, first + 700, UINT64_MAX, 300, 1, stream));
  REQUIRE(cuda.copy_on_device(second + 1700, 1000, first + 1700, 1000, 300, 2, stream));
  REQUIRE(cuda.copy_to_host(to.data(), second, to.size(), stream));
  REQUIRE(cuda.synchronize(stream));
  CHECK(to == from);
  CHECK(*cuda.device_of(first) == 0);
  CHECK(*cuda.device_of(first + from.size() - 1) == 0);
  CHECK_FALSE(*cuda.device_of(from.data()));
  REQUIRE(cuda.free(first));
  REQUIRE(cuda.free(second));
  REQUIRE(cuda.destroy_stream(stream));
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}

}  // namespace

TEST_CASE("whatever a driver lacks has an error of its own, which says what to do",
          "[cuda-driver]") {
  const Variable visible("CUDA_VISIBLE_DEVICES", nullptr);
  CHECK_THAT(refusal_of("/nowhere/libcuda.so.1"), Contains("this machine has no NVIDIA driver") &&
                                                      Contains("/nowhere/libcuda.so.1") &&
                                                      Contains("--gpus all"));
  CHECK_THAT(refusal_of("libm.so.6"), Contains("libm.so.6") && Contains("version"));
  CHECK_THAT(refusal({.version = 11020}),
             Contains("too old") && Contains("11.2") && Contains("needs 11.4, driver 470"));
  CHECK_THAT(refusal({.devices = 0}), Contains("there is no GPU") && Contains("nvidia-smi -L"));
  CHECK_THAT(refusal({.init_status = 34}), Contains("stub") && Contains("LD_LIBRARY_PATH"));
  CHECK_THAT(refusal({.init_status = 802}), Contains("nvidia-fabricmanager"));
  CHECK_THAT(refusal({.init_status = 803}), Contains("kernel module") && Contains("restart"));
  CHECK_THAT(refusal({.init_status = 804}), Contains("cuda-compat"));
  CHECK_THAT(refusal({.init_status = 46}),
             Contains("does not start: cuInit: ") && Contains("(code 46)"));
}

TEST_CASE("a device that CUDA_VISIBLE_DEVICES hides is told by that name", "[cuda-driver]") {
  for (const char* const value : {"", "-1", "7"}) {
    const Variable visible("CUDA_VISIBLE_DEVICES", value);
    CHECK_THAT(refusal({.devices = 0}),
               Contains("CUDA_VISIBLE_DEVICES=\"" + std::string(value) + "\" hides every GPU"));
  }
}

TEST_CASE("the oldest driver and newer ones give the functions that were declared",
          "[cuda-driver]") {
  for (const int version : {11040, 12000, 12040, 13000, 14020}) {
    CAPTURE(version);
    CudaStandIn cuda({.version = version});
    copy_there_and_back(cuda);
    CHECK(*cuda.version() == "driver of CUDA " + cuda_version_text(version));
  }
}

TEST_CASE("a device's facts need no context", "[cuda-driver]") {
  CudaStandIn cuda({.devices = 2, .memory_bytes = 5000, .has_pools = false});
  const auto facts = cuda.facts(1);
  REQUIRE(facts);
  CHECK(facts->name == "Stand-in 1");
  CHECK(facts->pci_address == "0000:1A:00.0");
  CHECK(facts->compute == "9.0");
  CHECK(facts->memory_bytes == 5000);
  CHECK_FALSE(facts->has_pools);
  CHECK(cuda.contexts_set_here() == 0);
  CHECK_FALSE(cuda.facts(2));
}

TEST_CASE("memory pools that a device does not have are an error that names the other way",
          "[cuda-driver]") {
  CudaStandIn cuda({.has_pools = false});
  DeviceMemory memory(cuda, 0, 1000, DeviceAllocator::pool);
  const auto outcome = memory.allocate();
  REQUIRE_FALSE(outcome);
  CHECK_THAT(outcome.error().message(),
             Contains("no memory pools") && Contains("debug.device_allocator"));
}

TEST_CASE("a context that broke is told apart from a call that failed", "[cuda-driver]") {
  const auto message = [](int status) {
    CudaStandIn cuda({});
    REQUIRE(cuda.use_device(0));
    cuda.fail("cuMemAlloc", 1, false, status);
    const auto outcome = cuda.allocate(10);
    REQUIRE_FALSE(outcome);
    return outcome.error().message();
  };
  for (const int sticky : {214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 999}) {
    CAPTURE(sticky);
    CHECK_THAT(message(sticky), Contains("cuMemAlloc: ") && Contains("must be restarted"));
  }
  CHECK_THAT(message(700), Contains("(CUDA_ERROR_ILLEGAL_ADDRESS)"));
  CHECK_THAT(message(1), Contains("CUDA_ERROR_INVALID_VALUE") && !Contains("restarted"));
  CHECK_THAT(message(2), Contains("out of memory") && !Contains("restarted"));
}

TEST_CASE("a context that somebody else destroyed is named, and the next load has a new one",
          "[cuda-driver]") {
  CudaStandIn cuda({});
  REQUIRE(cuda.use_device(0));
  cuda.reset_device(0);
  const auto outcome = cuda.create_stream();
  REQUIRE_FALSE(outcome);
  CHECK_THAT(outcome.error().message(), Contains("cudaDeviceReset") &&
                                            Contains("start the load again") &&
                                            !Contains("restarted"));
  copy_there_and_back(cuda);
}

TEST_CASE("a process that was forked after CUDA had started is told so", "[cuda-driver]") {
  CudaStandIn cuda({});
  REQUIRE(cuda.device_count());
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto count = cuda.device_count();
    const auto use = cuda.use_device(0);
    const std::string said =
        count || use ? "" : count.error().message() + "\n" + use.error().message();
    const bool is_written = ::write(ends[1], said.data(), said.size()) >= 0;
    ::_exit(is_written ? 0 : 1);
  }
  ::close(ends[1]);
  std::vector<char> said(4096);
  const ssize_t got = ::read(ends[0], said.data(), said.size());
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(got > 0);
  CHECK_THAT(std::string(said.data(), static_cast<std::size_t>(got)),
             Contains("forked after CUDA had been started") && Contains("spawn"));
}
