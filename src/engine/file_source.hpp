// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads bytes of files: threads that each have several reads in flight.

#include "engine/chunk_queue.hpp"
#include "engine/file_set.hpp"
#include "engine/load_settings.hpp"
#include "engine/source_parts.hpp"

namespace streamer::core::inline engine {

class FileSource final : public Source {
 public:
  explicit FileSource(SourceParts parts);

  [[nodiscard]] std::string_view name() const noexcept override { return "read"; }
  [[nodiscard]] std::uint32_t threads() const noexcept override { return threads_; }
  void run(std::uint32_t number, ReaderCounters& mine) override;

 private:
  Landing& landing_;
  Staging* const staging_;
  const LoadSettings& settings_;
  const std::uint64_t buffer_bytes_;  // of each thread
  ChunkQueue chunks_;
  FileSet files_;
  const std::uint32_t threads_;
};

}  // namespace streamer::core::inline engine
