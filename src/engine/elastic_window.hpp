// SPDX-License-Identifier: Apache-2.0
#pragma once
// A window over host memory that is reused. The line of positions is cut into blocks. A block gets
// memory when it is admitted, and returns it once all of its items have been released; used memory
// is handed out again before new memory is touched. How far readers run ahead is limited by the
// bytes that were admitted and not yet yielded. So a consumer that releases its tensors sees the
// same few hundred MB at any model size, and one that keeps everything gets everything, up to the
// limit, without a copy.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/guarded.hpp"
#include "engine/plan.hpp"
#include "engine/process_share.hpp"

namespace streamer::core::inline engine {

class ElasticWindow {
 public:
  struct Limits {
    // Bytes admitted and not yet yielded; doubled whenever the consumer starves behind a closed
    // window.
    std::uint64_t first_ahead_bytes = 0;
    // The limit on memory in use at once; 0: none. At least the largest block.
    std::uint64_t most_bytes = 0;
    // How much released memory is kept for the next blocks.
    std::uint64_t most_kept_bytes = 0;
  };
  // Receives memory whose pages will not be used for a while.
  using GiveBack = std::function<void(std::uint64_t offset, std::uint64_t bytes)>;

  // The plan of these blocks must outlive this, and so must `share`, from which it takes the memory
  // that it uses; nullptr: no other loads share it.
  ElasticWindow(std::span<const Block> blocks, const Limits& limits, GiveBack give_back,
                LoadShare* share = nullptr);

  // Any reader. Whether bytes up to position_end may be written. Once true it stays true.
  [[nodiscard]] bool admits(std::uint64_t position_end) const noexcept {
    // acquire: pairs with the release in advance(), which makes visible where the blocks' memory
    // is, and that its previous users are done with it.
    return position_end <= admitted_end_.load(std::memory_order_acquire);
  }
  // Any reader that is not admitted: the same, after moving the window as far as it can go.
  // starves: the consumer waits, and nothing is there for it.
  [[nodiscard]] bool advance(std::uint64_t position_end, bool starves) noexcept;

  // The consumer, once per item that has bytes, when it is handed out. True if a reader found the
  // window closed and may now find that it moved.
  [[nodiscard]] bool yielded(std::uint64_t bytes) noexcept;
  // Any thread, once per item that has bytes, when it is no longer held. position: where it lies.
  // True as above.
  [[nodiscard]] bool released(std::uint64_t position) noexcept;

  // The offset in the arena of a position of an admitted block.
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t position) const noexcept {
    const std::size_t block = block_of(position);
    return states_[block].offset + (position - blocks_[block].begin);
  }

  // Any thread. Whether the limit leaves no room for the next block.
  [[nodiscard]] bool is_full();
  [[nodiscard]] std::uint64_t ahead_bytes() const noexcept {
    return most_ahead_.load(std::memory_order_relaxed);
  }
  // The bytes of the arena, from its beginning, that were ever handed out.
  [[nodiscard]] std::uint64_t touched_bytes() const noexcept {
    return touched_.load(std::memory_order_relaxed);
  }

 private:
  struct BlockState {
    std::uint64_t offset = 0;  // in the arena; written before the block is admitted
    std::atomic<std::uint32_t> held{0};
  };
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  struct Memory {
    std::vector<Range> free;  // what was used, by offset, neighbours joined; has room for all
    std::uint64_t free_bytes = 0;
    std::uint64_t in_use_bytes = 0;
    std::size_t next_block = 0;
  };

  [[nodiscard]] std::size_t block_of(std::uint64_t position) const noexcept;
  [[nodiscard]] bool has_room(const Memory& memory, const Block& block) const noexcept;
  [[nodiscard]] bool may_admit(const Memory& memory, const Block& block, bool starves) noexcept;
  std::uint64_t take(Memory& memory, std::uint64_t bytes) noexcept;
  void give(Memory& memory, Range range) noexcept;

  const std::span<const Block> blocks_;
  const std::unique_ptr<BlockState[]> states_;  // by block
  const Limits limits_;
  const GiveBack give_back_;
  LoadShare* const share_;
  Guarded<Memory> memory_;
  std::atomic<std::uint64_t> most_ahead_;
  std::atomic<std::uint64_t> touched_{0};
  alignas(64) std::atomic<std::uint64_t> admitted_end_{0};
  alignas(64) std::atomic<std::uint64_t> ahead_{0};  // admitted and not yielded
  std::atomic<bool> is_shut_{false};                 // a reader found it so since it last moved
};

}  // namespace streamer::core::inline engine
