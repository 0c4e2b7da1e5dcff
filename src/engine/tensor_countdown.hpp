// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decides whether a chunk was the item's last one.

#include <atomic>
#include <cstdint>

namespace streamer::core::inline engine {

template <template <typename> class Atomic = std::atomic>
class BasicTensorCountdown {
 public:
  BasicTensorCountdown() = default;

  // Must be called before any other thread sees it.
  void start(std::uint32_t chunks) noexcept {
    chunks_left_.store(chunks, std::memory_order_relaxed);
  }

  // Any reader, once per chunk of the item, after the chunk's bytes are in place. True exactly
  // once.
  // of: the argument of start().
  bool chunk_landed(std::uint32_t of) noexcept {
    if (of == 1) {
      // Nobody else counts: release alone publishes the bytes.
      chunks_left_.store(0, std::memory_order_release);
      return true;
    }
    // release: publishes this chunk's bytes. acquire: the thread that reaches zero sees the bytes
    // of all others, because each fetch_sub continues the release sequence of those before it.
    return chunks_left_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  // Any thread. Once true, the item's bytes are visible to the caller.
  [[nodiscard]] bool is_complete() const noexcept {
    // acquire: pairs with the release of every chunk_landed() before the last.
    return chunks_left_.load(std::memory_order_acquire) == 0;
  }

 private:
  Atomic<std::uint32_t> chunks_left_{0};
};

using TensorCountdown = BasicTensorCountdown<>;

}  // namespace streamer::core::inline engine
