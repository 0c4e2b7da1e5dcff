// SPDX-License-Identifier: Apache-2.0
#pragma once
// Requests whose caller waits for the answer: listings, headers of checkpoints, credentials. Keeps
// its connections open between them.

#include "base/result.hpp"
#include "http/idle_loops.hpp"

namespace streamer::core::inline http {

// Thread-safe. Each call uses a loop that no other call uses at the same time.
class HttpClient {
 public:
  // One attempt: returns once the transfer has ended. Fails with cancelled or timed_out once the
  // thread's current work is over, and then leaves nothing behind.
  Result<void> run(Transfer& transfer);

  // One attempt, with the body kept. Fails with io or timed_out, by the transfer's
  // fault; every status is an answer. An answer longer than options.kept_bytes is cut there.
  Result<HttpAnswer> fetch(const HttpRequest& request, const TransferOptions& options);

 private:
  IdleLoops idle_;
};

// The error of a transfer without a complete answer: its kind follows from the fault; says what to
// do.
[[nodiscard]] Error transfer_error(const Transfer& transfer);

}  // namespace streamer::core::inline http
