// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a load behaves: plain values with defaults that need no tuning.

#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"
#include "settings.hpp"

namespace streamer {

// The order in which Load::next() yields items.
enum class Order : std::int32_t {
  completion = STREAMER_ORDER_COMPLETION,  // each as soon as its last byte has arrived
  plan = STREAMER_ORDER_PLAN,              // in the order in which the load reads
};

// The order in which the load reads.
enum class ReadOrder : std::int32_t {
  storage = STREAMER_READ_STORAGE_ORDER,  // by object and offset: the fastest
  item = STREAMER_READ_ITEM_ORDER,        // in the order in which the items were added
};

// What Load::next() does when tensors held by the caller use up the memory limit.
enum class WhenFull : std::int32_t {
  fail = STREAMER_WHEN_FULL_FAIL,  // error memory_limit; release tensors, then go on
  wait = STREAMER_WHEN_FULL_WAIT,  // waits until another thread releases tensors
};

// How much host memory a load may hold between storage and the release of its tensors.
class MemoryLimit {
 public:
  // 80 % of what the machine and its control group have free when the load starts.
  static MemoryLimit automatic() { return MemoryLimit("auto"); }
  static MemoryLimit unlimited() { return MemoryLimit("unlimited"); }
  // The largest item.
  static MemoryLimit minimum() { return MemoryLimit("minimum"); }
  static MemoryLimit bytes(std::uint64_t bytes) {
    return bytes == 0 ? minimum() : MemoryLimit(std::to_string(bytes));
  }

  const std::string& text() const noexcept { return text_; }

 private:
  explicit MemoryLimit(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

class Communicator;

struct LoadOptions {
  Order order = Order::completion;
  ReadOrder read_order = ReadOrder::storage;
  WhenFull when_full = WhenFull::fail;

  // A field that is not set is inherited from the checkpoint; failing that, it comes from the
  // environment or the library chooses.
  std::optional<MemoryLimit> memory_limit = std::nullopt;
  std::optional<std::uint32_t> concurrency = std::nullopt;    // readers, 1 to 1024
  std::optional<std::uint64_t> max_bandwidth = std::nullopt;  // bytes per second, from 65536
  // For items that have neither a destination nor a device of their own.
  Device device = host();
  // A stream of that device (cudaStream_t), valid until the load ends. Without one, a yielded
  // tensor's bytes are there for every stream. With one, a tensor is yielded as soon as its copies
  // are under way, and work queued on the stream from then on finds its bytes there.
  void* stream = nullptr;
  // The ranks that share the load; nullptr: only this process. Must outlive the load.
  const Communicator* communicator = nullptr;
  // Where host memory for tensors comes from; nullptr: the system. Called once when the load
  // starts, and once, on any thread, when neither the load nor any of its tensors uses the memory;
  // must outlive that call.
  std::pmr::memory_resource* host_memory = nullptr;
  // Any other load setting (all_settings()), by name; wins over the fields above, and both win over
  // the settings the checkpoint was opened with. A setting of the store or of the checkpoint is
  // invalid_argument: it belongs to Checkpoint::open().
  std::vector<std::pair<std::string, std::string>> settings = {};

  // The fields as Settings; fails with the error of the first one that is refused.
  Result<Settings> to_settings() const {
    Settings made;
    std::vector<std::pair<std::string, std::string>> pairs;
    if (memory_limit) pairs.emplace_back("memory_limit", memory_limit->text());
    if (concurrency) pairs.emplace_back("concurrency", std::to_string(*concurrency));
    if (max_bandwidth) pairs.emplace_back("max_bandwidth", std::to_string(*max_bandwidth));
    pairs.insert(pairs.end(), settings.begin(), settings.end());
    for (const auto& [name, value] : pairs) {
      auto set = made.set(name, value);
      if (!set) return std::move(set).error();
    }
    return made;
  }
};

}  // namespace streamer
