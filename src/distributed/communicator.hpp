// SPDX-License-Identifier: Apache-2.0
#pragma once
// How ranks reach each other. Adapters are made of MPI, of NCCL, or of functions of the caller.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "engine/plan_request.hpp"

namespace streamer::core {

// Bytes that go to a rank, or that come from one.
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

// Calls are collective: every rank makes them in the same order, one at a time. A call that failed
// leaves the communicator of no more use, and may leave transfers under way that still use its
// memory. Errors: timed_out if a rank did not come in time, io if one is gone or the transport
// failed; they name the rank as far as that is known.
class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual std::uint32_t rank() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t size() const noexcept = 0;
  // Where the memory of all_to_all() is.
  [[nodiscard]] virtual Device device() const noexcept = 0;

  // Host memory: mine.size() bytes of each rank, in the order of ranks.
  virtual Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                  std::chrono::milliseconds timeout) = 0;
  // What goes to other ranks and what comes from them, none of it empty. The n-th that goes to a
  // rank is the n-th that this one expects there, of the same size. Returns when all of it is
  // there.
  virtual Result<void> all_to_all(std::span<const Outgoing> send, std::span<const Incoming> receive,
                                  std::chrono::milliseconds timeout) = 0;
};

}  // namespace streamer::core
