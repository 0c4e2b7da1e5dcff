// SPDX-License-Identifier: Apache-2.0
#include "distributed/distributed_load.hpp"

#include <fmt/format.h>

#include <utility>

#include "distributed/agreement.hpp"
#include "distributed/exchange.hpp"

namespace streamer::core {

namespace {

std::string device_name(std::int32_t device) {
  return device == kHost ? "host memory" : fmt::format("cuda:{}", device);
}

// What this rank needs, and whether it can be had this way.
Result<std::vector<Need>> find_needs(const Communicator& communicator, const Checkpoint& checkpoint,
                                     const std::vector<PlanRequest>& requests,
                                     const LoadSettings& settings) {
  for (const PlanRequest& request : requests) {
    if (request.device == communicator.device()) continue;
    return Error(
        ErrorKind::unsupported,
        fmt::format("tensor \"{}\" shall go to {}, and this communicator passes bytes on in {}",
                    checkpoint.tensors[request.tensor].name, device_name(request.device),
                    device_name(communicator.device())));
  }
  TRY(coalesce_gap_bytes(checkpoint, settings));
  if (!settings.verify.empty()) {
    return Error(ErrorKind::unsupported,
                 "verify needs whole files, of which each rank reads a share: verify with a load "
                 "of one rank");
  }
  const ReadingList list = TRY(make_reading_list(checkpoint.tensors, requests, false));
  return needs_of(list.wanted);
}

// A checkpoint whose tensors are this rank's units, in their order, and a request for each.
struct Share {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<PlanRequest> requests;
};

Share make_share(const Checkpoint& all, const Schedule& schedule, std::uint32_t rank,
                 std::int32_t device) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->stores = all.stores;
  for (const CheckpointObject& entry : all.objects)
    checkpoint->objects.emplace_back().object = entry.object;
  Share share;
  for (const Unit& unit : schedule.units) {
    if (unit.owner != rank) continue;
    // Columns of rows: a slice of a matrix whose rows lie as far apart as they do.
    const StridedRange& range = unit.range;
    const std::array<std::uint64_t, 2> shape = {range.count, range.stride_bytes};
    checkpoint->tensors.add({.name = fmt::format("{} bytes of rank {}", range.total_bytes(), rank),
                             .dtype = Dtype::u8,
                             .shape = shape,
                             .object = unit.object,
                             .bytes = {range.offset, range.count * range.stride_bytes}});
    share.requests.push_back({.tensor = checkpoint->tensors.size() - 1,
                              .part = range.count == 1 ? Part::whole : Part::slice,
                              .dimension = 1,
                              .start = 0,
                              .stop = range.run_bytes,
                              .device = device});
  }
  // Nobody looks for them by name.
  static_cast<void>(checkpoint->tensors.finish());
  share.checkpoint = std::move(checkpoint);
  return share;
}

// The load that reads them, two rounds ahead or more.
Result<std::unique_ptr<Load>> start_share(Share share, const Schedule& schedule,
                                          const LoadOptions& options, LoadSettings settings,
                                          std::uint64_t buffer_bytes) {
  const std::uint64_t ahead = std::max(buffer_bytes, 2 * schedule.share_bytes);
  settings.memory_limit = {MemoryLimit::Mode::bytes, ahead};
  settings.device_memory_limit = ahead;
  settings.device_alignment_bytes = kReadAlignment;
  settings.tensor_alignment_bytes = 0;
  // What lies between two units is another rank's.
  settings.coalesce_gap_bytes = 0;
  const LoadOptions reading{.order = Order::plan,
                            .read_order = ReadOrder::item,
                            .when_full = WhenFull::wait,
                            .limits_tensors_alone = true,
                            .cuda = options.cuda};
  return Load::start(std::move(share.checkpoint), std::move(share.requests), reading, settings);
}

}  // namespace

Result<std::unique_ptr<Load>> start_distributed(Communicator& communicator,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                std::vector<PlanRequest> requests,
                                                LoadOptions options, const LoadSettings& settings,
                                                const DistributedSettings& distributed) {
  if (communicator.size() == 1)
    return Load::start(std::move(checkpoint), std::move(requests), options, settings);
  for (PlanRequest& request : requests) {
    if (request.destination == nullptr && request.device == kHost) request.device = options.device;
  }
  const auto gap_bytes = coalesce_gap_bytes(*checkpoint, settings);
  auto mine = find_needs(communicator, *checkpoint, requests, settings);
  TRY(agree(communicator, mine ? nullptr : &mine.error(), distributed.timeout));
  const ScheduleOptions wanted{
      .ranks = communicator.size(),
      .policy = distributed.partition_by_file ? PartitionPolicy::files : PartitionPolicy::chunks,
      .buffer_bytes = distributed.buffer_bytes,
      .gap_bytes = *gap_bytes};
  auto needs = TRY(gather_needs(communicator, *checkpoint, *mine, wanted, distributed.timeout));
  const std::vector<Need> united = unite(needs, wanted.gap_bytes);
  Schedule schedule = make_schedule(united, wanted);

  // From here on a failure is told to the others, who agree before the first round.
  const auto start = [&]() -> Result<std::unique_ptr<Load>> {
    CudaRuntime* cuda = options.cuda;
    if (communicator.device() != kHost && cuda == nullptr) cuda = TRY(cuda_runtime());
    auto source = TRY(
        start_share(make_share(*checkpoint, schedule, communicator.rank(), communicator.device()),
                    schedule, options, settings, distributed.buffer_bytes));
    auto exchange =
        std::make_shared<Exchange>(communicator, std::move(schedule), std::move(needs),
                                   Exchange::Options{.timeout = distributed.timeout,
                                                     .device = communicator.device(),
                                                     .cuda = cuda,
                                                     .consumer_stream = options.consumer_stream});
    exchange->set_source(std::move(source));
    options.order = Order::plan;
    options.feeder = std::move(exchange);
    return Load::start(std::move(checkpoint), std::move(requests), options, settings);
  };
  auto load = start();
  if (!load) {
    static_cast<void>(agree(communicator, &load.error(), distributed.timeout));
  }
  return load;
}

}  // namespace streamer::core
