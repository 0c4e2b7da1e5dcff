// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads bytes over a network: threads that each have many requests in flight.

#include <string>
#include <vector>

#include "engine/chunk_queue.hpp"
#include "engine/load_settings.hpp"
#include "engine/network_share.hpp"
#include "engine/source_parts.hpp"

namespace streamer::core::inline engine {

class NetworkSource final : public Source {
 public:
  static Result<std::unique_ptr<Source>> make(SourceParts parts);

  [[nodiscard]] std::string_view name() const noexcept override { return "net"; }
  [[nodiscard]] std::uint32_t threads() const noexcept override { return threads_; }
  void set_threads(std::uint32_t threads) noexcept override { share_.set_readers(threads); }
  void run(std::uint32_t number, ReaderCounters& mine) override;
  void add_to(LoadStats& stats) const override;
  [[nodiscard]] std::string notes() const override;

 private:
  NetworkSource(SourceParts parts, std::uint32_t threads);

  Landing& landing_;
  Staging* const staging_;
  const std::span<const SourceObject> objects_;
  const LoadSettings& settings_;
  ChunkQueue chunks_;
  const std::uint32_t threads_;
  NetworkShare share_;
  const std::uint32_t most_connections_;
  IdleLoops* const loops_;
  Operation* operation_ = nullptr;  // ends waits of threads outside their event loops
  std::vector<WakeFd*> wakes_;      // by thread
};

}  // namespace streamer::core::inline engine
