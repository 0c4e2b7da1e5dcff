// SPDX-License-Identifier: Apache-2.0
#include "storage/remote_store.hpp"

#include <fmt/format.h>

#include <cstring>

#include "base/chance.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "http/broken_answer.hpp"
#include "http/other_scheme.hpp"
#include "storage/remote_settings.hpp"
#include "storage/store_settings.hpp"

namespace streamer::core::inline storage {

namespace {

// An invalid answer may come from one bad proxy of several: it is retried, but not for long.
constexpr std::uint32_t kAttemptsAtBadAnswers = 5;
// An answer that says something about the object or the store may come from one bad machine of
// many.
constexpr std::uint32_t kAttemptsAtOddAnswers = 2;
// If a server was never reached, the endpoint is most likely wrong: reported after two seconds, not
// fifteen.
constexpr std::uint32_t kAttemptsAtTheStart = 6;
// An attempt that lasted this long and brought nothing is logged at once.
constexpr std::chrono::seconds kLongAttempt{2};

// What fails before a request is sent, such as looking for credentials, does not know for which
// object it was.
Result<SignedRequest> about(const Uri& uri, Result<SignedRequest> request) {
  if (request || !request.error().fields().uri.empty()) return request;
  return std::move(request).error().at(uri.text());
}

void be_brief(Verdict& verdict, const Transfer& transfer) {
  if (transfer.fault() == TransferFault::unreachable ||
      transfer.fault() == TransferFault::unresolved)
    verdict.most_attempts = std::min(verdict.most_attempts, kAttemptsAtTheStart);
}

Error refusal_error(const RangeRefusal& refusal) {
  switch (refusal.why) {
    case RangeRefusal::Why::object_changed:
      return Error(ErrorKind::object_changed,
                   fmt::format("the object was replaced while it was read: {}; load it again",
                               refusal.text));
    case RangeRefusal::Why::range_ignored:
    case RangeRefusal::Why::encoded:
      return Error(ErrorKind::unsupported, refusal.text);
    case RangeRefusal::Why::not_success:
    case RangeRefusal::Why::bad_response:
      break;
  }
  return Error(ErrorKind::io,
               fmt::format("the answer to the range request is not valid: {}", refusal.text));
}

Verdict judge_fault(const Transfer& transfer) {
  Verdict verdict{.again = again_after(transfer.fault()), .error = transfer_error(transfer)};
  // The same connection, or others to the same machine, would most likely fail in the same way.
  verdict.wants_fresh_connection = true;
  if (transfer.fault() == TransferFault::bad_response)
    verdict.most_attempts = kAttemptsAtBadAnswers;
  return verdict;
}

// 416 for an object that had these bytes when it was opened.
Verdict doubt_that_it_shrank(Verdict verdict, const ResponseHead& head) {
  verdict.again = Again::soon;
  verdict.most_attempts = kAttemptsAtOddAnswers;
  verdict.wants_fresh_connection = true;
  ErrorFields fields = verdict.error.fields();
  const auto content = parse_content_range(head.header_or_empty("content-range"));
  fields.message += fmt::format(
      "; according to this, the object no longer has these bytes{}: it was replaced by a shorter "
      "one while it was read, or one of the store's machines has another version of it; load it "
      "again",
      content && content->total ? fmt::format(", but {} in all", *content->total) : "");
  verdict.error = Error(std::move(fields));
  return verdict;
}

// An empty object has no first byte to request (RFC 9110 15.5.17): 416. Some stores name a range of
// it all the same.
bool says_it_is_empty(const ResponseHead& head) {
  const std::string_view text = head.header_or_empty("content-range");
  if (head.status == 206) return trim(text).ends_with("/0");
  const auto content = parse_content_range(text);
  return head.status == 416 && (!content || content->total == 0);
}

// Reads a range into memory while the caller waits.
class MemorySink final : public RangeSink {
 public:
  // broken: compared with the incoming bytes; may be nullptr.
  MemorySink(ByteRange wanted, PinnedVersion pinned, std::byte* to, BrokenAnswers* broken)
      : RangeSink(wanted, std::move(pinned)), to_(to), broken_(broken) {}

  AnswerSamples samples;

 private:
  void land(std::uint64_t offset, std::string_view bytes) override {
    std::memcpy(to_ + (offset - wanted().offset), bytes.data(), bytes.size());
    samples.note(offset, bytes);
    if (broken_ != nullptr) broken_->compare(offset, bytes);
  }
  std::byte* const to_;
  BrokenAnswers* const broken_;
};

// For a server that was never reached. A single failure may have another cause; and the server is
// probed only once, because it may belong to somebody else.
constexpr std::uint32_t kFailuresBeforeAsking = 3;

void explain_scheme(HttpClient& http, const Attempts& attempts, const Transfer& transfer,
                    Verdict& verdict) {
  const bool is_last = verdict.again == Again::never;
  if (!is_last && attempts.made() + 1 != kFailuresBeforeAsking) return;
  std::string text = transfer.fault() != TransferFault::none ? scheme_mismatch(http, transfer)
                     : says_tls_port(transfer.head().status, transfer.kept_body())
                         ? tls_port_text(transfer.request())
                         : std::string();
  if (text.empty()) return;
  ErrorFields fields = verdict.error.fields();
  fields.message = std::move(text);
  verdict.error = Error(std::move(fields));
  verdict.again = Again::never;
}

}  // namespace

// ---- RangeSink ----

BodyUse RangeSink::on_head(const ResponseHead& head) {
  auto checked = check_range(head, wanted_, pinned_);
  if (auto* const refused = std::get_if<RangeRefusal>(&checked)) {
    refusal_ = std::move(*refused);
    // The store's error document is worth reading; an object that was not requested is not.
    return refusal_->why == RangeRefusal::Why::not_success ? BodyUse::keep : BodyUse::stop;
  }
  accepted_ = std::move(std::get<AcceptedRange>(checked));
  return BodyUse::to_sink;
}

bool RangeSink::on_body(std::string_view bytes) {
  if (refusal_) return false;
  const std::uint64_t left = accepted_->bytes - received_;
  const std::string_view taken = bytes.substr(0, left);
  if (!taken.empty()) land(wanted_.offset + received_, taken);
  received_ += taken.size();
  if (bytes.size() > left) on_excess();
  return !refusal_;
}

void RangeSink::on_excess() {
  if (!accepted_ || refusal_) return;
  refusal_ =
      RangeRefusal{RangeRefusal::Why::bad_response, "more bytes arrived than were announced"};
}

bool is_refused_whole(const Transfer& transfer, const RangeSink& sink) {
  if (!sink.accepted() || sink.is_complete()) return false;
  if (sink.refusal()) return true;
  // If the answer ends with the connection, it may only have broken off.
  const bool says_where_it_ends = !transfer.head().header_or_empty("transfer-encoding").empty();
  return transfer.fault() == TransferFault::none && says_where_it_ends;
}

// ---- Attempts ----

std::optional<Milliseconds> Attempts::next(const Verdict& verdict, bool made_progress) {
  ++made_;
  // Logged now: otherwise nothing would be heard of these failures for minutes.
  const SteadyTime now = std::chrono::steady_clock::now();
  const bool was_long = now - std::exchange(last_failure_, now) >= kLongAttempt;
  if (verdict.error.kind() == ErrorKind::timed_out || (was_long && !made_progress))
    log_line(LogLevel::warning, fmt::format("attempt {}: {}", made_, verdict.error.line()));
  if (!verdict.counts) return Milliseconds(0);
  failures_ = made_progress ? 1 : failures_ + 1;
  // Failures with a lower limit are counted separately from others.
  const bool is_limited = verdict.most_attempts != UINT32_MAX;
  if (made_progress) limited_failures_ = 0;
  if (is_limited) ++limited_failures_;
  const bool is_enough = failures_ >= policy_.most_attempts(verdict.again) ||
                         (is_limited && limited_failures_ >= verdict.most_attempts);
  if (verdict.again == Again::never || is_enough) return std::nullopt;
  return retry_delay(policy_, verdict.again, failures_, verdict.retry_after, chance());
}

Error Attempts::give_up(Error error) const {
  ErrorFields fields = error.fields();
  fields.attempts = made_;
  fields.elapsed_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - started_)
          .count());
  if (made_ > 1) fields.message += fmt::format(" ({} attempts in {} ms)", made_, fields.elapsed_ms);
  return Error(std::move(fields));
}

Result<void> Attempts::wait(Milliseconds delay, const Error& last) const {
  auto waited = pause_for(
      delay, fmt::format("about to try again, after attempt {} failed: {}", made_, last.message()));
  if (!waited) return give_up(std::move(waited).error());
  return {};
}

// ---- RemoteStore ----

Result<SignedRequest> RemoteStore::range_request(const Uri& uri, ByteRange range,
                                                 const std::string& etag) {
  return about(uri, make_range_request(uri, range, etag));
}

Verdict RemoteStore::judge(const Uri& uri, const SignedRequest& request, const Transfer& transfer,
                           const RangeSink& sink) {
  Verdict verdict = [&]() -> Verdict {
    if (!sink.refusal()) {
      if (transfer.fault() != TransferFault::none) return judge_fault(transfer);
      // libcurl accepts a body that ends with the connection; the sink has counted its bytes.
      return {
          .again = Again::soon,
          .most_attempts = is_refused_whole(transfer, sink) ? kAttemptsAtBadAnswers : UINT32_MAX,
          .wants_fresh_connection = true,
          .error = Error(ErrorKind::io, "the answer ended before all of its bytes arrived")};
    }
    if (sink.refusal()->why == RangeRefusal::Why::not_success) {
      // The body was kept; if it was cut short, the status still counts.
      Verdict answered = judge_answer(uri, request, {transfer.head(), transfer.kept_body()});
      if (transfer.head().status == 416 && answered.again == Again::never)
        return doubt_that_it_shrank(std::move(answered), transfer.head());
      return answered;
    }
    Verdict refused{.error = refusal_error(*sink.refusal())};
    const bool is_bad = sink.refusal()->why == RangeRefusal::Why::bad_response;
    if (is_bad || sink.refusal()->why == RangeRefusal::Why::range_ignored) {
      refused.again = Again::soon;
      refused.most_attempts = is_bad ? kAttemptsAtBadAnswers : kAttemptsAtOddAnswers;
      refused.wants_fresh_connection = true;
    }
    return refused;
  }();
  if (verdict.error.fields().host.empty()) {
    ErrorFields fields = verdict.error.fields();
    fields.host = request.http.host();
    if (fields.http_status == 0) fields.http_status = transfer.head().status;
    verdict.error = Error(std::move(fields));
  }
  verdict.error = std::move(verdict.error).at(uri.text(), sink.wanted());
  if (log_enabled(LogLevel::debug))
    log_line(LogLevel::debug, fmt::format("attempt failed: {}", verdict.error.line()));
  return verdict;
}

// Each attempt goes on where the bytes of the last one are sure. `furthest` is what counts as
// progress: an attempt that only repeats what another brought does not reset the count of failures.
Result<void> RemoteStore::read(const Object& object, ByteRange range, std::span<std::byte> to) {
  Attempts attempts(limits_.retry);
  std::uint64_t done = range.offset;  // of the object: where reading goes on
  std::uint64_t furthest = range.offset;
  BrokenAnswers broken;
  TransferOptions options{.connect_timeout = limits_.connect_timeout,
                          .stall_timeout = limits_.stall_timeout};
  while (range.size != 0) {
    const ByteRange rest{done, range.end() - done};
    const SignedRequest request = TRY(range_request(object.uri, rest, object.etag));
    MemorySink sink(rest, expected(object, request), to.data() + (done - range.offset), &broken);
    Transfer transfer(request.http, sink, options);
    TRY(http_->run(transfer));
    if (sink.accepted()) was_accepted(object.uri, request);
    const bool is_whole = sink.is_complete();
    // Up to here the bytes are the object's; what an answer brought last may be a proxy's.
    const std::uint64_t sure = is_whole ? range.end()
                               : is_refused_whole(transfer, sink)
                                   ? done
                                   : sure_before(done, done + sink.received());
    const auto finding = broken.judge(sure, is_whole);
    if (finding.difference)
      log_line(LogLevel::warning,
               fmt::format("{}: {}", object.uri.text(), describe_difference(*finding.difference)));
    // The caller has seen none of the bytes yet, so everything can be read again.
    if (finding.wrong_perhaps_since) {
      done = range.offset;
      broken.clear();
    } else if (is_whole) {
      break;
    } else {
      broken.forget_comparison();
      done = sink.samples.at_or_before(sure);
      if (sink.received() != 0) broken.add({rest.offset, done, sink.samples.from(done)});
    }
    if (is_whole) continue;
    Verdict verdict = judge(object.uri, request, transfer, sink);
    const auto delay = attempts.next(verdict, done > furthest);
    furthest = std::max(furthest, done);
    if (!delay) return attempts.give_up(std::move(verdict.error));
    options.fresh_connection = verdict.wants_fresh_connection;
    TRY(attempts.wait(*delay, verdict.error).at(object.uri.text(), rest));
  }
  return {};
}

// One request, no HEAD before it: the answer to the first bytes says size, ETag and date as well,
// and a small header is already there.
Result<Opened> RemoteStore::open(const Uri& uri, std::uint64_t first_bytes) {
  // Not "bytes=0-0": s3rver takes that for the whole object.
  const ByteRange wanted{0, std::max<std::uint64_t>(first_bytes, 2)};
  std::vector<std::byte> first(wanted.size);
  Attempts attempts(limits_.retry);
  TransferOptions options{.connect_timeout = limits_.connect_timeout,
                          .stall_timeout = limits_.stall_timeout};
  for (;;) {
    const SignedRequest request = TRY(range_request(uri, wanted, ""));
    MemorySink sink(wanted, {}, first.data(), nullptr);
    Transfer transfer(request.http, sink, options);
    TRY(http_->run(transfer));
    if (sink.accepted()) was_accepted(uri, request);
    if (sink.is_complete()) {
      const PinnedVersion& version = sink.accepted()->version;
      first.resize(std::min<std::uint64_t>(sink.received(), first_bytes));
      if (version.etag.empty()) {
        log_line(
            LogLevel::warning,
            fmt::format("{}: the store sends no ETag; size and date pin the version", uri.text()));
      }
      return Opened{{.uri = uri,
                     .size = *version.size,
                     .version = {},
                     .etag = version.etag,
                     .last_modified = version.last_modified},
                    std::move(first)};
    }
    if (says_it_is_empty(transfer.head())) {
      return Opened{{.uri = uri,
                     .size = 0,
                     .version = {},
                     .etag = std::string(transfer.head().header_or_empty("etag")),
                     .last_modified = {}},
                    {}};
    }
    Verdict verdict = judge(uri, request, transfer, sink);
    be_brief(verdict, transfer);
    explain_scheme(*http_, attempts, transfer, verdict);
    const auto delay = attempts.next(verdict, false);
    if (!delay) {
      ErrorFields fields = attempts.give_up(std::move(verdict.error)).fields();
      fields.range = {};  // the object as such could not be opened
      return Error(std::move(fields));
    }
    options.fresh_connection = verdict.wants_fresh_connection;
    TRY(attempts.wait(*delay, verdict.error).at(uri.text()));
  }
}

Result<HttpAnswer> RemoteStore::fetch(const Uri& uri, const MakeRequest& make, const Accept& accept,
                                      std::size_t most_bytes) {
  Attempts attempts(limits_.retry);
  TransferOptions options{.connect_timeout = limits_.connect_timeout,
                          .stall_timeout = limits_.stall_timeout,
                          .kept_bytes = most_bytes};
  for (;;) {
    const SignedRequest request = TRY(about(uri, make()));
    KeepBody sink;
    Transfer transfer(request.http, sink, options);
    TRY(http_->run(transfer));
    HttpAnswer answer{transfer.head(), transfer.kept_body()};
    std::optional<Verdict> verdict;
    if (transfer.fault() != TransferFault::none) {
      verdict = judge_fault(transfer);
      be_brief(*verdict, transfer);
    } else if (answer.head.status >= 300) {
      verdict = judge_answer(uri, request, answer);
    } else {
      verdict = accept(answer);
    }
    if (!verdict) return answer;
    explain_scheme(*http_, attempts, transfer, *verdict);
    const auto delay = attempts.next(*verdict, false);
    if (!delay) return attempts.give_up(std::move(verdict->error)).at(uri.text());
    options.fresh_connection = verdict->wants_fresh_connection;
    TRY(attempts.wait(*delay, verdict->error).at(uri.text()));
  }
}

Result<HttpAnswer> RemoteStore::fetch_head(const Uri& uri, const MakeRequest& make) {
  return fetch(
      uri, make, [](const HttpAnswer&) { return std::optional<Verdict>(); }, kMiB);
}

Verdict RemoteStore::failure(const SignedRequest& request, const HttpAnswer& answer,
                             const ServiceError& error, std::span<const CodeRow> own) const {
  return {.retry_after = retry_after(answer.head, context_.now()),
          .error = service_failure(request.http, answer.head.status, error, own)};
}

Result<RemoteLimits> read_remote_limits(const Settings& settings) {
  const StoreSettings read = TRY(read_store_settings(settings));
  RemoteLimits limits;
  limits.connect_timeout = read.get(setting::kConnectTimeoutMs);
  limits.stall_timeout = read.get(setting::kStallTimeoutMs);
  limits.retry.attempts = read.get(setting::kMaxAttempts);
  return limits;
}

}  // namespace streamer::core::inline storage
