// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "distributed/agreement.hpp"
#include "distributed/distributed_load.hpp"
#include "operation.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

Result<bool> check_choice(const char* field, int32_t value) {
  if (value == 0 || value == 1) return value == 1;
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is {}; it may be 0 or 1, as streamer.h names them", field, value));
}

Result<streamer_load_options> copy_of(const streamer_load_options* options) {
  const streamer_load_options defaults = STREAMER_LOAD_OPTIONS_INIT;
  if (options == nullptr) return defaults;
  return copy_in(options, defaults);
}

Result<core::LoadOptions> to_options(const streamer_load_options& given) {
  core::LoadOptions chosen;
  if (TRY(check_choice("order", given.order))) chosen.order = core::Order::plan;
  if (TRY(check_choice("read_order", given.read_order))) chosen.read_order = core::ReadOrder::item;
  if (TRY(check_choice("when_full", given.when_full))) chosen.when_full = core::WhenFull::wait;
  chosen.device = TRY(check_device(given.device));
  chosen.consumer_stream = given.stream;
  if (given.stream != nullptr && chosen.device == core::kHost)
    return Error(ErrorKind::invalid_argument,
                 "a stream is set but the device is the host; set device to that of the stream, or "
                 "leave stream NULL");
  if ((given.allocate == nullptr) != (given.release == nullptr))
    return Error(ErrorKind::invalid_argument,
                 "allocate and release belong together: set both, or neither");
  chosen.host_allocator = {given.allocate, given.release, given.allocator_user};
  return chosen;
}

// communicator: nullptr if the load is of this process alone.
Result<std::unique_ptr<core::Load>> start(const streamer_plan& plan,
                                          Result<core::LoadOptions> options,
                                          const core::Settings& given,
                                          core::Communicator* communicator) {
  const auto settings = plan.checkpoint->stores->settings().for_load(given);
  auto read = settings ? core::read_load_settings(*settings) : settings.error().copy();
  if (communicator == nullptr || communicator->size() == 1) {
    const core::LoadOptions chosen = TRY(std::move(options));
    const core::LoadSettings own = TRY(std::move(read));
    return core::Load::start(plan.checkpoint, plan.requests, chosen, own);
  }
  auto distributed =
      settings ? core::read_distributed_settings(*settings) : settings.error().copy();
  if (!options || !read || !distributed) {
    // Otherwise the other ranks would wait for this one.
    const Error& wrong = !options ? options.error() : !read ? read.error() : distributed.error();
    const auto timeout = (distributed ? *distributed : core::DistributedSettings())
                             .get(core::setting::kDistributedTimeoutS);
    TRY(core::agree(*communicator, &wrong, timeout));
  }
  return core::start_distributed(*communicator, plan.checkpoint, plan.requests, *std::move(options),
                                 *read, *distributed);
}

std::optional<core::SteadyTime> deadline_of(std::int64_t timeout_ms) {
  // More than a year counts as forever, which keeps the clock's arithmetic in range.
  constexpr std::int64_t kYearMs = 366LL * 24 * 3600 * 1000;
  if (timeout_ms == 0) return core::SteadyTime();
  if (timeout_ms < 0 || timeout_ms >= kYearMs) return std::nullopt;
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
}

streamer_status status_of(core::Load::Outcome outcome) {
  switch (outcome) {
    case core::Load::Outcome::tensor:
      return STREAMER_OK;
    case core::Load::Outcome::end:
      return STREAMER_END;
    case core::Load::Outcome::not_ready:
      break;
  }
  return STREAMER_NOT_READY;
}

}  // namespace

extern "C" {

streamer_status streamer_load_start(const streamer_plan* plan, const streamer_load_options* options,
                                    const streamer_settings* settings, streamer_load** load_out,
                                    streamer_error** error_out) {
  // verify=store asks for checksums first.
  return operate(
      "starting the load", settings, nullptr, error_out, [&]() -> Result<streamer_status> {
        STREAMER_REQUIRE(plan);
        STREAMER_REQUIRE(load_out);
        const streamer_load_options given = TRY(copy_of(options));
        std::unique_ptr<core::Communicator> communicator;
        if (given.communicator != nullptr) communicator = TRY(use_communicator(given.communicator));
        const core::Settings used = settings == nullptr ? core::Settings() : settings->settings;
        auto handle = std::make_unique<streamer_load>();
        handle->checkpoint_notes = joined_lines(plan->checkpoint->notes);
        handle->communicator = std::move(communicator);
        handle->load = TRY(start(*plan, to_options(given), used, handle->communicator.get()));
        handle->explanation = handle->load->explain();
        *load_out = handle.release();
        return STREAMER_OK;
      });
}

const char* streamer_load_explain(const streamer_load* load) {
  return load == nullptr ? "" : load->explanation.c_str();
}

streamer_status streamer_load_next(streamer_load* load, int64_t timeout_ms,
                                   streamer_tensor** tensor_out, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(load);
    STREAMER_REQUIRE(tensor_out);
    const core::Load::Next next = TRY(load->load->next(deadline_of(timeout_ms)));
    if (next.outcome == core::Load::Outcome::tensor) *tensor_out = to_handle(next.lease);
    return status_of(next.outcome);
  });
}

streamer_status streamer_load_next_many(streamer_load* load, int64_t timeout_ms, size_t capacity,
                                        streamer_tensor** tensors_out,
                                        streamer_tensor_view* views_out, size_t* count_out,
                                        streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(load);
    STREAMER_REQUIRE(tensors_out);
    STREAMER_REQUIRE(count_out);
    if (capacity == 0)
      return Error(ErrorKind::invalid_argument, "capacity is 0, which leaves no room for a tensor");
    if (views_out != nullptr) TRY(check_array_of<streamer_tensor_view>(views_out->struct_size));
    core::Load::Next next = TRY(load->load->next(deadline_of(timeout_ms)));
    if (next.outcome != core::Load::Outcome::tensor) return status_of(next.outcome);
    const std::size_t apart = views_out == nullptr ? 0 : views_out->struct_size;
    auto* view = reinterpret_cast<unsigned char*>(views_out);
    std::size_t count = 0;
    for (;;) {
      tensors_out[count] = to_handle(next.lease);
      if (view != nullptr) {
        streamer_tensor_get_view(tensors_out[count], reinterpret_cast<streamer_tensor_view*>(view));
        view += apart;
      }
      if (++count == capacity) break;
      auto another = load->load->next(core::SteadyTime());
      // An error that ends the load is returned by the next call.
      if (!another || another->outcome != core::Load::Outcome::tensor) break;
      next = *another;
    }
    *count_out = count;
    return STREAMER_OK;
  });
}

streamer_status streamer_load_fd(streamer_load* load, int* fd_out, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(load);
    STREAMER_REQUIRE(fd_out);
    *fd_out = TRY(load->load->fd());
    return STREAMER_OK;
  });
}

void streamer_load_cancel(streamer_load* load) {
  if (load == nullptr) return;
  const streamer_status status = guarded(nullptr, [&]() -> Result<streamer_status> {
    load->load->cancel();
    return STREAMER_OK;
  });
  static_cast<void>(status);
}

void streamer_load_close(streamer_load* load) {
  delete load;
}

}  // extern "C"
