// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the network readers of one load share beside its core: how many connections they may use,
// and the addresses of the hosts they ask.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/guarded.hpp"
#include "engine/tuner.hpp"
#include "http/host_addresses.hpp"

namespace streamer::core {

class NetworkShare {
 public:
  NetworkShare(Tuner::Limits limits, std::uint32_t readers, Resolver resolver = resolve_host)
      : tuner_(Tuner(limits)), readers_(readers), resolver_(std::move(resolver)) {
    publish(tuner_.with([](const Tuner& tuner) { return tuner.target(); }));
  }

  // How many connections reader `number` may use now, at least one.
  [[nodiscard]] std::uint32_t connections(std::uint32_t number) const noexcept {
    // relaxed: the number is all that passes.
    const std::uint32_t target = target_.load(std::memory_order_relaxed);
    return std::max(1U, target / readers_ + (number < target % readers_ ? 1U : 0U));
  }
  [[nodiscard]] std::uint32_t target() const noexcept {
    return target_.load(std::memory_order_relaxed);
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
  void publish(std::uint32_t target) noexcept { target_.store(target, std::memory_order_relaxed); }

  Guarded<Tuner> tuner_;
  const std::uint32_t readers_;
  const Resolver resolver_;
  std::atomic<std::uint32_t> target_{1};
  std::atomic<std::uint64_t> bytes_{0};
  Guarded<std::map<std::string, std::unique_ptr<HostAddresses>>> hosts_;
};

}  // namespace streamer::core
