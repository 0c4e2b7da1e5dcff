// SPDX-License-Identifier: Apache-2.0
#include "storage/remote_store.hpp"

#include <fmt/format.h>

#include <cstring>

#include "base/chance.hpp"
#include "base/log.hpp"

namespace streamer::core {

namespace {

// An answer that breaks the rules may be one bad proxy's of several: asked for again, but not long.
constexpr std::uint32_t kAttemptsAtBadAnswers = 5;
// No name of a host that has no address gets one by asking often.
constexpr std::uint32_t kAttemptsAtNames = 3;

// Of something that was never reached, the endpoint is most likely wrong: said after two seconds,
// not after fifteen.
constexpr std::uint32_t kAttemptsAtTheStart = 6;

void be_brief(Verdict& verdict, const Transfer& transfer) {
  if (transfer.fault() == TransferFault::unreachable)
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
               fmt::format("the answer breaks the rules of ranges: {}", refusal.text));
}

Verdict judge_fault(const Transfer& transfer) {
  Verdict verdict{.again = again_after(transfer.fault()), .error = transfer_error(transfer)};
  // The same connection, or its neighbours to the same machine, would fail the same way.
  verdict.wants_fresh_connection = true;
  if (transfer.fault() == TransferFault::bad_response)
    verdict.most_attempts = kAttemptsAtBadAnswers;
  if (transfer.fault() == TransferFault::unresolved) verdict.most_attempts = kAttemptsAtNames;
  return verdict;
}

// A range read while the caller waits, into memory.
class MemorySink final : public RangeSink {
 public:
  MemorySink(ByteRange wanted, PinnedVersion pinned, std::byte* to)
      : RangeSink(wanted, std::move(pinned)), to_(to) {}

 private:
  void land(std::uint64_t offset, std::string_view bytes) override {
    std::memcpy(to_ + (offset - wanted().offset), bytes.data(), bytes.size());
  }
  std::byte* const to_;
};

}  // namespace

// ---- RangeSink ----

BodyUse RangeSink::on_head(const ResponseHead& head) {
  auto checked = check_range(head, wanted_, pinned_);
  if (auto* const refused = std::get_if<RangeRefusal>(&checked)) {
    refusal_ = std::move(*refused);
    // What the store says of its error is worth reading; an object that nobody asked for is not.
    return refusal_->why == RangeRefusal::Why::not_success ? BodyUse::keep : BodyUse::stop;
  }
  accepted_ = std::move(std::get<AcceptedRange>(checked));
  has_length_ = head.header("content-length").has_value();
  return BodyUse::to_sink;
}

bool RangeSink::on_body(std::string_view bytes) {
  const std::uint64_t left = accepted_->bytes - received_;
  const std::string_view taken = bytes.substr(0, left);
  if (!taken.empty()) land(wanted_.offset + received_, taken);
  received_ += taken.size();
  if (bytes.size() > left) {
    refusal_ = RangeRefusal{RangeRefusal::Why::bad_response, "more bytes came than were announced"};
    return false;
  }
  // An answer without a length ends when the server says so, which it may forget.
  return has_length_ || received_ < accepted_->bytes;
}

// ---- Attempts ----

std::optional<Milliseconds> Attempts::next(const Verdict& verdict, bool made_progress) {
  ++made_;
  failures_ = made_progress ? 1 : failures_ + 1;
  // Of failures that are not tried as often as others, only their like count.
  const bool is_limited = verdict.most_attempts != UINT32_MAX;
  if (made_progress) limited_failures_ = 0;
  if (is_limited) ++limited_failures_;
  const bool is_enough =
      failures_ >= policy_.attempts || (is_limited && limited_failures_ >= verdict.most_attempts);
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

Verdict RemoteStore::judge(const Uri& uri, const SignedRequest& request, const Transfer& transfer,
                           const RangeSink& sink) {
  Verdict verdict = [&]() -> Verdict {
    if (!sink.refusal()) {
      if (transfer.fault() != TransferFault::none) return judge_fault(transfer);
      // libcurl is content with a body that ends when the connection does; we counted.
      return {.again = Again::soon,
              .wants_fresh_connection = true,
              .error = Error(ErrorKind::io, "the answer ended before all of its bytes came")};
    }
    if (sink.refusal()->why == RangeRefusal::Why::not_success) {
      // The body was kept, and if it was cut short, the status still counts.
      return judge_answer(uri, request, {transfer.head(), transfer.kept_body()});
    }
    Verdict refused{.error = refusal_error(*sink.refusal())};
    if (sink.refusal()->why == RangeRefusal::Why::bad_response) {
      refused.again = Again::soon;
      refused.most_attempts = kAttemptsAtBadAnswers;
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

Result<void> RemoteStore::read(const Object& object, ByteRange range, std::span<std::byte> to) {
  Attempts attempts(limits_.retry);
  std::uint64_t done = 0;
  TransferOptions options{.connect_timeout = limits_.connect_timeout,
                          .stall_timeout = limits_.stall_timeout};
  while (done < range.size) {
    const ByteRange rest{range.offset + done, range.size - done};
    const SignedRequest request = TRY(range_request(object.uri, rest, object.etag));
    MemorySink sink(
        rest, {.size = object.size, .etag = object.etag, .last_modified = object.last_modified},
        to.data() + done);
    Transfer transfer(request.http, sink, options);
    TRY(http_->run(transfer));
    done += sink.received();
    if (sink.is_complete()) continue;
    Verdict verdict = judge(object.uri, request, transfer, sink);
    const auto delay = attempts.next(verdict, sink.received() != 0);
    if (!delay) return attempts.give_up(std::move(verdict.error));
    options.fresh_connection = verdict.wants_fresh_connection;
    TRY(attempts.wait(*delay, verdict.error).at(object.uri.text(), rest));
  }
  return {};
}

Result<Opened> RemoteStore::open(const Uri& uri, std::uint64_t first_bytes) {
  const ByteRange wanted{0, std::max<std::uint64_t>(first_bytes, 1)};
  std::vector<std::byte> first(wanted.size);
  Attempts attempts(limits_.retry);
  TransferOptions options{.connect_timeout = limits_.connect_timeout,
                          .stall_timeout = limits_.stall_timeout};
  for (;;) {
    const SignedRequest request = TRY(range_request(uri, wanted, ""));
    MemorySink sink(wanted, {}, first.data());
    Transfer transfer(request.http, sink, options);
    TRY(http_->run(transfer));
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
    // An empty object has no first byte to ask for (RFC 9110 15.5.17).
    const auto content = parse_content_range(transfer.head().header_or_empty("content-range"));
    if (transfer.head().status == 416 && (!content || content->total == 0)) {
      return Opened{{.uri = uri,
                     .size = 0,
                     .version = {},
                     .etag = std::string(transfer.head().header_or_empty("etag")),
                     .last_modified = {}},
                    {}};
    }
    Verdict verdict = judge(uri, request, transfer, sink);
    be_brief(verdict, transfer);
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
    const SignedRequest request = TRY(make());
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
  const RemoteSettings read = TRY(read_remote_settings(settings));
  RemoteLimits limits;
  limits.connect_timeout = read.connect_timeout;
  limits.stall_timeout = read.stall_timeout;
  limits.retry.attempts = read.attempts;
  return limits;
}

}  // namespace streamer::core
