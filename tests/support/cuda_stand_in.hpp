// SPDX-License-Identifier: Apache-2.0
#pragma once
// A CUDA runtime over host memory: one thread per stream, which takes its time, and an eye on what
// must not happen. What it finds is in violations().

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gpu/gpu_runtime.hpp"

namespace streamer::test {

class CudaStandIn final : public core::GpuRuntime {
 public:
  struct Options {
    int devices = 1;
    std::uint64_t seed = 1;
    std::uint32_t longest_delay_us = 200;     // before each copy; 0: none
    double copy_seconds_per_byte = 0;         // and so long for each copy, if it is not 0
    std::uint64_t memory_bytes = UINT64_MAX;  // of each device
    std::string_view kind = "cuda";
  };
  explicit CudaStandIn(Options options) : options_(options), random_(options.seed) {}

  ~CudaStandIn() override {
    for (auto& [stream, state] : streams_)
      end(*state);
    // A device that was lost took no call to free it.
    for (const auto& [memory, allocation] : memory_)
      ::operator delete(memory, std::align_val_t(512));
  }

  // The n-th call (from 1) of a function fails, and every call of anything after it if it is
  // sticky, as with a device that fell off the bus.
  void fail(const std::string& function, int n, bool is_sticky = false) {
    const std::lock_guard lock(mutex_);
    failing_ = function;
    fails_at_ = n;
    is_sticky_ = is_sticky;
  }
  // How often the calling thread made a device its current one: each time gives it a context.
  int devices_set_here() {
    const std::lock_guard lock(mutex_);
    return devices_set_[std::this_thread::get_id()];
  }
  int calls(const std::string& function) {
    const std::lock_guard lock(mutex_);
    return calls_[function];
  }
  std::vector<std::string> violations() {
    const std::lock_guard lock(mutex_);
    return violations_;
  }
  // Of all kinds: memory, pinned ranges, streams, events.
  std::size_t things_alive() {
    const std::lock_guard lock(mutex_);
    return memory_.size() + pinned_.size() + streams_.size() + events_.size();
  }

  struct Stream {
    std::chrono::microseconds delay(std::uint32_t longest) {
      return std::chrono::microseconds(longest == 0 ? 0 : random() % longest);
    }
    int device = 0;
    std::deque<std::function<void(Stream&)>> work;
    bool is_busy = false;
    bool is_ending = false;
    std::mt19937_64 random;
    std::thread thread;
  };

  // Puts work of the test into a stream.
  void enqueue(core::GpuStream stream, std::function<void(Stream&)> what) {
    const std::lock_guard lock(mutex_);
    static_cast<Stream*>(stream)->work.push_back(std::move(what));
    has_work_.notify_all();
  }

  [[nodiscard]] std::string_view kind_name() const noexcept override { return options_.kind; }
  core::Result<int> device_count() override {
    TRY(call("cudaGetDeviceCount"));
    return options_.devices;
  }
  core::Result<int> current_device() override {
    TRY(call("cudaGetDevice"));
    return current();
  }
  core::Result<void> use_device(int device) override {
    {
      const std::lock_guard lock(mutex_);
      ++devices_set_[std::this_thread::get_id()];
    }
    TRY(call("cudaSetDevice"));
    if (device < 0 || device >= options_.devices) return error("cudaSetDevice", "no such device");
    current() = device;
    return {};
  }

  core::Result<std::uint64_t> free_bytes() override {
    TRY(call("cudaMemGetInfo"));
    const std::lock_guard lock(mutex_);
    return options_.memory_bytes - used_bytes(current());
  }
  core::Result<std::string> pci_address() override {
    TRY(call("cudaDeviceGetPCIBusId"));
    return fmt::format("0000:{:02X}:00.0", current());
  }
  core::Result<void*> allocate(std::uint64_t bytes) override {
    TRY(call("cudaMalloc"));
    return take_memory("cudaMalloc", bytes, false);
  }
  core::Result<void> free(void* memory) override {
    TRY(call("cudaFree"));
    // Waits for the device, as the real one does.
    wait_for_streams_of(current());
    give_memory_back(memory, false);
    return {};
  }
  core::Result<void*> allocate_async(std::uint64_t bytes, core::GpuStream) override {
    TRY(call("cudaMallocAsync"));
    return take_memory("cudaMallocAsync", bytes, true);
  }
  core::Result<void> free_async(void* memory, core::GpuStream stream) override {
    TRY(call("cudaFreeAsync"));
    enqueue(stream, [this, memory](Stream&) { give_memory_back(memory, true); });
    return {};
  }

  core::Result<void> pin(void* memory, std::uint64_t bytes) override {
    TRY(call("cudaHostRegister"));
    const std::lock_guard lock(mutex_);
    pinned_[static_cast<std::byte*>(memory)] = bytes;
    return {};
  }
  core::Result<void> unpin(void* memory) override {
    TRY(call("cudaHostUnregister"));
    const std::lock_guard lock(mutex_);
    if (pinned_.erase(static_cast<std::byte*>(memory)) == 0)
      violations_.push_back("unpinned what was not pinned");
    return {};
  }

  core::Result<core::GpuStream> create_stream() override {
    TRY(call("cudaStreamCreateWithFlags"));
    auto state = std::make_unique<Stream>();
    state->device = current();
    Stream& made = *state;
    const std::lock_guard lock(mutex_);
    made.random.seed(random_());
    made.thread = std::thread([this, &made] { run(made); });
    streams_[&made] = std::move(state);
    return static_cast<core::GpuStream>(&made);
  }
  core::Result<void> destroy_stream(core::GpuStream stream) override {
    std::unique_ptr<Stream> state;
    {
      const std::lock_guard lock(mutex_);
      const auto found = streams_.find(static_cast<Stream*>(stream));
      if (found == streams_.end()) {
        violations_.push_back("destroyed what is no stream");
        return {};
      }
      state = std::move(found->second);
      streams_.erase(found);
    }
    end(*state);
    return call("cudaStreamDestroy");
  }
  core::Result<core::GpuEvent> create_event() override {
    TRY(call("cudaEventCreateWithFlags"));
    const std::lock_guard lock(mutex_);
    auto event = std::make_unique<Event>();
    Event* const made = event.get();
    events_[made] = std::move(event);
    return static_cast<core::GpuEvent>(made);
  }
  core::Result<void> destroy_event(core::GpuEvent event) override {
    TRY(call("cudaEventDestroy"));
    const std::lock_guard lock(mutex_);
    const auto found = events_.find(static_cast<Event*>(event));
    if (found == events_.end()) {
      violations_.push_back("destroyed what is no event");
      return {};
    }
    // Streams may still wait for it.
    destroyed_events_.push_back(std::move(found->second));
    events_.erase(found);
    return {};
  }

  core::Result<void> copy_to_device(void* to, const void* from, std::uint64_t bytes,
                                    core::GpuStream stream) override {
    TRY(call("cudaMemcpyAsync"));
    const std::string_view source(static_cast<const char*>(from), bytes);
    enqueue(stream, [this, to, source, before = std::hash<std::string_view>()(source)](Stream& in) {
      std::this_thread::sleep_for(in.delay(options_.longest_delay_us));
      if (options_.copy_seconds_per_byte != 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(
            static_cast<double>(source.size()) * options_.copy_seconds_per_byte));
      }
      const std::lock_guard lock(mutex_);
      if (std::hash<std::string_view>()(source) != before)
        violations_.push_back("a segment changed while its copy was on its way");
      if (!is_on_device(static_cast<std::byte*>(to), source.size(), in.device)) {
        violations_.push_back("a copy to memory that is not the device's, or was freed");
        return;
      }
      std::memcpy(to, source.data(), source.size());
    });
    return {};
  }
  core::Result<void> copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                                    std::uint64_t from_pitch, std::uint64_t row_bytes,
                                    std::uint64_t rows, core::GpuStream stream) override {
    TRY(call("cudaMemcpy2DAsync"));
    auto* const target = static_cast<std::byte*>(to);
    const auto* const source = static_cast<const std::byte*>(from);
    enqueue(stream, [=, this](Stream& in) {
      std::this_thread::sleep_for(in.delay(options_.longest_delay_us));
      const std::lock_guard lock(mutex_);
      if (rows == 0 || row_bytes > to_pitch || row_bytes > from_pitch ||
          !is_on_device(target, (rows - 1) * to_pitch + row_bytes, in.device) ||
          !is_on_device(source, (rows - 1) * from_pitch + row_bytes, in.device)) {
        violations_.push_back("a copy of rows that are not the device's, or were freed");
        return;
      }
      for (std::uint64_t row = 0; row < rows; ++row)
        std::memcpy(target + row * to_pitch, source + row * from_pitch, row_bytes);
    });
    return {};
  }

  core::Result<void> record(core::GpuEvent event, core::GpuStream stream) override {
    TRY(call("cudaEventRecord"));
    auto* const recorded = static_cast<Event*>(event);
    {
      const std::lock_guard lock(mutex_);
      ++recorded->recorded;
    }
    enqueue(stream, [this, recorded](Stream&) {
      const std::lock_guard lock(mutex_);
      ++recorded->happened;
      happened_.notify_all();
    });
    return {};
  }
  core::Result<void> wait_in_stream(core::GpuStream stream, core::GpuEvent event) override {
    TRY(call("cudaStreamWaitEvent"));
    auto* const wanted = static_cast<Event*>(event);
    // What was recorded until now, and not what is later: events are used again.
    std::uint64_t until = 0;
    {
      const std::lock_guard lock(mutex_);
      until = wanted->recorded;
    }
    enqueue(stream, [this, wanted, until](Stream&) {
      std::unique_lock lock(mutex_);
      happened_.wait(lock, [&] { return wanted->happened >= until; });
    });
    return {};
  }
  core::Result<void> synchronize_device() override {
    wait_for_streams_of(current());
    return call("cudaDeviceSynchronize");
  }
  core::Result<void> wait_for(core::GpuEvent event) override {
    {
      std::unique_lock lock(mutex_);
      auto* const wanted = static_cast<Event*>(event);
      happened_.wait(lock, [&] { return wanted->happened == wanted->recorded; });
    }
    return call("cudaEventSynchronize");
  }
  core::Result<bool> is_done(core::GpuEvent event) override {
    TRY(call("cudaEventQuery"));
    const std::lock_guard lock(mutex_);
    auto* const wanted = static_cast<Event*>(event);
    return wanted->happened == wanted->recorded;
  }
  core::Result<void> synchronize(core::GpuStream stream) override {
    std::unique_lock lock(mutex_);
    auto* const state = static_cast<Stream*>(stream);
    happened_.wait(lock, [&] { return state->work.empty() && !state->is_busy; });
    lock.unlock();
    return call("cudaStreamSynchronize");
  }

 private:
  struct Allocation {
    std::uint64_t bytes = 0;
    int device = 0;
    bool is_of_pool = false;
  };
  struct Event {
    std::uint64_t recorded = 0;
    std::uint64_t happened = 0;
  };
  static int& current() {
    static thread_local int device = 0;
    return device;
  }

  static core::Error error(const std::string& function, const std::string& why) {
    return core::Error(core::ErrorKind::device, function + ": " + why);
  }

  core::Result<void> call(const std::string& function) {
    const std::lock_guard lock(mutex_);
    const int n = ++calls_[function];
    if (has_failed_ && is_sticky_) return error(function, "the device is lost");
    if (function != failing_ || n != fails_at_) return {};
    has_failed_ = true;
    return error(function, "failed because the test wants it");
  }

  std::uint64_t used_bytes(int device) const {
    std::uint64_t used = 0;
    for (const auto& [begin, allocation] : memory_)
      used += allocation.device == device ? allocation.bytes : 0;
    return used;
  }

  core::Result<void*> take_memory(const std::string& function, std::uint64_t bytes,
                                  bool is_of_pool) {
    const std::lock_guard lock(mutex_);
    if (used_bytes(current()) + bytes > options_.memory_bytes)
      return core::Error(core::ErrorKind::out_of_memory, function + ": out of memory");
    // As aligned as the real one.
    void* const memory = ::operator new(bytes, std::align_val_t(512));
    memory_[static_cast<std::byte*>(memory)] = {bytes, current(), is_of_pool};
    return memory;
  }

  void give_memory_back(void* memory, bool is_of_pool) {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(static_cast<std::byte*>(memory));
    if (found == memory_.end() || found->second.is_of_pool != is_of_pool) {
      violations_.push_back("freed what was not allocated");
      return;
    }
    memory_.erase(found);
    ::operator delete(memory, std::align_val_t(512));
  }

  void wait_for_streams_of(int device) {
    std::unique_lock lock(mutex_);
    happened_.wait(lock, [&] {
      return std::all_of(streams_.begin(), streams_.end(), [&](const auto& one) {
        return one.second->device != device || (one.second->work.empty() && !one.second->is_busy);
      });
    });
  }

  void run(Stream& stream) {
    std::unique_lock lock(mutex_);
    for (;;) {
      has_work_.wait(lock, [&] { return stream.is_ending || !stream.work.empty(); });
      if (stream.work.empty()) return;
      const auto what = std::move(stream.work.front());
      stream.work.pop_front();
      stream.is_busy = true;
      lock.unlock();
      what(stream);
      lock.lock();
      stream.is_busy = false;
      happened_.notify_all();
    }
  }

  // What stands in the stream is still done.
  void end(Stream& stream) {
    {
      const std::lock_guard lock(mutex_);
      stream.is_ending = true;
      has_work_.notify_all();
    }
    stream.thread.join();
  }

  bool is_on_device(const std::byte* to, std::uint64_t bytes, int device) const {
    for (const auto& [begin, allocation] : memory_) {
      if (to >= begin && to + bytes <= begin + allocation.bytes) return allocation.device == device;
    }
    return false;
  }

  const Options options_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable happened_;
  std::mt19937_64 random_;
  std::map<std::byte*, Allocation> memory_;
  std::map<std::byte*, std::uint64_t> pinned_;
  std::map<Stream*, std::unique_ptr<Stream>> streams_;
  std::map<Event*, std::unique_ptr<Event>> events_;
  std::vector<std::unique_ptr<Event>> destroyed_events_;
  std::map<std::string, int> calls_;
  std::map<std::thread::id, int> devices_set_;
  std::vector<std::string> violations_;
  std::string failing_;
  int fails_at_ = 0;
  bool is_sticky_ = false;
  bool has_failed_ = false;
};

// For what a test does with a device itself: puts the thread's device back as it was.
class UseDevice {
 public:
  static core::Result<UseDevice> make(core::GpuRuntime& runtime, int device) {
    const int before = TRY(runtime.current_device());
    if (before != device) TRY(runtime.use_device(device));
    return UseDevice(runtime, before, before != device);
  }
  UseDevice(UseDevice&& other) noexcept
      : runtime_(other.runtime_), before_(other.before_), is_changed_(other.is_changed_) {
    other.is_changed_ = false;
  }
  UseDevice& operator=(UseDevice&&) = delete;
  ~UseDevice() {
    // Of a device that was in use a moment ago.
    if (is_changed_) static_cast<void>(runtime_.use_device(before_).has_value());
  }

 private:
  UseDevice(core::GpuRuntime& runtime, int before, bool is_changed) noexcept
      : runtime_(runtime), before_(before), is_changed_(is_changed) {}

  core::GpuRuntime& runtime_;
  int before_;
  bool is_changed_;
};

}  // namespace streamer::test
