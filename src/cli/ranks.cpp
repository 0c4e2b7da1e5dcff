// SPDX-License-Identifier: Apache-2.0
#include "cli/ranks.hpp"

#include <algorithm>
#include <array>

namespace streamer::cli {

std::uint64_t LoadFigures::operator[](std::string_view name) const {
  const std::vector<StatInfo> all = all_stats();
  for (std::size_t i = 0; i < std::min(all.size(), values.size()); ++i) {
    if (all[i].name == name) return values[i];
  }
  return 0;  // a library that no longer counts it
}

Result<Ranks> Ranks::open(const LoadArguments& arguments) {
  Ranks ranks;
  if (!arguments.is_distributed) return ranks;
  auto settings = make_settings(arguments.settings);
  if (!settings) return std::move(settings).error();
  ranks.settings_ = *std::move(settings);
  auto communicator = Communicator::mpi(nullptr, ranks.settings_);
  if (!communicator) return std::move(communicator).error();
  ranks.communicator_.emplace(*std::move(communicator));
  return ranks;
}

Result<LoadRequest> Ranks::make_request(const LoadArguments& arguments) {
  if (is_alone()) return cli::make_request(arguments);
  LoadArguments own = arguments;
  const std::string of_rank = "rank";
  if (own.device.ends_with(":" + of_rank))
    own.device.replace(own.device.size() - of_rank.size(), of_rank.size(),
                       std::to_string(communicator_->rank()));
  auto request = cli::make_request(own);
  auto agreed = communicator_->agree(request ? nullptr : &request.error(), settings_);
  if (!agreed) return std::move(agreed).error();
  request->options.communicator = &*communicator_;
  if (request->options.device.kind != Device::Kind::cuda) return request;
  auto devices = Communicator::nccl(*communicator_, request->options.device, settings_);
  if (!devices) return std::move(devices).error();
  devices_.emplace(*std::move(devices));
  request->options.communicator = &*devices_;
  return request;
}

Result<void> Ranks::gather_bytes(const void* mine, void* all, std::size_t bytes) const {
  const streamer_communicator& table = *communicator_->get();
  constexpr std::uint64_t kTimeoutMs = 60'000;
  std::array<char, 256> why{};
  if (table.all_gather(table.context, mine, all, bytes, kTimeoutMs, why.data(), why.size()) ==
      STREAMER_OK) {
    return {};
  }
  // The library's error if the ranks can no longer reach each other.
  return communicator_->agree(nullptr, settings_);
}

Result<std::vector<LoadFigures>> Ranks::gather(const LoadFigures& mine) const {
  if (is_alone()) return std::vector<LoadFigures>{mine};
  const std::size_t ranks = communicator_->size();
  const std::size_t count = mine.values.size();
  std::vector<LoadStats> stats(ranks, mine.stats);
  std::vector<std::uint64_t> values(ranks * count);
  auto gathered = gather_bytes(&mine.stats, stats.data(), sizeof(LoadStats));
  if (gathered)
    gathered = gather_bytes(mine.values.data(), values.data(), count * sizeof(std::uint64_t));
  if (!gathered) return std::move(gathered).error();
  std::vector<LoadFigures> all;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    // Pointers are of no use in another process.
    stats[rank].notes = "";
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(rank * count);
    all.push_back({stats[rank], {first, first + static_cast<std::ptrdiff_t>(count)}});
  }
  return all;
}

}  // namespace streamer::cli
