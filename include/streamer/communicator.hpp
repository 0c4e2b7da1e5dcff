// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks: processes that share a load, so that each byte is read once between them.

#include <cstdint>
#include <memory>

#include "device.hpp"
#include "error.hpp"
#include "result.hpp"
#include "settings.hpp"

namespace streamer {

// How ranks reach each other; set it as LoadOptions::communicator. It must outlive the load. The
// rules of streamer_communicator in streamer.h apply. Making one is collective: every rank does it.
// One thread at a time.
class Communicator {
 public:
  // Over MPI, in host memory. comm: the address of an MPI_Comm; nullptr: MPI_COMM_WORLD. Includes
  // those of comm's ranks that are on this machine, or all if the setting distributed_scope is all.
  // Errors: unsupported (no MPI, or an MPI that allows calls from one thread only), io.
  static Result<Communicator> mpi(const void* comm = nullptr, const Settings& settings = {}) {
    streamer_communicator* made = nullptr;
    streamer_error* error = nullptr;
    if (streamer_communicator_open_mpi(comm, settings.get(), &made, &error) != STREAMER_OK)
      return Error(error);
    return Communicator(made, Close{true});
  }
  // Over NCCL, from device to device; `device` is this rank's. base must outlive the result.
  // Errors: unsupported (no NCCL), device, and those of base.
  static Result<Communicator> nccl(const Communicator& base, Device device,
                                   const Settings& settings = {}) {
    streamer_communicator* made = nullptr;
    streamer_error* error = nullptr;
    if (streamer_communicator_open_nccl(base.get(), device.c(), settings.get(), &made, &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return Communicator(made, Close{true});
  }
  // Over functions of the caller. Takes ownership; `table` is deleted with delete.
  static Communicator of(std::unique_ptr<streamer_communicator> table) {
    return Communicator(table.release(), Close{false});
  }

  std::uint32_t rank() const noexcept { return communicator_->rank; }
  std::uint32_t size() const noexcept { return communicator_->size; }

  // Collective. Tells the other ranks that this one succeeded (mine is nullptr), or what went wrong
  // here. If any rank has an error, this returns its own, or that of the lowest such rank, naming
  // it.
  Result<void> agree(const Error* mine, const Settings& settings = {}) const {
    streamer_error* error = nullptr;
    if (streamer_communicator_agree(get(), settings.get(), mine == nullptr ? nullptr : mine->get(),
                                    &error) != STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  // For streamer.h.
  const streamer_communicator* get() const noexcept { return communicator_.get(); }

 private:
  struct Close {
    bool is_ours;
    void operator()(streamer_communicator* communicator) const noexcept {
      if (is_ours) return streamer_communicator_close(communicator);
      if (communicator->close != nullptr) communicator->close(communicator->context);
      delete communicator;
    }
  };
  Communicator(streamer_communicator* communicator, Close close) noexcept
      : communicator_(communicator, close) {}

  std::unique_ptr<streamer_communicator, Close> communicator_;
};

}  // namespace streamer
