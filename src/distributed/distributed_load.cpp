// SPDX-License-Identifier: Apache-2.0
#include "distributed/distributed_load.hpp"

#include <fmt/format.h>

#include <utility>

#include "checkpoint/checkpoint_digest.hpp"
#include "distributed/agreement.hpp"
#include "distributed/exchange.hpp"
#include "distributed/loaded_units.hpp"
#include "engine/sources.hpp"
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline distributed {

namespace {

// What this rank needs, if it can be loaded this way.
Result<std::vector<Need>> find_needs(const Communicator& communicator, const Checkpoint& checkpoint,
                                     const std::vector<PlanRequest>& requests,
                                     const LoadSettings& settings) {
  for (const PlanRequest& request : requests) {
    if (request.device == communicator.device()) continue;
    return Error(
        ErrorKind::unsupported,
        fmt::format("tensor \"{}\" is to go to {}, but this communicator passes bytes on in {}",
                    checkpoint.tensors[request.tensor].name, device_name(request.device),
                    device_name(communicator.device())));
  }
  TRY(coalesce_gap_bytes(checkpoint, settings));
  if (settings.get(setting::kVerify)) {
    return Error(ErrorKind::unsupported,
                 "verify needs whole files, but each rank reads only a share of them: verify with "
                 "a load of one rank");
  }
  const ReadingList list = TRY(make_reading_list(checkpoint.tensors, requests, false));
  return needs_of(list.wanted);
}

}  // namespace

Result<std::unique_ptr<Load>> start_distributed(Communicator& communicator,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                std::vector<PlanRequest> requests,
                                                LoadOptions options, const LoadSettings& settings,
                                                const DistributedSettings& distributed) {
  if (communicator.size() == 1)
    return Load::start(std::move(checkpoint), std::move(requests), options, settings);
  const auto timeout = distributed.get(setting::kDistributedTimeoutS);
  const std::uint64_t buffer_bytes = distributed.get(setting::kDistributedBufferBytes);
  for (PlanRequest& request : requests) {
    if (request.destination == nullptr && request.device == kHost) request.device = options.device;
    request.priority = 0;  // the order is that of all ranks together
  }
  const auto gap_bytes = coalesce_gap_bytes(*checkpoint, settings);
  auto mine = find_needs(communicator, *checkpoint, requests, settings);
  const auto digest = mine ? digest_of(*checkpoint) : mine.error().copy();
  TRY(agree(communicator, digest ? nullptr : &digest.error(), timeout));
  const ScheduleOptions wanted{.ranks = communicator.size(),
                               .policy = distributed.get(setting::kDistributedPartition),
                               .buffer_bytes = buffer_bytes,
                               .gap_bytes = *gap_bytes};
  auto needs = TRY(gather_needs(communicator, *checkpoint, *digest, *mine, wanted, timeout));
  const std::vector<Need> united = unite(needs, wanted.gap_bytes);
  Schedule schedule = make_schedule(united, wanted);

  // From here on the other ranks learn of a failure, because they agree before the first round.
  const auto start = [&]() -> Result<std::unique_ptr<Load>> {
    GpuRuntime* gpu = nullptr;
    if (!communicator.device().is_host()) gpu = TRY(runtime_of(communicator.device(), options.gpu));
    auto own = TRY(load_own_units(*checkpoint, schedule, communicator.rank(), communicator.device(),
                                  options, settings, buffer_bytes));
    auto exchange = std::make_shared<Exchange>(
        communicator, std::move(schedule), std::move(needs), std::move(own),
        Exchange::Options{.timeout = timeout,
                          .device = communicator.device(),
                          .gpu = gpu,
                          .consumer_stream = options.consumer_stream});
    options.order = Order::plan;
    options.source = std::move(exchange);
    return Load::start(std::move(checkpoint), std::move(requests), options, settings);
  };
  auto load = start();
  if (!load) {
    static_cast<void>(agree(communicator, &load.error(), timeout));
  }
  return load;
}

}  // namespace streamer::core::inline distributed
