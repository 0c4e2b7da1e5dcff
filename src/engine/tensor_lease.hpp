// SPDX-License-Identifier: Apache-2.0
#pragma once
// The items that a load yields, and references to their memory.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "engine/landing.hpp"
#include "engine/plan_request.hpp"

namespace streamer::core::inline engine {

class LoadTensors;

// One yielded item with a reference count for its memory. Lives in the load's tensors; outlives the
// Load itself.
class TensorLease {
 public:
  // Thread-safe. The last release() returns the item's memory and may free that of the whole load.
  void retain() noexcept;
  void release() noexcept;

  [[nodiscard]] TensorView tensor() const noexcept;  // as stored
  [[nodiscard]] std::uint32_t tensor_number() const noexcept;
  [[nodiscard]] Part part() const noexcept;
  [[nodiscard]] std::span<const std::uint64_t> shape() const noexcept;  // of the part
  [[nodiscard]] std::byte* data() const noexcept;  // nullptr if there are no bytes
  [[nodiscard]] Device device() const noexcept;    // whose memory data() is
  [[nodiscard]] std::uint64_t bytes() const noexcept;
  [[nodiscard]] std::uint32_t item() const noexcept;  // number of its request
  [[nodiscard]] std::uint64_t tag() const noexcept;

 private:
  friend class LoadTensors;
  [[nodiscard]] const PlanItem& planned() const noexcept;

  LoadTensors* of_ = nullptr;
  std::atomic<std::uint32_t> holders_{0};
  std::uint32_t index_ = 0;  // in the plan's items
};

// The requested items and their landing. Held by the Load and by each item that has not been
// released; frees itself when the last of them releases it.
class LoadTensors {
 public:
  static LoadTensors* make(std::shared_ptr<const Checkpoint> checkpoint,
                           std::vector<PlanRequest> requests, Plan plan, LoadMemory memory,
                           std::uint64_t bandwidth_bytes_per_s);

  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  [[nodiscard]] Landing& landing() noexcept { return landing_; }
  [[nodiscard]] const Landing& landing() const noexcept { return landing_; }

  // The consumer, once per complete item. Returns it with one reference, the consumer's.
  TensorLease& yield(std::uint32_t index) noexcept;
  // Any thread. Holders: the Load, and each item, from the start until it is released.
  void let_go(std::uint32_t holders) noexcept;

 private:
  friend class TensorLease;
  LoadTensors(std::shared_ptr<const Checkpoint> checkpoint, std::vector<PlanRequest> requests,
              Plan plan, LoadMemory memory, std::uint64_t bandwidth_bytes_per_s);
  ~LoadTensors() = default;

  const std::shared_ptr<const Checkpoint> checkpoint_;
  const std::vector<PlanRequest> requests_;
  const std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> part_shapes_;  // by request
  Landing landing_;
  const std::unique_ptr<TensorLease[]> leases_;  // by item
  std::atomic<std::uint32_t> holders_;
};

}  // namespace streamer::core::inline engine
