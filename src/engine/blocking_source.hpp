// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads bytes of any store through Store::read(): each thread waits for one read at a time. Used
// for stores that offer nothing else.

#include "engine/chunk_io.hpp"
#include "engine/chunk_queue.hpp"
#include "engine/source_parts.hpp"

namespace streamer::core::inline engine {

class BlockingSource : public Source {
 public:
  static Result<std::unique_ptr<Source>> make(SourceParts parts);

  [[nodiscard]] std::string_view name() const noexcept override { return "wait"; }
  [[nodiscard]] std::uint32_t threads() const noexcept override { return threads_; }
  void run(std::uint32_t number, ReaderCounters& mine) override;

 protected:
  explicit BlockingSource(SourceParts parts);
  // To end the waits inside stores.
  Result<void> open_operation();
  // The chunk's bytes to one place. spare: memory of the thread's own.
  virtual Result<void> read(const Chunk& chunk, std::byte* to, PageBuffer& spare,
                            ReaderCounters& mine);

  Landing& landing_;
  const std::span<const SourceObject> objects_;

 private:
  // Of one thread.
  struct Buffers {
    PageBuffer whole;  // for a chunk that goes to several places
    PageBuffer spare;
  };
  bool wait_until_admitted(const Chunk& chunk, ReaderCounters& mine);
  Result<void> bring(const Chunk& chunk, Buffers& buffers, ReaderCounters& mine);
  Result<void> bring_to_device(const Chunk& chunk, Buffers& buffers, ReaderCounters& mine);

  Staging* const staging_;
  ChunkQueue chunks_;
  const std::uint32_t threads_;
  Operation* operation_ = nullptr;  // ends the waits inside stores
};

}  // namespace streamer::core::inline engine
