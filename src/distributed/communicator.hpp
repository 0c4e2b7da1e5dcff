// SPDX-License-Identifier: Apache-2.0
#pragma once
// How ranks reach each other. Adapters exist for MPI, for NCCL, and for functions of the caller.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "engine/plan_request.hpp"

namespace streamer::core::inline distributed {

// Bytes sent to a rank, or received from one.
struct Outgoing {
  std::uint32_t rank = 0;
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};
struct Incoming {
  std::uint32_t rank = 0;
  std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};

// Calls are collective: every rank makes them in the same order, one at a time. After a failed call
// the communicator is unusable, and transfers may still be in progress that use the call's memory.
// Errors: timed_out if a rank did not arrive in time, io if one is gone or the transport failed;
// they name the rank if it is known.
class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual std::uint32_t rank() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t size() const noexcept = 0;
  // Where the memory passed to all_to_all() is.
  [[nodiscard]] virtual Device device() const noexcept = 0;

  // Host memory: mine.size() bytes of each rank, in the order of ranks.
  virtual Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                  std::chrono::milliseconds timeout) = 0;
  // Sends to and receives from other ranks; no entry is empty. The n-th entry sent to a rank is the
  // n-th that it expects from this one, of the same size. Returns when everything has arrived.
  virtual Result<void> all_to_all(std::span<const Outgoing> send, std::span<const Incoming> receive,
                                  std::chrono::milliseconds timeout) = 0;
};

}  // namespace streamer::core::inline distributed
