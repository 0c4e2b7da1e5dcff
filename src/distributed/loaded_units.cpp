// SPDX-License-Identifier: Apache-2.0
#include "distributed/loaded_units.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

#include "base/guarded.hpp"

namespace streamer::core::inline distributed {

namespace {

// A checkpoint whose tensors are this rank's units, in order, with a request for each.
struct Share {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<PlanRequest> requests;
};

Share make_share(const Checkpoint& all, const Schedule& schedule, std::uint32_t rank,
                 Device device) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->stores = all.stores;
  for (const CheckpointObject& entry : all.objects)
    checkpoint->objects.emplace_back().object = entry.object;
  Share share;
  for (const Unit& unit : schedule.units) {
    if (unit.owner != rank) continue;
    // Columns of rows: a slice of a matrix whose rows lie as far apart as they do.
    const StridedRange& range = unit.range;
    const std::array<std::uint64_t, 2> shape = {range.count, range.stride_bytes};
    checkpoint->tensors.add({.name = fmt::format("{} bytes of rank {}", range.total_bytes(), rank),
                             .dtype = Dtype::u8,
                             .shape = shape,
                             .object = unit.object,
                             .bytes = {range.offset, range.count * range.stride_bytes}});
    share.requests.push_back({.tensor = checkpoint->tensors.size() - 1,
                              .part = range.count == 1 ? Part::whole : Part::slice,
                              .dimension = 1,
                              .start = 0,
                              .stop = range.run_bytes,
                              .device = device});
  }
  // They are never looked up by name.
  static_cast<void>(checkpoint->tensors.finish());
  share.checkpoint = std::move(checkpoint);
  return share;
}

// The load that reads them, two rounds ahead or more.
Result<std::unique_ptr<Load>> start_share(Share share, const Schedule& schedule,
                                          const LoadOptions& options, LoadSettings settings,
                                          std::uint64_t buffer_bytes) {
  const std::uint64_t ahead = std::max(buffer_bytes, 2 * schedule.share_bytes);
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, ahead});
  settings.put(setting::kDeviceMemoryLimit, ahead);
  settings.put(setting::kDeviceAlignment, kReadAlignment);
  settings.put(setting::kTensorAlignment, 0);
  // The bytes between two units belong to other ranks.
  settings.put(setting::kCoalesceGapBytes, 0);
  const LoadOptions reading{.order = Order::plan,
                            .read_order = ReadOrder::item,
                            .when_full = WhenFull::wait,
                            .limits_tensors_alone = true,
                            .gpu = options.gpu};
  return Load::start(std::move(share.checkpoint), std::move(share.requests), reading, settings);
}

class LoadedUnits final : public OwnUnits {
 public:
  explicit LoadedUnits(std::unique_ptr<Load> load) : load_(std::move(load)) {}
  ~LoadedUnits() override { release_all(); }

  Result<const std::byte*> take_next() override {
    leases_.push_back(TRY(load_->next(std::nullopt)).lease);
    return static_cast<const std::byte*>(leases_.back()->data());
  }
  void release() noexcept override { release_all(); }
  void keep_taken() noexcept override {
    // A load's memory lives until its last lease is released.
    static auto* const all = new Guarded<std::vector<std::vector<TensorLease*>>>;
    all->with([&](auto& kept) { kept.push_back(std::exchange(leases_, {})); });
  }

  void stop() noexcept override { load_->cancel(); }
  void add_to(LoadStats& stats) const override {
    // Of the exchange's own thread, which waits for these units.
    stats.storage_wait_ns = 0;
    add_reading(stats, load_->stats());
  }
  [[nodiscard]] std::string notes() const override { return load_->notes(); }

 private:
  void release_all() noexcept {
    for (TensorLease* const lease : leases_)
      lease->release();
    leases_.clear();
  }

  const std::unique_ptr<Load> load_;
  std::vector<TensorLease*> leases_;
};

}  // namespace

Result<std::unique_ptr<OwnUnits>> load_own_units(const Checkpoint& checkpoint,
                                                 const Schedule& schedule, std::uint32_t rank,
                                                 Device device, const LoadOptions& options,
                                                 const LoadSettings& settings,
                                                 std::uint64_t buffer_bytes) {
  auto load = TRY(start_share(make_share(checkpoint, schedule, rank, device), schedule, options,
                              settings, buffer_bytes));
  return std::unique_ptr<OwnUnits>(std::make_unique<LoadedUnits>(std::move(load)));
}

}  // namespace streamer::core::inline distributed
