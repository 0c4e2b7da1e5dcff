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

// How ranks reach each other; goes into LoadOptions::communicator and must outlive the load. What
// is said of streamer_communicator in streamer.h holds here. Making one is collective: every rank
// does it. One thread at a time.
class Communicator {
 public:
  // Over MPI, in host memory. comm: the address of an MPI_Comm; nullptr: MPI_COMM_WORLD. Of its
  // ranks those on this machine, unless the setting distributed_scope says all. Errors: unsupported
  // (no MPI, or one that allows calls from one thread only), io.
  static Result<Communicator> mpi(const void* comm = nullptr, const Settings& settings = {}) {
    streamer_communicator* made = nullptr;
    streamer_error* error = nullptr;
    if (streamer_communicator_open_mpi(comm, settings.get(), &made, &error) != STREAMER_OK)
      return Error(error);
    return Communicator(made, Close{true});
  }
  // Over NCCL, from device to device: this rank's is `device`. base must outlive it. Errors:
  // unsupported (no NCCL), device, and those of base.
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
  // Over functions of the caller; made with new, and owned from now on.
  static Communicator of(std::unique_ptr<streamer_communicator> table) {
    return Communicator(table.release(), Close{false});
  }

  std::uint32_t rank() const noexcept { return communicator_->rank; }
  std::uint32_t size() const noexcept { return communicator_->size; }

  // Collective. Tells the others that this rank is well (mine is nullptr), or what went wrong here;
  // all get the error of the lowest rank that has one, which it names, and else nothing.
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
