// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the network readers of one load share beside its core: the number of connections they may
// use, and the addresses of their hosts.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/guarded.hpp"
#include "engine/process_share.hpp"
#include "engine/tuner.hpp"
#include "http/host_addresses.hpp"

namespace streamer::core::inline engine {

class NetworkShare {
 public:
  // buffer_bytes: for all connections together. process: with whose other loads it shares them.
  NetworkShare(Tuner::Limits limits, std::uint32_t readers, std::uint64_t buffer_bytes,
               const ProcessShare& process, Resolver resolver = resolve_host)
      : tuner_(Tuner(limits)),
        readers_(readers),
        buffer_bytes_(buffer_bytes),
        process_(process),
        resolver_(std::move(resolver)) {
    publish(tuner_.with([](const Tuner& tuner) { return tuner.target(); }));
  }

  // How many connections reader `number` may use now, at least one.
  [[nodiscard]] std::uint32_t connections(std::uint32_t number) const noexcept {
    // relaxed: the number is all that passes.
    const std::uint32_t target =
        std::min(target_.load(std::memory_order_relaxed), process_.connections_each());
    const std::uint32_t readers = readers_.load(std::memory_order_relaxed);
    return std::max(1U, target / readers + (number < target % readers ? 1U : 0U));
  }
  // Fewer readers run than were wanted.
  void set_readers(std::uint32_t readers) noexcept {
    readers_.store(readers, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t target() const noexcept {
    return target_.load(std::memory_order_relaxed);
  }

  // The buffer size of one connection: each has such a buffer (before libcurl 8.7), and libcurl and
  // TLS keep half as much beside it. The fewer connections, the larger.
  [[nodiscard]] std::uint64_t receive_buffer_bytes() const noexcept {
    const std::uint64_t share = buffer_bytes_ / 3 * 2 / std::max(target(), 1U);
    return std::clamp(share, kLeastReceiveBuffer, kLargestReceiveBuffer);
  }

  // Any reader. Bytes are those of this reader since its last call.
  void observe(SteadyTime now, std::uint64_t bytes, std::chrono::nanoseconds first_byte,
               bool is_busy) {
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    publish(tuner_.with([&](Tuner& tuner) {
      tuner.observe(now, bytes_.load(std::memory_order_relaxed), first_byte, is_busy);
      return tuner.target();
    }));
  }
  void throttled(SteadyTime now) {
    publish(tuner_.with([&](Tuner& tuner) {
      tuner.throttled(now);
      return tuner.target();
    }));
  }

  // Thread-safe. Lives as long as the share.
  HostAddresses& addresses_of(const std::string& host) {
    return *hosts_.with([&](auto& hosts) {
      auto& entry = hosts[host];
      if (!entry) entry = std::make_unique<HostAddresses>(host, resolver_);
      return entry.get();
    });
  }

 private:
  static constexpr std::uint64_t kLeastReceiveBuffer = 16 * kKiB;
  static constexpr std::uint64_t kLargestReceiveBuffer = 512 * kKiB;

  void publish(std::uint32_t target) noexcept { target_.store(target, std::memory_order_relaxed); }

  Guarded<Tuner> tuner_;
  std::atomic<std::uint32_t> readers_;
  const std::uint64_t buffer_bytes_;
  const ProcessShare& process_;
  const Resolver resolver_;
  std::atomic<std::uint32_t> target_{1};
  std::atomic<std::uint64_t> bytes_{0};
  Guarded<std::map<std::string, std::unique_ptr<HostAddresses>>> hosts_;
};

}  // namespace streamer::core::inline engine
