// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a load behaves: plain values, with defaults that need no tuning.

#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"
#include "settings.hpp"

namespace streamer {

// How items come out of Load::next().
enum class Order : std::int32_t {
  completion = STREAMER_ORDER_COMPLETION,  // as soon as each one's last byte is there
  plan = STREAMER_ORDER_PLAN,              // in the order in which the load reads
};

// In which order the load reads.
enum class ReadOrder : std::int32_t {
  storage = STREAMER_READ_STORAGE_ORDER,  // by object and offset: the fastest
  item = STREAMER_READ_ITEM_ORDER,        // as the items were added
};

// What Load::next() does when the memory limit is used up by tensors that the caller holds.
enum class WhenFull : std::int32_t {
  fail = STREAMER_WHEN_FULL_FAIL,  // error memory_limit; release, then go on
  wait = STREAMER_WHEN_FULL_WAIT,  // waits for another thread to release
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

  // What is not set here is as the checkpoint was opened, else comes from the environment or is
  // chosen by the library.
  std::optional<MemoryLimit> memory_limit = std::nullopt;
  std::optional<std::uint32_t> concurrency = std::nullopt;    // readers, 1 to 1024
  std::optional<std::uint64_t> chunk_bytes = std::nullopt;    // of one read request, from 4096
  std::optional<std::uint64_t> max_bandwidth = std::nullopt;  // bytes per second, from 65536
  // Where items go that name neither a destination nor a device.
  Device device = host();
  // A stream of that device (cudaStream_t), valid until the load ended. Without one, a tensor's
  // bytes are there for every stream once it is yielded. With one, a tensor is yielded as soon as
  // its copies are on their way, and what is put into the stream from then on finds its bytes
  // there.
  void* stream = nullptr;
  // The ranks that share the load; nullptr: it is this process's alone. Must outlive the load.
  const Communicator* communicator = nullptr;
  // Where host memory for tensors comes from; nullptr: the system. Used once, when the load starts,
  // and once on any thread, when neither the load nor a tensor of it uses the memory any more; must
  // outlive that.
  std::pmr::memory_resource* host_memory = nullptr;
  // Any other setting of loads (all_settings()), by name; wins over the fields above, and both win
  // over what the checkpoint was opened with. A setting of the store or of the checkpoint is
  // invalid_argument: it belongs to Checkpoint::open().
  std::vector<std::pair<std::string, std::string>> settings = {};

  // The fields as Settings; the first one that is refused is the error.
  Result<Settings> to_settings() const {
    Settings made;
    std::vector<std::pair<std::string, std::string>> pairs;
    if (memory_limit) pairs.emplace_back("memory_limit", memory_limit->text());
    if (concurrency) pairs.emplace_back("concurrency", std::to_string(*concurrency));
    if (chunk_bytes) pairs.emplace_back("chunk_bytes", std::to_string(*chunk_bytes));
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
