// SPDX-License-Identifier: Apache-2.0
#include "distributed/exchange_memory.hpp"

#include <cstring>
#include <vector>

#include "gpu/device_thread.hpp"
#include "memory/arena.hpp"

namespace streamer::core::inline distributed {

namespace {

class HostExchangeMemory final : public ExchangeMemory {
 public:
  Result<std::byte*> allocate(std::uint64_t bytes) override {
    arenas_.push_back(TRY(Arena::reserve(bytes)));
    return arenas_.back().data();
  }
  Result<void> copy(const Rows& rows) override {
    for (std::uint64_t row = 0; row < rows.rows; ++row) {
      std::memcpy(rows.to + row * rows.to_pitch, rows.from + row * rows.from_pitch, rows.row_bytes);
    }
    return {};
  }
  Result<void> finish_copies() override { return {}; }
  Result<void> follow(GpuStream) override { return {}; }

 private:
  std::vector<Arena> arenas_;
};

class DeviceExchangeMemory final : public ExchangeMemory {
 public:
  DeviceExchangeMemory(GpuRuntime& runtime, int device) : runtime_(runtime), device_(device) {}
  ~DeviceExchangeMemory() override {
    memories_.clear();
    if (stream_ == nullptr && event_ == nullptr) return;
    run_on_device(runtime_, device_, [this] {
      if (stream_ != nullptr) static_cast<void>(runtime_.destroy_stream(stream_));
      if (event_ != nullptr) static_cast<void>(runtime_.destroy_event(event_));
    });
  }

  Result<void> open() {
    TRY(runtime_.use_device(device_));
    stream_ = TRY(runtime_.create_stream());
    event_ = TRY(runtime_.create_event());
    return {};
  }

  Result<std::byte*> allocate(std::uint64_t bytes) override {
    memories_.push_back(
        std::make_unique<DeviceMemory>(runtime_, device_, bytes, DeviceAllocator::malloc));
    TRY(memories_.back()->allocate());
    return memories_.back()->data();
  }
  Result<void> copy(const Rows& rows) override {
    return runtime_.copy_on_device(rows.to, rows.to_pitch, rows.from, rows.from_pitch,
                                   rows.row_bytes, rows.rows, stream_);
  }
  Result<void> finish_copies() override {
    TRY(runtime_.record(event_, stream_));
    return runtime_.wait_for(event_);
  }
  Result<void> follow(GpuStream consumer) override {
    TRY(runtime_.record(event_, consumer));
    return runtime_.wait_in_stream(stream_, event_);
  }

 private:
  GpuRuntime& runtime_;
  const int device_;
  GpuStream stream_ = nullptr;
  GpuEvent event_ = nullptr;
  std::vector<std::unique_ptr<DeviceMemory>> memories_;
};

}  // namespace

std::unique_ptr<ExchangeMemory> host_exchange_memory() {
  return std::make_unique<HostExchangeMemory>();
}

Result<std::unique_ptr<ExchangeMemory>> device_exchange_memory(GpuRuntime& runtime, int device) {
  auto memory = std::make_unique<DeviceExchangeMemory>(runtime, device);
  TRY(memory->open());
  return std::unique_ptr<ExchangeMemory>(std::move(memory));
}

}  // namespace streamer::core::inline distributed
