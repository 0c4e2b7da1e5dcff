// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass that brings a plan's items to memory: builds the parts, owns the threads, ends them.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/futex.hpp"
#include "base/result.hpp"
#include "checkpoint/checkpoint.hpp"
#include "engine/load_settings.hpp"
#include "engine/plan_request.hpp"
#include "engine/stats.hpp"
#include "engine/tensor_lease.hpp"
#include "gpu/gpu_runtime.hpp"
#include "memory/arena.hpp"

namespace streamer::core {

enum class Order { completion, plan };
enum class ReadOrder { storage, item };
enum class WhenFull { fail, wait };

class OrderedSource;

struct LoadOptions {
  Order order = Order::completion;
  ReadOrder read_order = ReadOrder::storage;
  WhenFull when_full = WhenFull::fail;
  // memory_limit is for tensors, and the buffers of reading come on top.
  bool limits_tensors_alone = false;
  // Of elastic host memory (elastic_window.hpp); 0: chosen by us.
  std::uint64_t block_bytes = 0;
  std::uint64_t ahead_bytes = 0;
  // Where requests that name neither a device nor a destination bring their bytes.
  Device device = {};
  // A stream of that device, by which its tensors are ordered; nullptr: they are there when they
  // are yielded.
  GpuStream consumer_stream = nullptr;
  // Instead of the runtime of every GPU's kind; nullptr: those.
  GpuRuntime* gpu = nullptr;
  HostAllocator host_allocator = {};  // of host memory for tensors
  // Brings everything, in its own order; nullptr: the sources of the checkpoint's stores do.
  std::shared_ptr<OrderedSource> source = nullptr;
};

class Load {
 public:
  static Result<std::unique_ptr<Load>> start(std::shared_ptr<const Checkpoint> checkpoint,
                                             std::vector<PlanRequest> requests, LoadOptions options,
                                             const LoadSettings& settings);
  // Cancels, waits for the reads under way, and lets go of the tensors.
  ~Load();

  enum class Outcome { tensor, end, not_ready };
  struct Next {
    Outcome outcome;
    TensorLease* lease = nullptr;  // held once for the caller if outcome is tensor
  };
  // One thread at a time. Waits until the deadline (nullopt: none).
  Result<Next> next(std::optional<SteadyTime> deadline);

  // Readable unless the last next() that did not wait found nothing and nothing came since. Belongs
  // to the load.
  Result<int> fd();

  // Thread-safe, returns at once.
  void cancel() noexcept;
  // Thread-safe.
  [[nodiscard]] LoadStats stats() const;
  // What was chosen for it, and why: lines "NAME: VALUE: REASON". Thread-safe.
  [[nodiscard]] std::string explain() const;
  // What was not to be had and what was done instead, one line each. Thread-safe.
  [[nodiscard]] std::string notes() const;

 private:
  struct Running;
  explicit Load(std::unique_ptr<Running> running);
  Result<void> start_threads();
  [[nodiscard]] Error window_is_full() const;

  std::unique_ptr<Running> running_;
};

}  // namespace streamer::core
