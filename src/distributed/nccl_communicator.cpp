// SPDX-License-Identifier: Apache-2.0
#include "distributed/nccl_communicator.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <optional>
#include <thread>

#include "distributed/agreement.hpp"
#include "distributed/nccl_abi.hpp"
#include "gpu/device_thread.hpp"

namespace streamer::core::inline distributed {

namespace {

using namespace nccl_abi;

template <typename Function>
Result<void> find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  if (function != nullptr) return {};
  return Error(ErrorKind::unsupported,
               fmt::format("the NCCL library has no {}: 2.7 or newer is needed", name));
}

Result<Calls> load_nccl(const std::string& library) {
  const std::string name = library.empty() ? "libnccl.so.2" : library;
  // Never closed: its threads may live as long as the process.
  void* const opened = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    return Error(
        ErrorKind::unsupported,
        fmt::format("NCCL cannot be loaded ({}); install it, or set debug.distributed_nccl to "
                    "its path",
                    ::dlerror()));
  }
  Calls calls;
#define NCCL_CALL(result, name, ...) TRY(find(opened, #name, calls.name));
#include "distributed/nccl_calls.inc"
#undef NCCL_CALL
  return calls;
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& base, GpuRuntime& runtime, int device, const Calls& calls)
      : base_(base), runtime_(runtime), device_(device), calls_(calls) {}
  ~NcclCommunicator() override {
    if (stream_ == nullptr && event_ == nullptr && comm_ == nullptr) return;
    run_on_device(runtime_, device_, [this] {
      if (comm_ != nullptr) static_cast<void>(calls_.ncclCommDestroy(comm_));
      if (event_ != nullptr) static_cast<void>(runtime_.destroy_event(event_));
      if (stream_ != nullptr) static_cast<void>(runtime_.destroy_stream(stream_));
    });
  }

  // Of this rank alone, on a thread whose current device is the device.
  Result<void> prepare() {
    stream_ = TRY(runtime_.create_stream());
    event_ = TRY(runtime_.create_event());
    return {};
  }
  Result<UniqueId> make_id() {
    UniqueId id{};
    TRY(check("ncclGetUniqueId", calls_.ncclGetUniqueId(&id)));
    return id;
  }
  // Waits until all ranks are here.
  Result<void> join(const UniqueId& id) {
    return check("ncclCommInitRank", calls_.ncclCommInitRank(&comm_, static_cast<int>(size()), id,
                                                             static_cast<int>(rank())));
  }

  [[nodiscard]] std::uint32_t rank() const noexcept override { return base_.rank(); }
  [[nodiscard]] std::uint32_t size() const noexcept override { return base_.size(); }
  [[nodiscard]] Device device() const noexcept override { return {kCudaKind, device_}; }

  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                          std::chrono::milliseconds timeout) override {
    return base_.all_gather(mine, all, timeout);
  }

  Result<void> all_to_all(std::span<const Outgoing> send, std::span<const Incoming> receive,
                          std::chrono::milliseconds timeout) override {
    if (comm_ == nullptr) return Error(ErrorKind::io, "this NCCL communicator has failed before");
    TRY(runtime_.use_device(device_));
    TRY(check("ncclGroupStart", calls_.ncclGroupStart()));
    Result<void> queued;
    for (const Outgoing& one : send) {
      if (queued) {
        queued = check("ncclSend", calls_.ncclSend(one.data, one.bytes, kInt8,
                                                   static_cast<int>(one.rank), comm_, stream_));
      }
    }
    for (const Incoming& one : receive) {
      if (queued) {
        queued = check("ncclRecv", calls_.ncclRecv(one.data, one.bytes, kInt8,
                                                   static_cast<int>(one.rank), comm_, stream_));
      }
    }
    // After a failure too: a group that stays open would swallow the thread's next calls.
    auto ended = check("ncclGroupEnd", calls_.ncclGroupEnd());
    if (queued && ended) ended = wait(timeout);
    if (queued && ended) return {};
    give_up();
    return queued ? std::move(ended) : std::move(queued);
  }

 private:
  Result<void> check(const char* call, Status result) const {
    if (result == kSuccess || result == kInProgress) return {};
    return Error(ErrorKind::device, fmt::format("{} failed: {} (code {})", call,
                                                calls_.ncclGetErrorString(result), result));
  }

  // CUDA has no wait with a timeout, and NCCL reports lost peers only when asked.
  Result<void> wait(std::chrono::milliseconds timeout) {
    constexpr std::chrono::microseconds kLongestPause(200);
    TRY(runtime_.record(event_, stream_));
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (std::chrono::microseconds pause(1); !TRY(runtime_.is_done(event_));) {
      Status state = kSuccess;
      TRY(check("ncclCommGetAsyncError", calls_.ncclCommGetAsyncError(comm_, &state)));
      TRY(check("NCCL", state));
      if (std::chrono::steady_clock::now() >= until) {
        return Error(ErrorKind::timed_out,
                     fmt::format("NCCL did not pass everything on within {} ms: a rank is gone or "
                                 "hangs",
                                 timeout.count()));
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
    return {};
  }

  // Ends transfers in progress; nothing can be passed on afterwards.
  void give_up() noexcept {
    static_cast<void>(calls_.ncclCommAbort(comm_));
    comm_ = nullptr;
  }

  Communicator& base_;
  GpuRuntime& runtime_;
  const int device_;
  const Calls calls_;
  Comm comm_ = nullptr;  // nullptr: not joined yet, or aborted
  GpuStream stream_ = nullptr;
  GpuEvent event_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Communicator>> open_nccl(Communicator& base, GpuRuntime& runtime, int device,
                                                const std::string& library,
                                                std::chrono::milliseconds timeout) {
  std::unique_ptr<NcclCommunicator> made;
  UniqueId id{};
  const auto prepare = [&]() -> Result<void> {
    const Calls calls = TRY(load_nccl(library));
    made = std::make_unique<NcclCommunicator>(base, runtime, device, calls);
    Result<void> outcome = Error(ErrorKind::device, "the device cannot be used");
    run_on_device(runtime, device, [&] { outcome = made->prepare(); });
    TRY(std::move(outcome));
    if (base.rank() == 0) id = TRY(made->make_id());
    return {};
  };
  // ncclCommInitRank() waits for all ranks, without a timeout: none calls it unless all will.
  const auto prepared = prepare();
  TRY(agree(base, prepared ? nullptr : &prepared.error(), timeout));
  std::vector<UniqueId> ids(base.size());
  TRY(base.all_gather(std::as_bytes(std::span(&id, 1)), std::as_writable_bytes(std::span(ids)),
                      timeout));
  Result<void> joined = Error(ErrorKind::device, "the device cannot be used");
  run_on_device(runtime, device, [&] { joined = made->join(ids.front()); });
  TRY(agree(base, joined ? nullptr : &joined.error(), timeout));
  return std::unique_ptr<Communicator>(std::move(made));
}

}  // namespace streamer::core::inline distributed
