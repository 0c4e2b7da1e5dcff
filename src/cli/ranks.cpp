// SPDX-License-Identifier: Apache-2.0
#include "cli/ranks.hpp"

#include <array>
#include <cstring>

namespace streamer::cli {

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
  if (own.device == "cuda:rank") own.device = fmt::format("cuda:{}", communicator_->rank());
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

Result<std::vector<LoadStats>> Ranks::gather(const LoadStats& mine) const {
  std::vector<LoadStats> all = {mine};
  if (is_alone()) return all;
  all.resize(communicator_->size());
  const streamer_communicator& table = *communicator_->get();
  constexpr std::uint64_t kTimeoutMs = 60'000;
  std::array<char, 256> why{};
  if (table.all_gather(table.context, &mine, all.data(), sizeof mine, kTimeoutMs, why.data(),
                       why.size()) != STREAMER_OK) {
    // Says that the ranks no longer hear each other, in the library's words.
    auto agreed = communicator_->agree(nullptr, settings_);
    if (!agreed) return std::move(agreed).error();
  }
  // Pointers are of no use in another process.
  for (LoadStats& stats : all)
    stats.notes = "";
  return all;
}

}  // namespace streamer::cli
