// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads what the machine's cache has of remote objects (storage/cache/): past the page cache,
// several threads at once, each block checked. A block that is not what was written is fetched from
// the store.

#include "engine/blocking_source.hpp"

namespace streamer::core::inline engine {

class CachedSource final : public BlockingSource {
 public:
  static Result<std::unique_ptr<Source>> make(SourceParts parts);

  [[nodiscard]] std::string_view name() const noexcept override { return "cache"; }

 private:
  explicit CachedSource(SourceParts parts) : BlockingSource(std::move(parts)) {}
  Result<void> read(const Chunk& chunk, std::byte* to, PageBuffer& spare,
                    ReaderCounters& mine) override;
};

}  // namespace streamer::core::inline engine
