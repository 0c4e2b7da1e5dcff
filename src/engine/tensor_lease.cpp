// SPDX-License-Identifier: Apache-2.0
#include "engine/tensor_lease.hpp"

#include <utility>

#include "base/guarded.hpp"

namespace streamer::core::inline engine {

namespace {

std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> shapes_of_parts(
    const TensorTable& tensors, const std::vector<PlanRequest>& requests) {
  std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> shapes;
  for (std::uint32_t i = 0; i < requests.size(); ++i) {
    if (requests[i].part == Part::whole) continue;
    shapes.emplace(i, requested_shape(tensors[requests[i].tensor], requests[i]));
  }
  return shapes;
}

}  // namespace

// ---- TensorLease ----

void TensorLease::retain() noexcept {
  holders_.fetch_add(1, std::memory_order_relaxed);
}

void TensorLease::release() noexcept {
  // release: this holder is done with the memory. acquire: the last one passes that on for all. The
  // only holder needs no locked operation, because only a holder can make another one.
  const bool is_only_holder = holders_.load(std::memory_order_acquire) == 1;
  if (is_only_holder || holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    of_->landing_.release_item(index_);
    of_->let_go(1);
  }
}

const PlanItem& TensorLease::planned() const noexcept {
  return of_->landing_.plan().items()[index_];
}

TensorView TensorLease::tensor() const noexcept {
  return of_->checkpoint_->tensors[tensor_number()];
}

std::uint32_t TensorLease::tensor_number() const noexcept {
  return of_->requests_[item()].tensor;
}

Part TensorLease::part() const noexcept {
  return of_->requests_[item()].part;
}

std::span<const std::uint64_t> TensorLease::shape() const noexcept {
  if (part() == Part::whole) return tensor().shape;
  return of_->part_shapes_.find(item())->second;
}

std::byte* TensorLease::data() const noexcept {
  if (planned().bytes == 0) return nullptr;
  return of_->landing_.address(planned().place);
}

Device TensorLease::device() const noexcept {
  return of_->landing_.plan().memories()[planned().place.memory].device;
}

std::uint64_t TensorLease::bytes() const noexcept {
  return planned().bytes;
}

std::uint32_t TensorLease::item() const noexcept {
  return planned().request;
}

std::uint64_t TensorLease::tag() const noexcept {
  return of_->requests_[item()].tag;
}

// ---- LoadTensors ----

LoadTensors* LoadTensors::make(std::shared_ptr<const Checkpoint> checkpoint,
                               std::vector<PlanRequest> requests, Plan plan, LoadMemory memory,
                               std::uint64_t bandwidth_bytes_per_s) {
  return new LoadTensors(std::move(checkpoint), std::move(requests), std::move(plan),
                         std::move(memory), bandwidth_bytes_per_s);
}

LoadTensors::LoadTensors(std::shared_ptr<const Checkpoint> checkpoint,
                         std::vector<PlanRequest> requests, Plan plan, LoadMemory memory,
                         std::uint64_t bandwidth_bytes_per_s)
    : checkpoint_(std::move(checkpoint)),
      requests_(std::move(requests)),
      part_shapes_(shapes_of_parts(checkpoint_->tensors, requests_)),
      landing_(std::move(plan), std::move(memory), bandwidth_bytes_per_s),
      leases_(std::make_unique<TensorLease[]>(landing_.plan().items().size())),
      holders_(1 + static_cast<std::uint32_t>(landing_.plan().items().size())) {}

TensorLease& LoadTensors::yield(std::uint32_t index) noexcept {
  TensorLease& lease = leases_[index];
  lease.of_ = this;
  lease.index_ = index;
  // relaxed: no other thread has the lease yet.
  lease.holders_.store(1, std::memory_order_relaxed);
  return lease;
}

void LoadTensors::let_go(std::uint32_t holders) noexcept {
  // release: this holder is done. acquire: the thread that frees sees that of all others.
  if (holders_.fetch_sub(holders, std::memory_order_acq_rel) != holders) return;
  if (!landing_.is_kept()) {
    delete this;
    return;
  }
  static auto* const all = new Guarded<std::vector<LoadTensors*>>;
  all->with([this](auto& kept) { kept.push_back(this); });
}

}  // namespace streamer::core::inline engine
