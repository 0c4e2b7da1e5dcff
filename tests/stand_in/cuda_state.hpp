// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the stand-in for libcuda.so.1 consists of: devices, contexts, streams with a thread each,
// memory, and an eye on what must not happen.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>

#include "gpu/cuda_abi.hpp"
#include "stand_in/cuda_driver.hpp"

namespace streamer::test {

namespace {

using namespace core::cuda_abi;

struct DeviceContext {
  int device = 0;
  bool is_active = false;
};

struct StreamState {
  const DeviceContext* context = nullptr;
  std::deque<std::function<void(StreamState&)>> work;
  bool is_busy = false;
  bool is_ending = false;
  std::mt19937_64 random;
  std::thread thread;
};

struct EventState {
  const DeviceContext* context = nullptr;
  std::uint64_t recorded = 0;
  std::uint64_t happened = 0;
};

struct Allocation {
  std::uint64_t bytes = 0;
  int device = 0;
  bool is_of_pool = false;
};

thread_local DeviceContext* current = nullptr;
thread_local int contexts_set = 0;
thread_local std::uint64_t contexts_set_since = 0;  // of which beginning

class Driver final : public StandInDriver {
 public:
  Driver() { begin_from_environment(); }

  // ---- For tests ----

  void begin(const StandInOptions& options) override {
    end_everything();
    const std::lock_guard lock(mutex_);
    is_steered_ = true;
    reset(options);
  }
  void fail(const std::string& function, int n, bool is_sticky, int status) override {
    const std::lock_guard lock(mutex_);
    failing_ = function;
    fails_at_ = n;
    is_sticky_ = is_sticky;
    status_ = status != 0 ? status : is_sticky ? kLaunchFailed : kInvalidValue;
    has_failed_ = has_failed_ && !function.empty();
  }
  int calls(const std::string& function) override {
    const std::lock_guard lock(mutex_);
    return calls_[function];
  }
  int contexts_set_here() override {
    const std::lock_guard lock(mutex_);
    return contexts_set_since == beginnings_ ? contexts_set : 0;
  }
  int current_device() override { return current == nullptr ? -1 : current->device; }
  void set_current_device(int device) override {
    const std::lock_guard lock(mutex_);
    current = device < 0 ? nullptr : retained(device);
  }
  std::vector<std::string> violations() override {
    const std::lock_guard lock(mutex_);
    return violations_;
  }
  std::size_t things_alive() override {
    const std::lock_guard lock(mutex_);
    return memory_.size() + pinned_.size() + streams_.size() + events_.size();
  }
  void enqueue(void* stream, std::function<void()> what) override {
    put(static_cast<StreamState*>(stream), [what = std::move(what)](StreamState&) { what(); });
  }
  void reset_device(int device) override {
    const std::lock_guard lock(mutex_);
    contexts_[static_cast<std::size_t>(device)]->is_active = false;
  }

  // ---- What calls begin with ----

  enum class Needs { nothing, started, context };

  Status enter(const char* function, Needs needs = Needs::context) {
    const std::lock_guard lock(mutex_);
    const int n = ++calls_[function];
    if (needs != Needs::nothing && !is_started_) return kNotInitialized;
    if (has_failed_ && is_sticky_) return status_;
    if (function == failing_ && n == fails_at_) {
      has_failed_ = true;
      return status_;
    }
    if (needs != Needs::context) return kSuccess;
    if (current == nullptr) return kInvalidContext;
    return current->is_active ? kSuccess : kContextIsDestroyed;
  }

  // A stream or an event of the current context. 0 is the context's own stream, which must not be
  // used.
  Status check_own(const char* function, const DeviceContext* context) {
    const std::lock_guard lock(mutex_);
    if (context == current) return kSuccess;
    violate(std::string(function) + " in the wrong context");
    return kInvalidHandle;
  }

  // ---- Devices and contexts ----

  Status start() {
    const std::lock_guard lock(mutex_);
    if (options_.init_status != 0) return options_.init_status;
    make_visible();
    if (visible_.empty()) return kNoDevice;
    is_started_ = true;
    return kSuccess;
  }
  int version() {
    const std::lock_guard lock(mutex_);
    return options_.version;
  }
  int device_count() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(visible_.size());
  }
  bool is_device(int device) {
    const std::lock_guard lock(mutex_);
    return device >= 0 && device < static_cast<int>(visible_.size());
  }
  int number_in_machine(int device) {
    const std::lock_guard lock(mutex_);
    return visible_[static_cast<std::size_t>(device)];
  }
  bool has_pools() const { return options_.has_pools; }
  std::uint64_t memory_bytes() const { return options_.memory_bytes; }

  Status retain(int device, Context* context) {
    const std::lock_guard lock(mutex_);
    *context = retained(device);
    return kSuccess;
  }
  bool is_active(int device) {
    const std::lock_guard lock(mutex_);
    return contexts_[static_cast<std::size_t>(device)]->is_active;
  }
  Status make_current(Context context) {
    const std::lock_guard lock(mutex_);
    if (contexts_set_since != beginnings_) contexts_set = 0;
    contexts_set_since = beginnings_;
    ++contexts_set;
    current = static_cast<DeviceContext*>(context);
    return kSuccess;
  }
  // One that is no device's primary.
  Context make_context(int device) {
    const std::lock_guard lock(mutex_);
    others_.push_back(std::make_unique<DeviceContext>(DeviceContext{device, true}));
    current = others_.back().get();
    return current;
  }

  // ---- Memory ----

  Status allocate(Address* memory, std::uint64_t bytes, bool is_of_pool) {
    const std::lock_guard lock(mutex_);
    if (used_bytes(current->device) + bytes > options_.memory_bytes) return kOutOfMemory;
    // As aligned as the real one.
    auto* const made = static_cast<std::byte*>(::operator new(bytes, std::align_val_t(512)));
    memory_[made] = {bytes, current->device, is_of_pool};
    *memory = reinterpret_cast<std::uintptr_t>(made);
    return kSuccess;
  }
  void give_back(std::byte* memory, bool is_of_pool) {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(memory);
    if (found == memory_.end() || found->second.is_of_pool != is_of_pool) {
      violate("freed what was not allocated");
      return;
    }
    memory_.erase(found);
    ::operator delete(memory, std::align_val_t(512));
  }
  std::uint64_t free_bytes() {
    const std::lock_guard lock(mutex_);
    return options_.memory_bytes - used_bytes(current->device);
  }
  int device_of(const std::byte* memory) {
    const std::lock_guard lock(mutex_);
    const Allocation* const found = allocation_of(memory, 1);
    return found == nullptr ? -1 : found->device;
  }
  Status pin(std::byte* memory, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    pinned_[memory] = bytes;
    return kSuccess;
  }
  Status unpin(std::byte* memory) {
    const std::lock_guard lock(mutex_);
    if (pinned_.erase(memory) == 0) violate("unpinned what was not pinned");
    return kSuccess;
  }

  // ---- Streams and events ----

  Stream make_stream() {
    const std::lock_guard lock(mutex_);
    auto state = std::make_unique<StreamState>();
    StreamState& made = *state;
    made.context = current;
    made.random.seed(random_());
    made.thread = std::thread([this, &made] { run(made); });
    streams_[&made] = std::move(state);
    return &made;
  }
  void end_stream(StreamState* stream) {
    std::unique_ptr<StreamState> state;
    {
      const std::lock_guard lock(mutex_);
      const auto found = streams_.find(stream);
      if (found == streams_.end()) return violate("destroyed what is no stream");
      state = std::move(found->second);
      streams_.erase(found);
    }
    end(*state);
  }
  Event make_event() {
    const std::lock_guard lock(mutex_);
    auto event = std::make_unique<EventState>();
    event->context = current;
    EventState* const made = event.get();
    events_[made] = std::move(event);
    return made;
  }
  void end_event(EventState* event) {
    const std::lock_guard lock(mutex_);
    const auto found = events_.find(event);
    if (found == events_.end()) return violate("destroyed what is no event");
    // Streams may still wait for it.
    ended_events_.push_back(std::move(found->second));
    events_.erase(found);
  }
  void record(EventState* event, StreamState* stream) {
    {
      const std::lock_guard lock(mutex_);
      ++event->recorded;
    }
    put(stream, [this, event](StreamState&) {
      const std::lock_guard lock(mutex_);
      ++event->happened;
      changed_.notify_all();
    });
  }
  void wait_in_stream(StreamState* stream, EventState* event) {
    // What was recorded until now, and not what is later: events are used again.
    std::uint64_t until = 0;
    {
      const std::lock_guard lock(mutex_);
      until = event->recorded;
    }
    put(stream, [this, event, until](StreamState&) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return event->happened >= until; });
    });
  }
  void wait_for(EventState* event) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return event->happened == event->recorded; });
  }
  bool is_done(EventState* event) {
    const std::lock_guard lock(mutex_);
    return event->happened == event->recorded;
  }
  void wait_for_stream(StreamState* stream) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stream->work.empty() && !stream->is_busy; });
  }
  void wait_for_device() {
    std::unique_lock lock(mutex_);
    const int device = current->device;
    changed_.wait(lock, [&] {
      return std::all_of(streams_.begin(), streams_.end(), [&](const auto& one) {
        return one.second->context->device != device ||
               (one.second->work.empty() && !one.second->is_busy);
      });
    });
  }

  // ---- Copies ----

  struct Side {
    std::byte* at;
    std::uint64_t pitch;
    bool is_on_device;
  };

  // In the stream's own time. The source must not change before that.
  void copy(Side to, Side from, std::uint64_t row_bytes, std::uint64_t rows, StreamState* stream) {
    const auto sum = [=] {
      std::size_t all = 0;
      for (std::uint64_t row = 0; !from.is_on_device && row < rows; ++row) {
        all = all * 31 + std::hash<std::string_view>()(std::string_view(
                             reinterpret_cast<const char*>(from.at + row * from.pitch), row_bytes));
      }
      return all;
    };
    put(stream, [=, this, before = sum()](StreamState& in) {
      const std::uint32_t longest = options_.longest_delay_us;
      std::this_thread::sleep_for(
          std::chrono::microseconds(longest == 0 ? 0 : in.random() % longest));
      if (options_.copy_seconds_per_byte != 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(
            static_cast<double>(row_bytes * rows) * options_.copy_seconds_per_byte));
      }
      const std::lock_guard lock(mutex_);
      if (sum() != before) violate("a segment changed while its copy was on its way");
      for (const Side& side : {to, from}) {
        if (!side.is_on_device) continue;
        const Allocation* const found = allocation_of(side.at, (rows - 1) * side.pitch + row_bytes);
        if (found == nullptr || found->device != in.context->device)
          return violate("a copy of memory that is not the device's, or was freed");
      }
      for (std::uint64_t row = 0; row < rows; ++row)
        std::memcpy(to.at + row * to.pitch, from.at + row * from.pitch, row_bytes);
    });
  }

  // Called by tests and calls alike, with the lock.
  void violate(const std::string& what) {
    violations_.push_back(what);
    if (is_steered_) return;
    std::fprintf(stderr, "stand-in for libcuda.so.1: %s\n", what.c_str());
    std::abort();
  }
  void violate_unlocked(const std::string& what) {
    const std::lock_guard lock(mutex_);
    violate(what);
  }

 private:
  void begin_from_environment() {
    StandInOptions options;
    options.longest_delay_us = 20;
    const char* const text = std::getenv("STAND_IN_CUDA");
    std::istringstream words(text == nullptr ? "" : text);
    std::string failing;
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
      if (name == "fail") {
        failing = value;
        continue;
      }
      const auto number = std::strtoull(value.c_str(), nullptr, 10);
      if (name == "devices")
        options.devices = static_cast<int>(number);
      else if (name == "version")
        options.version = static_cast<int>(number);
      else if (name == "init")
        options.init_status = static_cast<int>(number);
      else if (name == "delay_us")
        options.longest_delay_us = static_cast<std::uint32_t>(number);
      else if (name == "memory")
        options.memory_bytes = number;
      else if (name == "pools")
        options.has_pools = number != 0;
      else {
        std::fprintf(stderr, "STAND_IN_CUDA has no %s\n", name.c_str());
        std::abort();
      }
    }
    options.memory_bytes = std::min<std::uint64_t>(options.memory_bytes, std::uint64_t{1} << 36);
    reset(options);
    if (failing.empty()) return;
    std::replace(failing.begin(), failing.end(), ':', ' ');
    std::istringstream parts(failing);
    parts >> failing_ >> fails_at_ >> status_;
    is_sticky_ = true;
  }

  void reset(const StandInOptions& options) {
    options_ = options;
    random_.seed(options.seed);
    calls_.clear();
    violations_.clear();
    failing_.clear();
    has_failed_ = false;
    is_started_ = false;
    ++beginnings_;
    current = nullptr;
    for (const auto& context : contexts_)
      context->is_active = false;
    visible_.clear();
  }

  // As the driver reads it: numbers, up to the first that is none of a device.
  void make_visible() {
    visible_.clear();
    const char* const given = is_steered_ ? nullptr : std::getenv("CUDA_VISIBLE_DEVICES");
    if (given == nullptr) {
      for (int device = 0; device < options_.devices; ++device)
        visible_.push_back(device);
    } else {
      std::istringstream numbers(given);
      for (std::string number; std::getline(numbers, number, ',');) {
        char* end = nullptr;
        const long device = std::strtol(number.c_str(), &end, 10);
        if (number.empty() || *end != '\0' || device < 0 || device >= options_.devices) break;
        visible_.push_back(static_cast<int>(device));
      }
    }
    while (contexts_.size() < visible_.size()) {
      contexts_.push_back(std::make_unique<DeviceContext>());
      contexts_.back()->device = static_cast<int>(contexts_.size()) - 1;
    }
  }

  DeviceContext* retained(int device) {
    if (visible_.empty()) make_visible();
    DeviceContext* const context = contexts_[static_cast<std::size_t>(device)].get();
    context->is_active = true;
    return context;
  }

  void end_everything() {
    std::map<StreamState*, std::unique_ptr<StreamState>> streams;
    {
      const std::lock_guard lock(mutex_);
      streams.swap(streams_);
    }
    for (auto& [stream, state] : streams)
      end(*state);
    const std::lock_guard lock(mutex_);
    // A device that was lost took no call to free it.
    for (const auto& [memory, allocation] : memory_)
      ::operator delete(memory, std::align_val_t(512));
    memory_.clear();
    pinned_.clear();
    events_.clear();
    ended_events_.clear();
  }

  std::uint64_t used_bytes(int device) const {
    std::uint64_t used = 0;
    for (const auto& [begin, allocation] : memory_)
      used += allocation.device == device ? allocation.bytes : 0;
    return used;
  }
  const Allocation* allocation_of(const std::byte* at, std::uint64_t bytes) const {
    auto next = memory_.upper_bound(const_cast<std::byte*>(at));
    if (next == memory_.begin()) return nullptr;
    const auto& [begin, allocation] = *--next;
    return at + bytes <= begin + allocation.bytes ? &allocation : nullptr;
  }

  void put(StreamState* stream, std::function<void(StreamState&)> what) {
    const std::lock_guard lock(mutex_);
    stream->work.push_back(std::move(what));
    has_work_.notify_all();
  }
  void run(StreamState& stream) {
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
      changed_.notify_all();
    }
  }
  // What stands in the stream is still done.
  void end(StreamState& stream) {
    {
      const std::lock_guard lock(mutex_);
      stream.is_ending = true;
      has_work_.notify_all();
    }
    stream.thread.join();
  }

  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable changed_;
  StandInOptions options_;
  bool is_steered_ = false;
  bool is_started_ = false;
  std::uint64_t beginnings_ = 0;
  std::mt19937_64 random_;
  std::vector<int> visible_;  // by number of the process, that of the machine
  std::vector<std::unique_ptr<DeviceContext>> contexts_;
  std::vector<std::unique_ptr<DeviceContext>> others_;
  std::map<std::byte*, Allocation> memory_;
  std::map<std::byte*, std::uint64_t> pinned_;
  std::map<StreamState*, std::unique_ptr<StreamState>> streams_;
  std::map<EventState*, std::unique_ptr<EventState>> events_;
  std::vector<std::unique_ptr<EventState>> ended_events_;
  std::map<std::string, int, std::less<>> calls_;
  std::vector<std::string> violations_;
  std::string failing_;
  int fails_at_ = 0;
  int status_ = 0;
  bool is_sticky_ = false;
  bool has_failed_ = false;
};

}  // namespace

}  // namespace streamer::test
