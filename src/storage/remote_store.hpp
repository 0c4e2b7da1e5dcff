// SPDX-License-Identifier: Apache-2.0
#pragma once
// What all stores behind HTTP share: ranges that are requested until they arrive or finally fail,
// listings page by page, and the doctor's steps. A backend defines what its requests look like and
// what its answers mean.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "auth/auth_context.hpp"
#include "auth/credential_cache.hpp"
#include "base/operation.hpp"
#include "http/http_client.hpp"
#include "http/range_check.hpp"
#include "http/retry.hpp"
#include "http/transfer.hpp"
#include "storage/service_error.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline storage {

// A request and what it was made from, so that an answer to older keys can be told apart.
struct SignedRequest {
  HttpRequest http;
  std::uint64_t credentials_version = 0;
  SystemTime signed_at{};
  std::string region = {};  // of S3
  bool in_session = false;  // of S3: signed with the keys of the bucket's own session
  std::uint32_t hops = 0;   // how often it was redirected
  HttpUrl asked = {};       // of a hub: before it was redirected
  bool is_json = false;     // of Google: for the JSON API
};

// What to do after an attempt that did not bring all of its bytes.
struct Verdict {
  Again again = Again::never;
  std::uint32_t most_attempts = UINT32_MAX;  // if fewer than the policy's
  bool wants_fresh_connection = false;
  // False: something other than the store's readiness changed, so the attempt is not a failure.
  bool counts = true;
  std::optional<Milliseconds> retry_after = {};
  Error error;  // the error to report if it is not tried again
};

// Receives one attempt at a range. A subclass decides where its bytes go.
class RangeSink : public TransferSink {
 public:
  // wanted must not be empty.
  RangeSink(ByteRange wanted, PinnedVersion pinned) : wanted_(wanted), pinned_(std::move(pinned)) {}

  [[nodiscard]] ByteRange wanted() const noexcept { return wanted_; }
  // Once the head was accepted.
  [[nodiscard]] const std::optional<AcceptedRange>& accepted() const noexcept { return accepted_; }
  [[nodiscard]] const std::optional<RangeRefusal>& refusal() const noexcept { return refusal_; }
  // The number of bytes passed to land(). They can be trusted once the answer has ended and
  // is_complete(): until then it may break off, and its last bytes may not be the object's.
  [[nodiscard]] std::uint64_t received() const noexcept { return received_; }
  [[nodiscard]] bool is_complete() const noexcept {
    return accepted_ && !refusal_ && received_ == accepted_->bytes;
  }

  BodyUse on_head(const ResponseHead& head) final;
  bool on_body(std::string_view bytes) final;
  void on_excess() final;
  [[nodiscard]] bool has_all() const noexcept final { return is_complete(); }

 protected:
  // Bytes of the object from `offset` on, in order, never more than wanted.
  virtual void land(std::uint64_t offset, std::string_view bytes) = 0;

 private:
  const ByteRange wanted_;
  const PinnedVersion pinned_;
  std::optional<AcceptedRange> accepted_;
  std::optional<RangeRefusal> refusal_;
  std::uint64_t received_ = 0;
};

// Whether no byte of an ended but incomplete answer counts: it ended normally, but before or after
// the end of its range.
[[nodiscard]] bool is_refused_whole(const Transfer& transfer, const RangeSink& sink);

// Entries of a listing, in the order of the store.
struct Page {
  std::vector<Entry> entries;
  std::string next;  // asks for the next page; empty: this is the last one
};

// "region", "eu-west-1 (from AWS_REGION)", in the order in which they are shown to people.
using Facts = std::vector<std::pair<std::string, std::string>>;

// How a URI is reached, for people.
struct RemoteWay {
  std::string origin;  // empty: nothing is requested, as endpoint_source says
  std::string endpoint_source;
  Facts facts;
};

struct RemoteLimits {
  Milliseconds connect_timeout{5000};
  Milliseconds stall_timeout{10'000};
  RetryPolicy retry;
};

class RemoteStore : public Store {
 public:
  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override;
  Result<bool> is_folder(const Uri& uri) override;
  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override;
  Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) override;
  RemoteStore* remote() noexcept override { return this; }

  // ---- For readers that do not block ----

  // The head of an answer has been accepted.
  virtual void was_accepted(const Uri& uri, const SignedRequest& request) {
    static_cast<void>(uri);
    static_cast<void>(request);
  }
  // What an answer to the request must say of the object's version; empty fields are not compared.
  [[nodiscard]] virtual PinnedVersion expected(const Object& object, const SignedRequest& request) {
    static_cast<void>(request);
    return {.size = object.size, .etag = object.etag, .last_modified = object.last_modified};
  }
  // What to do after a finished but incomplete attempt. May fetch credentials or look for a region,
  // which blocks. The error says everything except the number of attempts.
  Verdict judge(const Uri& uri, const SignedRequest& request, const Transfer& transfer,
                const RangeSink& sink);
  [[nodiscard]] const RemoteLimits& limits() const noexcept { return limits_; }
  // make_range_request(), with errors that name the object.
  Result<SignedRequest> range_request(const Uri& uri, ByteRange range, const std::string& etag);

  // ---- What a backend implements ----

  // GET of a range, signed now, on condition that the object still has this ETag (empty: any).
  // Thread-safe. Blocks only where credentials must be fetched.
  virtual Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                                   const std::string& etag) = 0;
  virtual Result<RemoteWay> way_to(const Uri& uri) = 0;
  // "from the environment, until 2030-01-01T00:00:00Z": never a secret. Blocks.
  virtual Result<std::string> describe_credentials(const Uri& uri) = 0;
  // What is known once uri was listed, in the form of RemoteWay's facts.
  virtual Facts findings(const Uri& uri) {
    static_cast<void>(uri);
    return {};
  }

  // What the server of uri is, after an answer of it, and what to set for it; empty: not looked
  // for.
  virtual std::string describe_server(const Uri& uri, const HttpAnswer& answer) {
    static_cast<void>(uri);
    static_cast<void>(answer);
    return {};
  }

  [[nodiscard]] HttpClient& http() noexcept { return *http_; }
  [[nodiscard]] const AuthContext& context() const noexcept { return context_; }

 protected:
  // context: for the doctor, and for requests to services other than the store; its http is
  // replaced by this store's.
  RemoteStore(RemoteLimits limits, std::shared_ptr<HttpClient> http, AuthContext context)
      : limits_(limits), http_(std::move(http)), context_(std::move(context)) {
    context_.http = http_.get();
  }

  // What an answer of 300 or more means. The body is the store's own error, possibly truncated.
  virtual Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                               const HttpAnswer& answer) = 0;
  // The request for the page of a folder's listing that `token` identifies (empty: the first).
  virtual Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                             const std::string& token) = 0;
  // nullopt for a document that reports a failure, whatever the status. Fails with corrupt if it is
  // not a listing.
  virtual Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) = 0;
  // ---- For a backend's use ----

  // Fetches a small document, with retries. accept may refuse an answer of 200 by returning a
  // verdict.
  using MakeRequest = std::function<Result<SignedRequest>()>;
  using Accept = std::function<std::optional<Verdict>(const HttpAnswer&)>;
  Result<HttpAnswer> fetch(const Uri& uri, const MakeRequest& make, const Accept& accept,
                           std::size_t most_bytes);
  // The same without a body: HEAD.
  Result<HttpAnswer> fetch_head(const Uri& uri, const MakeRequest& make);

  [[nodiscard]] std::shared_ptr<const HttpRoute> route_to(std::string_view origin) const {
    return context_.route_to(Endpoint{std::string(origin), ""});
  }
  // service_failure(), with Retry-After. Its `again` is never; the backend may decide otherwise.
  [[nodiscard]] Verdict failure(const SignedRequest& request, const HttpAnswer& answer,
                                const ServiceError& error, std::span<const CodeRow> own) const;

 private:
  Result<Page> fetch_page(const Uri& folder, ListDepth depth, std::uint64_t most,
                          const std::string& token);

  const RemoteLimits limits_;
  const std::shared_ptr<HttpClient> http_;
  AuthContext context_;
};

// From the settings that all backends share.
Result<RemoteLimits> read_remote_limits(const Settings& settings);

// After an answer that refuses the keys of `version`: fetches new ones, once for all callers.
// at_once if there are different ones now.
template <typename Credentials>
Again renew_credentials(CredentialCache<Credentials>& cache, std::uint64_t version) {
  const auto renewed = cache.renew(version);
  if (!renewed) log_line(LogLevel::warning, "renewing credentials: " + renewed.error().line());
  return renewed && *renewed ? Again::at_once : Again::never;
}

// Waits between attempts, counts them, and decides when to give up. For one thing that is requested
// repeatedly.
class Attempts {
 public:
  explicit Attempts(const RetryPolicy& policy) noexcept : policy_(policy) {}

  // One attempt failed; made_progress: it brought bytes that are not requested again. Returns how
  // long to wait; nullopt: give up.
  std::optional<Milliseconds> next(const Verdict& verdict, bool made_progress);
  // Before the next attempt; fails once the thread's current work is over.
  Result<void> wait(Milliseconds delay, const Error& last) const;
  // The verdict's error, with how often and for how long it was tried.
  [[nodiscard]] Error give_up(Error error) const;
  [[nodiscard]] std::uint32_t made() const noexcept { return made_; }

 private:
  const RetryPolicy policy_;
  const SteadyTime started_ = std::chrono::steady_clock::now();
  SteadyTime last_failure_ = started_;
  std::uint32_t made_ = 0;              // all of them
  std::uint32_t failures_ = 0;          // since the last progress
  std::uint32_t limited_failures_ = 0;  // of those, the ones with a limit of their own
};

}  // namespace streamer::core::inline storage
