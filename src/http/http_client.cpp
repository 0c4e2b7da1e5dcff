// SPDX-License-Identifier: Apache-2.0
#include "http/http_client.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <csignal>

#include "base/operation.hpp"

namespace streamer::core::inline http {

namespace {

// Connections that a loop keeps for later requests.
constexpr std::uint32_t kIdleConnections = 4;

// Writing to a connection that the server has closed must not raise a SIGPIPE in the caller's
// thread.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigemptyset(&only_);
    sigaddset(&only_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &only_, &before_);
  }
  ~NoSigpipe() {
    // Takes the signal that was raised in between, unless one was pending before, which is not
    // ours.
    const timespec at_once{};
    if (!was_pending_) sigtimedwait(&only_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t only_;
  sigset_t before_;
  bool was_pending_ = false;
};

struct FaultRow {
  TransferFault fault;
  ErrorKind kind;
  std::string_view what;
  std::string_view hint;
};

constexpr FaultRow kFaults[] = {
    {TransferFault::unresolved, ErrorKind::io, "the host has no address",
     "check the endpoint's spelling, DNS and, with virtual-host addressing, that the bucket's own "
     "name resolves"},
    {TransferFault::unreachable, ErrorKind::io, "no connection",
     "check the endpoint and its port, the network and any proxy"},
    {TransferFault::untrusted, ErrorKind::untrusted, "TLS: the server was not trusted",
     "if its certificate is from a private CA, name that CA's PEM file in ca_bundle or "
     "AWS_CA_BUNDLE; check the host's name and the certificate's dates"},
    {TransferFault::handshake, ErrorKind::io, "TLS: the handshake was cut short",
     "check that the endpoint speaks TLS on that port"},
    {TransferFault::reset, ErrorKind::io, "the connection ended before the answer did", ""},
    {TransferFault::stalled, ErrorKind::timed_out, "the store went silent",
     "raise stall_timeout_ms if it is known to be slow"},
    {TransferFault::bad_response, ErrorKind::io, "the answer is not valid HTTP",
     "check that a store, not something else, listens there"},
    {TransferFault::proxy, ErrorKind::io, "the proxy refused",
     "check https_proxy, its credentials, and whether no_proxy should name this host"},
    {TransferFault::local, ErrorKind::io, "this process could not send the request",
     "check the CA bundle's path and the limit on open files"},
};

}  // namespace

Error transfer_error(const Transfer& transfer) {
  const std::string_view host = transfer.request().host();
  for (const FaultRow& row : kFaults) {
    if (row.fault != transfer.fault()) continue;
    std::string message = fmt::format("{}: {}", host, row.what);
    if (row.fault == TransferFault::unresolved) {
      const Endpoint endpoint{transfer.request().origin, ""};
      message = fmt::format("the name {} has no address", endpoint.host());
    }
    if (!transfer.fault_text().empty()) message += fmt::format(" ({})", transfer.fault_text());
    if (!row.hint.empty()) message += fmt::format("; {}", row.hint);
    return Error(row.kind, std::move(message));
  }
  return Error(ErrorKind::internal, fmt::format("{}: the transfer was stopped", host));
}

Result<void> HttpClient::run(Transfer& transfer) {
  const auto doing = [&] {
    return fmt::format("waiting for {} to answer", transfer.request().host());
  };
  const SteadyTime began = std::chrono::steady_clock::now();
  TRY(still_wanted(doing(), began));
  const NoSigpipe no_sigpipe;
  auto loop = idle_.take();
  if (!loop) loop = TRY(EventLoop::make(kIdleConnections));
  // So that cancelling the thread's current work ends the wait at once.
  TRY(loop->watch(work_fd()));
  TRY(loop->add(transfer));
  std::vector<Transfer*> finished;
  while (finished.empty() && !is_work_over())
    loop->turn(work_deadline(), finished);
  loop->remove(transfer);
  loop->unwatch();
  idle_.give(std::move(loop));
  if (finished.empty()) return still_wanted(doing(), began);
  return {};
}

Result<HttpAnswer> HttpClient::fetch(const HttpRequest& request, const TransferOptions& options) {
  KeepBody sink;
  Transfer transfer(request, sink, options);
  TRY(run(transfer));
  if (transfer.fault() != TransferFault::none) return transfer_error(transfer);
  return HttpAnswer{transfer.head(), transfer.kept_body()};
}

}  // namespace streamer::core::inline http
