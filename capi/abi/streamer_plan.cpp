// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "boundary.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

constexpr std::uint64_t kDefaultAlignment = 64;  // a cache line

Result<core::Part> check_part(int32_t part) {
  switch (part) {
    case STREAMER_PART_WHOLE:
      return core::Part::whole;
    case STREAMER_PART_SLICE:
      return core::Part::slice;
    case STREAMER_PART_BYTES:
      return core::Part::bytes;
    default:
      return Error(ErrorKind::invalid_argument,
                   fmt::format("part is {}; it may be one of STREAMER_PART_*", part));
  }
}

Result<core::PlanRequest> to_request(const core::Checkpoint& checkpoint,
                                     const streamer_plan_item& item, std::uint64_t& bytes) {
  const core::Part part = TRY(check_part(item.part));
  if (item.tensor >= checkpoint.tensors.size()) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("tensor number {} is not below the count, {}", item.tensor,
                             checkpoint.tensors.size()));
  }
  const core::Device device = TRY(check_device(item.device));
  core::PlanRequest request{.tensor = static_cast<std::uint32_t>(item.tensor),
                            .part = part,
                            .device = device,
                            .destination = static_cast<std::byte*>(item.destination),
                            .tag = item.tag,
                            .priority = item.priority};
  const core::TensorView tensor = checkpoint.tensors[request.tensor];
  if (part == core::Part::slice) {
    request.dimension = item.slice_dimension;
    request.start = item.slice_start;
    request.stop = item.slice_stop;
  } else if (part == core::Part::bytes) {
    const auto end = core::checked_add(item.bytes_offset, item.bytes_size);
    if (!end) return Error(ErrorKind::invalid_argument, "bytes_offset + bytes_size overflows");
    request.start = item.bytes_offset;
    request.stop = *end;
  }
  bytes = TRY(core::requested_bytes(tensor, request)).total_bytes();
  if (request.destination == nullptr && item.destination_bytes != 0) {
    return Error(
        ErrorKind::invalid_argument,
        fmt::format("the destination of tensor \"{}\" is NULL, but has {} bytes; for memory "
                    "of the library, both are 0",
                    tensor.name, item.destination_bytes));
  }
  if (request.destination != nullptr && item.destination_bytes < bytes) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("tensor \"{}\" brings {} bytes, but its destination has {}",
                             tensor.name, bytes, item.destination_bytes));
  }
  return request;
}

Result<std::uint64_t> check_alignment(size_t alignment) {
  if (alignment == 0) return kDefaultAlignment;
  const bool is_power = (alignment & (alignment - 1)) == 0;
  if (is_power && alignment <= core::kPageBytes) return alignment;
  return Error(
      ErrorKind::invalid_argument,
      fmt::format("alignment is {}; it may be a power of two up to 4096, or 0 for 64", alignment));
}

// Bytes of each request, packed: calls place(request, offset) and returns the end.
template <typename Requests, typename Place>
std::uint64_t pack(const core::Checkpoint& checkpoint, Requests& requests, std::uint64_t alignment,
                   Place&& place) {
  std::uint64_t end = 0;
  for (auto& request : requests) {
    const std::uint64_t offset = core::round_up(end, alignment);
    // Requests were checked when they were added.
    const auto range = core::requested_bytes(checkpoint.tensors[request.tensor], request);
    place(request, offset);
    end = offset + range->total_bytes();
  }
  return end;
}

Result<void> check_open(const streamer_plan& plan) {
  if (!plan.has_buffer) return {};
  return Error(ErrorKind::invalid_argument,
               "the plan already has its buffer; add every item before streamer_plan_set_buffer()");
}

}  // namespace

extern "C" {

streamer_status streamer_plan_new(const streamer_checkpoint* checkpoint, streamer_plan** plan_out,
                                  streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(plan_out);
    auto plan = std::make_unique<streamer_plan>();
    plan->checkpoint = checkpoint->checkpoint;
    *plan_out = plan.release();
    return STREAMER_OK;
  });
}

streamer_status streamer_plan_add(streamer_plan* plan, const streamer_plan_item* items,
                                  size_t count, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(plan);
    TRY(check_open(*plan));
    if (count == 0) return STREAMER_OK;
    STREAMER_REQUIRE(items);
    const std::size_t apart = items[0].struct_size;
    TRY(check_array_of<streamer_plan_item>(apart));
    const streamer_plan_item defaults = STREAMER_PLAN_ITEM_INIT;
    std::vector<core::PlanRequest> added;
    added.reserve(count);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto* const at = reinterpret_cast<const unsigned char*>(items) + i * apart;
      const streamer_plan_item item = TRY(copy_in(at, defaults));
      std::uint64_t bytes = 0;
      added.push_back(TRY(to_request(*plan->checkpoint, item, bytes)));
      total += bytes;
    }
    plan->requests.insert(plan->requests.end(), added.begin(), added.end());
    plan->bytes += total;
    return STREAMER_OK;
  });
}

streamer_status streamer_plan_add_matching(streamer_plan* plan, const char* glob, size_t* added_out,
                                           streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(plan);
    TRY(check_open(*plan));
    const std::string pattern = glob == nullptr ? "*" : glob;
    const core::TensorTable& tensors = plan->checkpoint->tensors;
    std::vector<core::PlanRequest> added;
    std::uint64_t total = 0;
    for (std::uint32_t i = 0; i < tensors.size(); ++i) {
      if (pattern != "*" && !core::glob_match(pattern, std::string(tensors[i].name))) continue;
      added.push_back({.tensor = i});
      total += tensors[i].bytes.size;
    }
    plan->requests.insert(plan->requests.end(), added.begin(), added.end());
    plan->bytes += total;
    if (added_out != nullptr) *added_out = added.size();
    return STREAMER_OK;
  });
}

streamer_status streamer_plan_prioritize(streamer_plan* plan, const char* const* globs,
                                         size_t count, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(plan);
    if (count != 0) STREAMER_REQUIRE(globs);
    for (std::size_t i = 0; i < count; ++i) {
      if (globs[i] == nullptr)
        return Error(ErrorKind::invalid_argument, fmt::format("globs[{}] is NULL", i));
    }
    const core::TensorTable& tensors = plan->checkpoint->tensors;
    for (core::PlanRequest& request : plan->requests) {
      const std::string name(tensors[request.tensor].name);
      std::size_t i = 0;
      while (i < count && !core::glob_match(globs[i], name))
        ++i;
      request.priority = static_cast<std::uint32_t>(count - i);
    }
    return STREAMER_OK;
  });
}

streamer_status streamer_plan_set_buffer(streamer_plan* plan, void* buffer, size_t bytes,
                                         size_t alignment, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(plan);
    STREAMER_REQUIRE(buffer);
    TRY(check_open(*plan));
    const std::uint64_t unit = TRY(check_alignment(alignment));
    const auto has_own = std::any_of(
        plan->requests.begin(), plan->requests.end(),
        [](const auto& r) { return r.destination != nullptr || r.device != core::kHost; });
    if (has_own) {
      return Error(ErrorKind::invalid_argument,
                   "an item of the plan has its own destination or device; a buffer for all items "
                   "needs a plan in which none has");
    }
    const core::Checkpoint& checkpoint = *plan->checkpoint;
    const std::uint64_t needed =
        pack(checkpoint, plan->requests, unit, [](const auto&, std::uint64_t) {});
    if (needed > bytes) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("the plan needs {} bytes but the buffer has {}", needed, bytes));
    }
    pack(checkpoint, plan->requests, unit, [&](core::PlanRequest& request, std::uint64_t offset) {
      request.destination = static_cast<std::byte*>(buffer) + offset;
    });
    plan->has_buffer = true;
    return STREAMER_OK;
  });
}

uint64_t streamer_plan_buffer_bytes(const streamer_plan* plan, size_t alignment) {
  if (plan == nullptr) return 0;
  const std::uint64_t unit = alignment == 0 ? kDefaultAlignment : alignment;
  if ((unit & (unit - 1)) != 0) return 0;
  return pack(*plan->checkpoint, plan->requests, unit, [](const auto&, std::uint64_t) {});
}

size_t streamer_plan_item_count(const streamer_plan* plan) {
  return plan == nullptr ? 0 : plan->requests.size();
}

uint64_t streamer_plan_bytes(const streamer_plan* plan) {
  return plan == nullptr ? 0 : plan->bytes;
}

void streamer_plan_free(streamer_plan* plan) {
  delete plan;
}

}  // extern "C"
