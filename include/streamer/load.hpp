// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass that reads a plan's items into memory.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint.hpp"
#include "communicator.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "result.hpp"
#include "stats.hpp"
#include "tensor.hpp"

namespace streamer {

// Which tensors of a checkpoint to load, whole. For parts and destinations, make a Plan.
class Selection {
 public:
  using Predicate = std::function<bool(const TensorInfo&)>;

  explicit Selection(Predicate predicate) : predicate_(std::move(predicate)) {}

  Result<Plan> plan(const Checkpoint& checkpoint) const {
    auto plan = Plan::of(checkpoint);
    if (!plan) return plan;
    if (!predicate_) {
      auto added = plan->add_everything();
      if (!added) return std::move(added).error();
      return plan;
    }
    for (const TensorInfo& tensor : checkpoint.tensors()) {
      if (!predicate_(tensor)) continue;
      auto added = plan->add(tensor);
      if (!added) return std::move(added).error();
    }
    return plan;
  }

 private:
  Predicate predicate_;  // empty: everything
};

inline Selection everything() {
  return Selection(nullptr);
}
inline Selection where(Selection::Predicate predicate) {
  return Selection(std::move(predicate));
}

// Starts reading when it is made; its destructor ends it. next() is for one thread at a time; other
// threads may call cancel() and stats() at the same time.
class Load {
 public:
  // Returns at once; with a communicator, once all ranks have arrived. plan and options are copied.
  // Errors: memory_limit (the limit is below the largest item; names the tensor and both sizes),
  // invalid_argument, out_of_memory, device (says which: no driver, a driver that is
  // too old, no GPU, a hidden one).
  static Result<Load> start(const Plan& plan, const LoadOptions& options = {}) {
    auto settings = options.to_settings();
    if (!settings) return std::move(settings).error();
    streamer_load_options wanted = STREAMER_LOAD_OPTIONS_INIT;
    wanted.order = static_cast<std::int32_t>(options.order);
    wanted.read_order = static_cast<std::int32_t>(options.read_order);
    wanted.when_full = static_cast<std::int32_t>(options.when_full);
    wanted.device = options.device.c();
    wanted.stream = options.stream;
    if (options.host_memory != nullptr) {
      wanted.allocate = allocate;
      wanted.release = release;
      wanted.allocator_user = options.host_memory;
    }
    if (options.communicator != nullptr) wanted.communicator = options.communicator->get();
    streamer_load* load = nullptr;
    streamer_error* error = nullptr;
    if (streamer_load_start(plan.get(), &wanted, settings->get(), &load, &error) != STREAMER_OK) {
      return Error(error);
    }
    return Load(load);
  }
  static Result<Load> start(const Checkpoint& checkpoint, const Selection& selection = everything(),
                            const LoadOptions& options = {}) {
    auto plan = selection.plan(checkpoint);
    if (!plan) return std::move(plan).error();
    return start(*plan, options);
  }

  // Waits for the next tensor; nullopt once all have been yielded. Each item is yielded exactly
  // once. The first error ends the load, and every later call returns the same error; only after
  // memory_limit does the load go on. Errors: object_changed, io, cancelled, memory_limit, device.
  Result<std::optional<Tensor>> next() {
    auto waited = wait(-1);
    if (!waited) return std::move(waited).error();
    return std::move(waited->tensor);
  }

  struct Waited {
    std::optional<Tensor> tensor;
    bool is_end = false;  // neither a tensor nor the end: the timeout passed
  };
  // The same, but waits no longer than timeout.
  Result<Waited> next_for(std::chrono::milliseconds timeout) {
    return wait(timeout.count() < 0 ? 0 : timeout.count());
  }

  // The next tensor and whatever else is ready, up to capacity (at least 1); empty at the end.
  Result<std::vector<Tensor>> next_many(std::size_t capacity) {
    std::vector<streamer_tensor*> handles(capacity);
    std::size_t count = 0;
    streamer_error* error = nullptr;
    const streamer_status status =
        streamer_load_next_many(load_.get(), -1, capacity, handles.data(), nullptr, &count, &error);
    if (status >= 100) return Error(error);
    std::vector<Tensor> tensors;
    tensors.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      tensors.push_back(Tensor(handles[i]));
    return tensors;
  }

  // For event loops: readable when next_for(0ms) may have a tensor, an error or the end; then call
  // that until it has none of them. The load owns the descriptor: neither read nor close it.
  Result<int> fd() {
    int fd = -1;
    streamer_error* error = nullptr;
    if (streamer_load_fd(load_.get(), &fd, &error) != STREAMER_OK) return Error(error);
    return fd;
  }

  // Thread-safe; returns at once. Current and later calls of next() return cancelled. Memory of the
  // caller may still be written until the Load is destroyed.
  void cancel() noexcept { streamer_load_cancel(load_.get()); }

  // Thread-safe. A snapshot while the load runs.
  LoadStats stats() const noexcept {
    LoadStats stats = STREAMER_LOAD_STATS_INIT;
    streamer_load_get_stats(load_.get(), &stats);
    return stats;
  }
  // What was chosen when it started, and why: lines "NAME: VALUE: REASON", for humans.
  std::string explain() const { return streamer_load_explain(load_.get()); }
  // One number by its name ("bytes_direct"); see all_stats(). Thread-safe. Errors: not_found.
  Result<std::uint64_t> stat(const char* name) const {
    std::uint64_t value = 0;
    streamer_error* error = nullptr;
    if (streamer_load_get_stat(load_.get(), name, &value, &error) != STREAMER_OK)
      return Error(error);
    return value;
  }
  // All numbers, of the same moment, in the order of all_stats(). Thread-safe.
  std::vector<std::uint64_t> stat_values() const {
    std::vector<std::uint64_t> values(streamer_stat_count());
    streamer_load_get_all_stats(load_.get(), values.data(), values.size());
    return values;
  }

 private:
  struct Free {
    // Cancels what is left and waits for the reads in progress. Yielded tensors stay valid.
    void operator()(streamer_load* load) const noexcept { streamer_load_close(load); }
  };
  explicit Load(streamer_load* load) noexcept : load_(load) {}

  static void* allocate(std::size_t bytes, std::size_t alignment, void* user) noexcept {
    auto* const resource = static_cast<std::pmr::memory_resource*>(user);
#if defined(__cpp_exceptions)
    try {
      return resource->allocate(bytes, alignment);
    } catch (...) {
      return nullptr;
    }
#else
    return resource->allocate(bytes, alignment);
#endif
  }
  // kAlignment is the alignment that the library asks allocate() for.
  static void release(void* memory, std::size_t bytes, void* user) noexcept {
    constexpr std::size_t kAlignment = 4096;
    static_cast<std::pmr::memory_resource*>(user)->deallocate(memory, bytes, kAlignment);
  }

  Result<Waited> wait(std::int64_t timeout_ms) {
    streamer_tensor* tensor = nullptr;
    streamer_error* error = nullptr;
    switch (streamer_load_next(load_.get(), timeout_ms, &tensor, &error)) {
      case STREAMER_OK:
        return Waited{Tensor(tensor), false};
      case STREAMER_END:
        return Waited{std::nullopt, true};
      case STREAMER_NOT_READY:
        return Waited{};
      default:
        return Error(error);
    }
  }

  std::unique_ptr<streamer_load, Free> load_;
};

}  // namespace streamer
