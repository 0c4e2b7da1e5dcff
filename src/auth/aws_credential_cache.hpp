// SPDX-License-Identifier: Apache-2.0
#pragma once
// Credentials in use: fetched once, renewed before they expire, one fetch at a time.

#include <functional>
#include <mutex>
#include <optional>

#include "auth/aws_credentials.hpp"
#include "base/fork.hpp"
#include "base/guarded.hpp"
#include "base/thread.hpp"

namespace streamer::core {

// Thread-safe.
class AwsCredentialCache {
 public:
  using Fetch = std::function<Result<AwsCredentials>()>;
  using Clock = std::function<SystemTime()>;

  AwsCredentialCache(Fetch fetch, Clock now) : fetch_(std::move(fetch)), now_(std::move(now)) {}

  ~AwsCredentialCache();

  struct Current {
    AwsCredentials credentials;
    std::uint64_t version = 0;  // grows whenever the keys change
  };

  // What requests are signed with now. Blocks for the first fetch and if less than a minute is
  // left; from ten minutes before the end a thread of the cache's own fetches new ones meanwhile.
  Result<Current> get();

  // The store no longer accepts what version stood for: fetches anew, once for all who ask. True if
  // there are other keys now, so that trying again makes sense.
  Result<bool> renew(std::uint64_t version);

 private:
  Result<void> fetch_locked(std::uint64_t unless_newer_than);
  void fetch_in_background();

  const std::uint32_t generation_ = fork_generation();
  const Fetch fetch_;
  const Clock now_;
  std::mutex one_fetch_;  // held during a fetch: whoever waits for it finds its result
  struct State {
    std::optional<AwsCredentials> credentials;
    std::uint64_t version = 0;
    bool is_fetching = false;              // in the background
    std::optional<SystemTime> not_before;  // of the next background fetch, after a failed one
  };
  Guarded<State> state_;
  Guarded<Thread> background_;  // last: joined first
};

}  // namespace streamer::core
