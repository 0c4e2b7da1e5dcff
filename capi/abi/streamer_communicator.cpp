// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "boundary.hpp"
#include "distributed/agreement.hpp"
#include "distributed/distributed_settings.hpp"
#include "distributed/nccl_communicator.hpp"
#include "gpu/gpu_kinds.hpp"
#include "mpi/streamer_mpi.h"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

constexpr std::size_t kWhyBytes = 512;

std::uint64_t to_timeout(std::chrono::milliseconds timeout) {
  return static_cast<std::uint64_t>(timeout.count());
}

// Adapts a table of functions to the core's communicator interface.
class TableCommunicator final : public core::Communicator {
 public:
  explicit TableCommunicator(const streamer_communicator& table) : table_(table) {}

  [[nodiscard]] std::uint32_t rank() const noexcept override { return table_.rank; }
  [[nodiscard]] std::uint32_t size() const noexcept override { return table_.size; }
  [[nodiscard]] core::Device device() const noexcept override {
    return {table_.device.kind, table_.device.number};
  }
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                          std::chrono::milliseconds timeout) override {
    std::array<char, kWhyBytes> why{};
    return outcome(table_.all_gather(table_.context, mine.data(), all.data(), mine.size(),
                                     to_timeout(timeout), why.data(), why.size()),
                   why);
  }
  Result<void> all_to_all(std::span<const core::Outgoing> send,
                          std::span<const core::Incoming> receive,
                          std::chrono::milliseconds timeout) override {
    std::array<char, kWhyBytes> why{};
    std::vector<streamer_outgoing> outgoing;
    std::vector<streamer_incoming> incoming;
    for (const core::Outgoing& one : send)
      outgoing.push_back({one.data, one.bytes, one.rank});
    for (const core::Incoming& one : receive)
      incoming.push_back({one.data, one.bytes, one.rank});
    return outcome(
        table_.all_to_all(table_.context, outgoing.data(), outgoing.size(), incoming.data(),
                          incoming.size(), to_timeout(timeout), why.data(), why.size()),
        why);
  }

 private:
  static Result<void> outcome(streamer_status status, std::array<char, kWhyBytes>& why) {
    if (status == STREAMER_OK) return {};
    why.back() = '\0';
    const auto kind = static_cast<ErrorKind>(status);
    const bool is_kind = core::error_kind_name(kind) != "unknown";
    return Error(is_kind ? kind : ErrorKind::io,
                 why.front() == '\0' ? "bytes could not be passed on between ranks" : why.data());
  }

  const streamer_communicator table_;
};

// The context of a table that the library opened: its communicator, and what that needs.
struct Owned {
  std::unique_ptr<core::Communicator> base;
  std::unique_ptr<core::Communicator> communicator;
};

streamer_status tell(const Result<void>& outcome, char* why, std::size_t why_size) {
  if (outcome) return STREAMER_OK;
  const std::string line = outcome.error().line();
  const std::size_t bytes = std::min(line.size(), why_size - 1);
  std::memcpy(why, line.data(), bytes);
  why[bytes] = '\0';
  return static_cast<streamer_status>(outcome.error().kind());
}

streamer_status gather_owned(void* context, const void* mine, void* all, uint64_t bytes,
                             uint64_t timeout_ms, char* why, size_t why_size) {
  return guarded(nullptr, [&]() -> Result<streamer_status> {
    core::Communicator& communicator = *static_cast<Owned*>(context)->communicator;
    return tell(communicator.all_gather({static_cast<const std::byte*>(mine), bytes},
                                        {static_cast<std::byte*>(all), bytes * communicator.size()},
                                        std::chrono::milliseconds(timeout_ms)),
                why, why_size);
  });
}

streamer_status pass_owned(void* context, const streamer_outgoing* send, size_t send_count,
                           const streamer_incoming* receive, size_t receive_count,
                           uint64_t timeout_ms, char* why, size_t why_size) {
  return guarded(nullptr, [&]() -> Result<streamer_status> {
    core::Communicator& communicator = *static_cast<Owned*>(context)->communicator;
    std::vector<core::Outgoing> outgoing;
    std::vector<core::Incoming> incoming;
    for (std::size_t i = 0; i < send_count; ++i)
      outgoing.push_back(
          {send[i].rank, static_cast<const std::byte*>(send[i].data), send[i].bytes});
    for (std::size_t i = 0; i < receive_count; ++i) {
      incoming.push_back(
          {receive[i].rank, static_cast<std::byte*>(receive[i].data), receive[i].bytes});
    }
    return tell(communicator.all_to_all(outgoing, incoming, std::chrono::milliseconds(timeout_ms)),
                why, why_size);
  });
}

void close_owned(void* context) {
  delete static_cast<Owned*>(context);
}

// Where libstreamer_mpi.so may be, in order.
std::vector<std::string> mpi_paths(const std::optional<std::string>& chosen) {
  constexpr const char* kName = "libstreamer_mpi.so";
  if (chosen) return {*chosen};
  std::vector<std::string> paths;
  Dl_info own{};
  // Any address of ours.
  if (::dladdr(reinterpret_cast<const void*>(&close_owned), &own) != 0 && own.dli_fname != nullptr)
    paths.push_back((std::filesystem::path(own.dli_fname).parent_path() / kName).string());
  paths.push_back((std::filesystem::path(STREAMER_LIBRARY_FOLDER) / kName).string());
  paths.emplace_back(kName);
  return paths;
}

Result<streamer_mpi_open_function> load_mpi(const std::optional<std::string>& chosen) {
  std::string why;
  for (const std::string& path : mpi_paths(chosen)) {
    // Never closed: MPI does not support that. Global: MPI itself loads modules that need its
    // symbols.
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      why += fmt::format("; {}", ::dlerror());
      continue;
    }
    void* const open = ::dlsym(library, STREAMER_MPI_OPEN);
    if (open != nullptr) return reinterpret_cast<streamer_mpi_open_function>(open);
    why += fmt::format("; {} is of another version", path);
  }
  return Error(ErrorKind::unsupported,
               fmt::format("libstreamer_mpi.so cannot be loaded: it exists if libstreamer was "
                           "built where MPI is installed; see the setting debug.distributed_mpi{}",
                           why));
}

Result<core::DistributedSettings> distributed_settings(const streamer_settings* settings) {
  return core::read_distributed_settings(settings == nullptr ? core::Settings()
                                                             : settings->settings);
}

}  // namespace

Result<std::unique_ptr<core::Communicator>> streamer::capi::use_communicator(
    const streamer_communicator* table) {
  const streamer_communicator defaults = STREAMER_COMMUNICATOR_INIT;
  const streamer_communicator given = TRY(copy_in(table, defaults));
  if (given.size == 0 || given.rank >= given.size) {
    return Error(
        ErrorKind::invalid_argument,
        fmt::format("the communicator's rank is {} and its size {}", given.rank, given.size));
  }
  STREAMER_REQUIRE(given.all_gather);
  STREAMER_REQUIRE(given.all_to_all);
  TRY(check_device(given.device));
  return std::unique_ptr<core::Communicator>(std::make_unique<TableCommunicator>(given));
}

extern "C" {

streamer_status streamer_communicator_open_mpi(const void* comm, const streamer_settings* settings,
                                               streamer_communicator** communicator_out,
                                               streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(communicator_out);
    const core::DistributedSettings distributed = TRY(distributed_settings(settings));
    const streamer_mpi_open_function open =
        TRY(load_mpi(distributed.get(core::setting::kDistributedMpi)));
    auto table =
        std::make_unique<streamer_communicator>(streamer_communicator STREAMER_COMMUNICATOR_INIT);
    std::array<char, kWhyBytes> why{};
    const streamer_status status = open(
        comm, distributed.get(core::setting::kDistributedScope) == core::RankScope::all ? 1 : 0,
        table.get(), why.data(), why.size());
    if (status != STREAMER_OK) return Error(static_cast<ErrorKind>(status), why.data());
    *communicator_out = table.release();
    return STREAMER_OK;
  });
}

streamer_status streamer_communicator_open_nccl(const streamer_communicator* base,
                                                streamer_device device,
                                                const streamer_settings* settings,
                                                streamer_communicator** communicator_out,
                                                streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(base);
    STREAMER_REQUIRE(communicator_out);
    if (TRY(check_device(device)).kind != core::kCudaKind)
      return Error(ErrorKind::invalid_argument, "NCCL passes bytes on between CUDA devices only");
    const core::DistributedSettings distributed = TRY(distributed_settings(settings));
    const auto timeout = distributed.get(core::setting::kDistributedTimeoutS);
    auto owned = std::make_unique<Owned>();
    owned->base = TRY(use_communicator(base));
    auto cuda = core::runtime_of({device.kind, device.number});
    TRY(core::agree(*owned->base, cuda ? nullptr : &cuda.error(), timeout));
    owned->communicator = TRY(
        core::open_nccl(*owned->base, **cuda, device.number,
                        distributed.get(core::setting::kDistributedNccl).value_or(""), timeout));
    auto table =
        std::make_unique<streamer_communicator>(streamer_communicator STREAMER_COMMUNICATOR_INIT);
    table->rank = base->rank;
    table->size = base->size;
    table->device = device;
    table->all_gather = gather_owned;
    table->all_to_all = pass_owned;
    table->close = close_owned;
    table->context = owned.release();
    *communicator_out = table.release();
    return STREAMER_OK;
  });
}

void streamer_communicator_close(streamer_communicator* communicator) {
  if (communicator == nullptr) return;
  if (communicator->close != nullptr) communicator->close(communicator->context);
  delete communicator;
}

streamer_status streamer_communicator_agree(const streamer_communicator* communicator,
                                            const streamer_settings* settings,
                                            const streamer_error* mine,
                                            streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(communicator);
    const auto used = TRY(use_communicator(communicator));
    const core::DistributedSettings distributed = TRY(distributed_settings(settings));
    std::optional<Error> error;
    if (mine == out_of_memory_error()) {
      error = Error(ErrorKind::out_of_memory, "memory could not be allocated");
    } else if (mine != nullptr) {
      error = Error(mine->fields);
    }
    if (used->size() == 1) {
      if (error) return *std::move(error);
      return STREAMER_OK;
    }
    TRY(core::agree(*used, error ? &*error : nullptr,
                    distributed.get(core::setting::kDistributedTimeoutS)));
    return STREAMER_OK;
  });
}

}  // extern "C"
