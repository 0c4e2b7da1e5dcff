// SPDX-License-Identifier: Apache-2.0
#pragma once
// The credentials in use: fetched once, renewed before they expire, one fetch at a time.

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>

#include "base/fits_in_memory.hpp"
#include "base/fork.hpp"
#include "base/guarded.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"
#include "base/result.hpp"
#include "base/thread.hpp"
#include "base/timestamp.hpp"

namespace streamer::core::inline auth {

// Thread-safe. Credentials have `expires`, an optional time, and same_keys(), which says whether
// requests would go out the same with the other ones.
template <typename Credentials>
class CredentialCache {
 public:
  using Fetch = std::function<Result<Credentials>()>;
  using Clock = std::function<SystemTime()>;

  // How long before they expire new credentials are fetched in the background, and when a caller
  // waits for them.
  struct Lead {
    SystemTime::duration renew = std::chrono::minutes(10);
    SystemTime::duration block = std::chrono::seconds(60);
  };

  CredentialCache(Fetch fetch, Clock now) : CredentialCache(std::move(fetch), std::move(now), {}) {}
  CredentialCache(Fetch fetch, Clock now, Lead lead)
      : fetch_(std::move(fetch)), now_(std::move(now)), lead_(lead) {
    // Without a descriptor, the destructor waits for a background fetch.
    static_cast<void>(background_operation_.open());
  }

  ~CredentialCache();

  struct Current {
    Credentials credentials;
    std::uint64_t version = 0;  // grows whenever the keys change
  };

  // The credentials to sign requests with now. Blocks for the first fetch, and if hardly any time
  // is left; from a while before the end (Lead), a thread of the cache fetches new ones in the
  // background.
  Result<Current> get();

  // The store no longer accepts the credentials of `version`: fetches new ones, once for all
  // callers. True if there are different keys now, so that trying again makes sense.
  Result<bool> renew(std::uint64_t version);

 private:
  static constexpr std::chrono::seconds kPause{30};

  Result<void> fetch_locked(std::uint64_t unless_newer_than);
  void fetch_in_background();

  const std::uint32_t generation_ = fork_generation();
  const Fetch fetch_;
  const Clock now_;
  const Lead lead_;
  Operation background_operation_;
  std::mutex one_fetch_;  // held during a fetch: threads that waited for it use its result
  struct State {
    std::optional<Credentials> credentials;
    std::uint64_t version = 0;
    bool is_fetching = false;              // in the background
    std::optional<SystemTime> not_before;  // of the next fetch that is not urgent
  };

  // A source that failed, or that returns credentials about to expire (as metadata services do
  // until they nearly have), is not asked again at once.
  void note_fetch(State& state, bool has_failed) const;
  Guarded<State> state_;
  Guarded<Thread> background_;  // last: joined first
};

template <typename Credentials>
CredentialCache<Credentials>::~CredentialCache() {
  background_operation_.cancel();
  // After fork() the thread is the parent's.
  if (generation_ == fork_generation()) return;
  background_.with([](Thread& running) { running.abandon(); });
}

template <typename Credentials>
Result<void> CredentialCache<Credentials>::fetch_locked(std::uint64_t unless_newer_than) {
  const auto lock =
      TRY(lock_while_wanted(one_fetch_, "waiting for credentials that another thread fetches"));
  const bool is_done = state_.with([&](State& state) { return state.version > unless_newer_than; });
  if (is_done) return {};
  auto fetched = fetch_();
  state_.with([&](State& state) {
    if (fetched) {
      if (!state.credentials || !state.credentials->same_keys(*fetched)) ++state.version;
      state.credentials = *std::move(fetched);
    }
    // A fetch that was not waited for to its end says nothing about the source.
    if (fetched || !is_work_over()) note_fetch(state, !fetched);
  });
  if (!fetched) return std::move(fetched).error();
  return {};
}

template <typename Credentials>
void CredentialCache<Credentials>::note_fetch(State& state, bool has_failed) const {
  const SystemTime now = now_();
  const bool expires = state.credentials && state.credentials->expires;
  const auto left = expires ? *state.credentials->expires - now : SystemTime::duration::max();
  state.not_before.reset();
  if (!has_failed && left >= lead_.renew) return;
  // Never so long that the credentials expire.
  const auto half = std::max<SystemTime::duration>(left / 2, std::chrono::seconds(1));
  state.not_before = now + std::min<SystemTime::duration>(kPause, half);
}

template <typename Credentials>
Result<typename CredentialCache<Credentials>::Current> CredentialCache<Credentials>::get() {
  const SystemTime now = now_();
  struct Look {
    bool must_fetch = false;
    bool should_fetch = false;
    bool has_some = false;
    std::uint64_t version = 0;
  };
  const Look look = state_.with([&](State& state) {
    Look found{.has_some = state.credentials.has_value(), .version = state.version};
    const bool expires = state.credentials && state.credentials->expires;
    const SystemTime end = expires ? *state.credentials->expires : SystemTime::max();
    const bool may_try = !state.not_before || *state.not_before <= now;
    found.must_fetch = !state.credentials || (end - now < lead_.block && may_try);
    found.should_fetch = end - now < lead_.renew && may_try && !state.is_fetching;
    if (found.should_fetch && !found.must_fetch) state.is_fetching = true;
    return found;
  });
  if (look.must_fetch) {
    auto outcome = fetch_locked(look.version);
    // Keys that have not quite expired are better than none.
    if (!outcome && !look.has_some) return std::move(outcome).error();
    if (!outcome) log_line(LogLevel::warning, outcome.error().line());
  } else if (look.should_fetch) {
    fetch_in_background();
  }
  return state_.with([](const State& state) { return Current{*state.credentials, state.version}; });
}

template <typename Credentials>
void CredentialCache<Credentials>::fetch_in_background() {
  const std::uint64_t version = state_.with([](const State& state) { return state.version; });
  auto thread = Thread::start("streamer-auth", [this, version] {
    const Work work("renewing credentials", &background_operation_);
    const WorkScope scope(&work);
    const bool fits = fits_in_memory([&] {
      const auto outcome = fetch_locked(version);
      if (!outcome) log_line(LogLevel::warning, outcome.error().line());
    });
    state_.with([&](State& state) {
      state.is_fetching = false;
      if (!fits) note_fetch(state, true);
    });
  });
  if (!thread) {
    state_.with([](State& state) { state.is_fetching = false; });
    return;
  }
  // Joins the one before, which has ended: is_fetching said so.
  background_.with([&](Thread& running) { running = *std::move(thread); });
}

template <typename Credentials>
Result<bool> CredentialCache<Credentials>::renew(std::uint64_t version) {
  TRY(fetch_locked(version));
  return state_.with([&](const State& state) { return state.version > version; });
}

}  // namespace streamer::core::inline auth
