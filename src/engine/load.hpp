// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass that reads a plan's items into memory: builds the parts, owns the threads, ends them.

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

namespace streamer::core::inline engine {

enum class Order { completion, plan };
enum class ReadOrder { storage, item };
enum class WhenFull { fail, wait };

class OrderedSource;
class ReaderPool;

struct LoadOptions {
  Order order = Order::completion;
  ReadOrder read_order = ReadOrder::storage;
  WhenFull when_full = WhenFull::fail;
  // memory_limit covers tensors only; buffers for reading come on top.
  bool limits_tensors_alone = false;
  // For elastic host memory (elastic_window.hpp); 0: chosen by the load.
  std::uint64_t block_bytes = 0;
  std::uint64_t ahead_bytes = 0;
  // For requests that name neither a device nor a destination.
  Device device = {};
  // A stream of that device that orders access to its tensors; nullptr: their bytes are there when
  // they are yielded.
  GpuStream consumer_stream = nullptr;
  // Replaces the runtime of every kind of GPU; nullptr: the real ones. For tests.
  GpuRuntime* gpu = nullptr;
  HostAllocator host_allocator = {};  // for the tensors' host memory
  // Reads everything, in its own order; nullptr: the sources of the checkpoint's stores do.
  std::shared_ptr<OrderedSource> source = nullptr;
  // On whose threads readers run, after those of loads that were started before. Outlives the load;
  // nullptr: the load has threads of its own.
  ReaderPool* pool = nullptr;
};

class Load {
 public:
  static Result<std::unique_ptr<Load>> start(std::shared_ptr<const Checkpoint> checkpoint,
                                             std::vector<PlanRequest> requests, LoadOptions options,
                                             const LoadSettings& settings);
  // Cancels, waits for the reads in progress, and releases the tensors.
  ~Load();

  enum class Outcome { tensor, end, not_ready };
  struct Next {
    Outcome outcome;
    TensorLease* lease = nullptr;  // held once for the caller if outcome is tensor
  };
  // One thread at a time. Waits until the deadline (nullopt: forever).
  Result<Next> next(std::optional<SteadyTime> deadline);

  // Readable unless the last non-waiting next() found nothing and nothing has come since. Owned by
  // the load.
  Result<int> fd();

  // Thread-safe, returns at once.
  void cancel() noexcept;
  // Thread-safe.
  [[nodiscard]] LoadStats stats() const;
  // What was chosen for the load, and why: lines "NAME: VALUE: REASON". Thread-safe.
  [[nodiscard]] std::string explain() const;
  // What was not available and what was done instead, one line each. Thread-safe.
  [[nodiscard]] std::string notes() const;

 private:
  struct Running;
  explicit Load(std::unique_ptr<Running> running);
  [[nodiscard]] Result<void> check_process() const;
  Result<void> start_threads();
  [[nodiscard]] Error window_is_full() const;

  std::unique_ptr<Running> running_;
};

}  // namespace streamer::core::inline engine
