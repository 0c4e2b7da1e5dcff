// SPDX-License-Identifier: Apache-2.0
#pragma once
// A GPU runtime for tests: that of the CUDA driver, over the stand-in for libcuda.so.1
// (stand_in/cuda_driver.cpp), which is loaded as the real one is. Device memory is the host's.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "gpu/cuda_driver_runtime.hpp"
#include "stand_in/cuda_driver.hpp"
#include "support/stand_in_path.hpp"

namespace streamer::test {

// One loaded stand-in. Those that live at the same time are copies of the file, each with a state
// of its own; they stay loaded and are used again.
class LoadedStandIn {
 public:
  explicit LoadedStandIn(const StandInOptions& options) : loaded_(take()) {
    loaded_.steering->begin(options);
  }
  ~LoadedStandIn() {
    // Ends its threads.
    loaded_.steering->begin({});
    const std::lock_guard lock(all().mutex);
    all().free.push_back(loaded_);
  }
  LoadedStandIn(const LoadedStandIn&) = delete;
  LoadedStandIn& operator=(const LoadedStandIn&) = delete;

  [[nodiscard]] const std::string& path() const { return loaded_.path; }
  [[nodiscard]] StandInDriver& steering() const { return *loaded_.steering; }

 private:
  struct Loaded {
    std::string path;
    StandInDriver* steering = nullptr;
  };
  struct All {
    std::mutex mutex;
    std::vector<Loaded> free;
  };
  static All& all() {
    static auto* const made = new All;
    return *made;
  }
  static Loaded take() {
    const std::lock_guard lock(all().mutex);
    if (all().free.empty()) return load();
    Loaded taken = std::move(all().free.back());
    all().free.pop_back();
    return taken;
  }
  // The file has no name, and stays open: the loader tells libraries apart by path and inode.
  static Loaded load() {
    const int from = ::open(stand_in_cuda_path(), O_RDONLY | O_CLOEXEC);
    const int copy = ::memfd_create("libcuda", MFD_CLOEXEC);
    for (ssize_t sent = 1; sent > 0;)
      sent = ::sendfile(copy, from, nullptr, std::size_t{1} << 30);
    ::close(from);
    Loaded loaded{"/proc/self/fd/" + std::to_string(copy), nullptr};
    void* const library = ::dlopen(loaded.path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const function = library == nullptr ? nullptr : ::dlsym(library, "stand_in_driver");
    if (function == nullptr) {
      std::fprintf(stderr, "%s cannot be loaded: %s\n", stand_in_cuda_path(), ::dlerror());
      std::abort();
    }
    loaded.steering = reinterpret_cast<StandInDriverFunction>(function)();
    return loaded;
  }

  const Loaded loaded_;
};

class CudaStandIn final : public core::CudaDriverRuntime {
 public:
  struct Options {
    int devices = 1;
    std::uint64_t seed = 1;
    std::uint32_t longest_delay_us = 200;
    double copy_seconds_per_byte = 0;
    std::uint64_t memory_bytes = UINT64_MAX;
    int version = 12040;
    bool has_pools = true;
    std::string_view kind = "cuda";
  };
  explicit CudaStandIn(const Options& options)
      : CudaStandIn(std::make_unique<LoadedStandIn>(StandInOptions{
                        .devices = options.devices,
                        .seed = options.seed,
                        .longest_delay_us = options.longest_delay_us,
                        .copy_seconds_per_byte = options.copy_seconds_per_byte,
                        .memory_bytes = options.memory_bytes,
                        .version = options.version,
                        .has_pools = options.has_pools,
                    }),
                    options) {}

  // See StandInDriver.
  void fail(const std::string& function, int n, bool is_sticky = false, int status = 0) {
    steering().fail(function, n, is_sticky, status);
  }
  int calls(const std::string& function) { return steering().calls(function); }
  int contexts_set_here() { return steering().contexts_set_here(); }
  int current_device() { return steering().current_device(); }
  void set_current_device(int device) { steering().set_current_device(device); }
  std::vector<std::string> violations() { return steering().violations(); }
  std::size_t things_alive() { return steering().things_alive(); }
  void enqueue(core::GpuStream stream, std::function<void()> what) {
    steering().enqueue(stream, std::move(what));
  }
  void reset_device(int device) { steering().reset_device(device); }

  [[nodiscard]] std::string_view kind_name() const noexcept override { return kind_; }

 private:
  CudaStandIn(std::unique_ptr<LoadedStandIn> loaded, const Options& options)
      : CudaDriverRuntime(*core::load_cuda_driver(loaded->path()), options.devices),
        loaded_(std::move(loaded)),
        kind_(options.kind) {}
  [[nodiscard]] StandInDriver& steering() const { return loaded_->steering(); }

  const std::unique_ptr<LoadedStandIn> loaded_;
  const std::string_view kind_;
};

// For what a test does with a device itself: puts the thread's context back as it was.
class UseDevice {
 public:
  UseDevice(CudaStandIn& cuda, int device) : cuda_(cuda), before_(cuda.current_device()) {
    cuda_.set_current_device(device);
  }
  ~UseDevice() { cuda_.set_current_device(before_); }
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  CudaStandIn& cuda_;
  const int before_;
};

}  // namespace streamer::test
