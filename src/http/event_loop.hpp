// SPDX-License-Identifier: Apache-2.0
#pragma once
// One thread, one libcurl multi handle with its connections, one epoll. Bound to the thread that
// uses it.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/futex.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "base/wake_fd.hpp"
#include "http/transfer.hpp"

namespace streamer::core::inline http {

class EventLoop final : public TransferLoop {
 public:
  // Keeps up to idle_connections open for later transfers.
  static Result<std::unique_ptr<EventLoop>> make(std::uint32_t idle_connections);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // From now on wake.notify() ends a turn(); nullptr: nothing does. It must outlive the loop, or
  // what is set after it.
  Result<void> wake_by(WakeFd* wake);
  // From now on turn() also ends when fd is readable, which must then stay so; -1: nothing is
  // watched.
  Result<void> watch(int fd);
  void unwatch() noexcept;

  // The caller keeps owning the transfer; it begins at the next turn().
  Result<void> add(Transfer& transfer);
  // Ends the transfer at any point; closes its connection unless its answer was complete.
  void remove(Transfer& transfer) noexcept override;

  // Sleeps until something happens or the deadline, then processes it. Transfers that ended are
  // appended to finished and are no longer in the loop. The loop ends transfers that got no byte
  // for their stall timeout; the time between two turns does not count as time without a byte.
  void turn(SteadyTime until, std::vector<Transfer*>& finished);

  [[nodiscard]] std::size_t active() const noexcept { return active_.size(); }
  // The time of the current turn: cheaper than reading the clock again.
  [[nodiscard]] SteadyTime now() const noexcept override { return now_; }

 private:
  friend struct CurlCallbacks;
  EventLoop() = default;

  Result<void> expect(int fd);
  Result<void> apply_options(Transfer& transfer, void* easy);
  void detach(Transfer& transfer) noexcept;
  void finish(Transfer& transfer, int curl_code);
  void read_on();
  void take_messages(std::vector<Transfer*>& finished);
  void end_stalled(std::vector<Transfer*>& finished);
  [[nodiscard]] int wait_ms(SteadyTime until) const;

  UniqueFd epoll_;
  WakeFd* wake_ = nullptr;
  int watched_ = -1;
  void* multi_ = nullptr;  // CURLM
  void* share_ = nullptr;  // CURLSH: TLS sessions of all transfers
  std::uint32_t generation_ = 0;
  std::vector<void*> idle_easies_;
  std::vector<int> sockets_;  // that it made; some may be closed by now
  std::vector<Transfer*> active_;
  std::optional<SteadyTime> timer_;
  bool must_read_on_ = false;  // OpenSSL may hold bytes that no event tells of
  SteadyTime now_ = std::chrono::steady_clock::now();
  SteadyTime next_stall_check_{};
};

}  // namespace streamer::core::inline http
