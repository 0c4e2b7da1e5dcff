// SPDX-License-Identifier: Apache-2.0
#include "storage/s3_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/xml.hpp"
#include "http/proxy.hpp"

namespace streamer::core {

namespace {

// A page holds 1000 keys of up to 1024 bytes, each escaped threefold at worst.
constexpr std::size_t kMostPageBytes = 16 * kMiB;
constexpr std::size_t kMostErrorText = 500;
// S3 tolerates 15 minutes. Below 4 the clock is not what is wrong.
constexpr std::chrono::minutes kSkewThatMatters{4};

struct CodeRow {
  std::string_view code;
  ErrorKind kind;
  std::string_view hint;
};

// What the codes mean that are final. Those that start something stand in judge_code().
constexpr std::array kFinalCodes = {
    CodeRow{"NoSuchKey", ErrorKind::not_found, "check the key"},
    CodeRow{"NoSuchBucket", ErrorKind::not_found, "check the bucket's name and the endpoint"},
    CodeRow{"NoSuchVersion", ErrorKind::not_found, "check s3_version_id"},
    CodeRow{"AccessDenied", ErrorKind::permission_denied,
            "the credentials may not read this, or it does not exist and they may not list the "
            "bucket; check s3:GetObject and s3:ListBucket"},
    CodeRow{"AllAccessDisabled", ErrorKind::permission_denied, "the bucket is disabled"},
    CodeRow{"AccountProblem", ErrorKind::permission_denied, "ask the store's operator"},
    CodeRow{"InvalidAccessKeyId", ErrorKind::permission_denied,
            "the store does not know this access key id; check which credentials are in use with "
            "streamer doctor"},
    CodeRow{"SignatureDoesNotMatch", ErrorKind::permission_denied,
            "the secret key does not belong to the access key id, or a proxy changed the request"},
    CodeRow{"InvalidObjectState", ErrorKind::permission_denied,
            "the object is archived; restore it first"},
    CodeRow{"RequestTimeTooSkewed", ErrorKind::clock_skew,
            "set this machine's clock (the store allows 15 minutes)"},
    CodeRow{"ExpiredToken", ErrorKind::credentials_expired, "get new credentials"},
    CodeRow{"TokenRefreshRequired", ErrorKind::credentials_expired, "get new credentials"},
    CodeRow{"InvalidToken", ErrorKind::credentials_expired,
            "the session token is not accepted; get new credentials"},
    CodeRow{"RequestExpired", ErrorKind::credentials_expired,
            "the request was signed too long ago"},
    CodeRow{"PreconditionFailed", ErrorKind::object_changed,
            "the object was replaced after it was opened; load it again"},
    CodeRow{"AuthorizationHeaderMalformed", ErrorKind::invalid_argument,
            "the region that requests are signed for is not the bucket's; set s3_region or "
            "AWS_REGION"},
    CodeRow{"PermanentRedirect", ErrorKind::invalid_argument,
            "the bucket is in another region; set s3_region or AWS_REGION"},
    CodeRow{"TemporaryRedirect", ErrorKind::invalid_argument,
            "the bucket is in another region; set s3_region or AWS_REGION"},
    CodeRow{"NotImplemented", ErrorKind::unsupported, "the store does not know this request"},
    CodeRow{"SecondLevelDomainForbidden", ErrorKind::invalid_argument,
            "the store refuses path style; set s3_addressing to virtual"},
};

constexpr std::array<std::string_view, 9> kThrottlingCodes = {"SlowDown",
                                                              "ServiceUnavailable",
                                                              "Busy",
                                                              "RequestLimitExceeded",
                                                              "Throttling",
                                                              "ThrottlingException",
                                                              "KMS.ThrottlingException",
                                                              "RequestThrottled",
                                                              "BandwidthLimitExceeded"};
constexpr std::array<std::string_view, 5> kPassingCodes = {"InternalError", "InternalErrors",
                                                           "RequestTimeout", "OperationAborted",
                                                           "RequestTimeoutException"};
constexpr std::array<std::string_view, 4> kKeyCodes = {"ExpiredToken", "TokenRefreshRequired",
                                                       "InvalidToken", "InvalidAccessKeyId"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& codes, std::string_view code) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

ErrorKind kind_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorKind::permission_denied;
    case 404:
      return ErrorKind::not_found;
    case 412:
    case 416:
      return ErrorKind::object_changed;
    case 429:
    case 503:
      return ErrorKind::throttled;
    case 501:
      return ErrorKind::unsupported;
    default:
      return status >= 500 || status == 408 ? ErrorKind::io : ErrorKind::invalid_argument;
  }
}

// "a+b%2F" as forms encode it: what encoding-type=url asks for.
std::string decode_form(std::string_view text) {
  std::string spaced(text);
  std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percent_decode(spaced).value_or(std::string(text));
}

RemoteLimits limits_of(const RemoteSettings& settings) {
  RemoteLimits limits;
  limits.connect_timeout = settings.connect_timeout;
  limits.stall_timeout = settings.stall_timeout;
  limits.retry.attempts = settings.attempts;
  return limits;
}

}  // namespace

// What an answer of 300 or more says of itself.
struct S3Store::ServiceError {
  std::string code;
  std::string message;
  std::string region;
  std::string request_id;

  static ServiceError of(const HttpAnswer& answer) {
    ServiceError error;
    error.request_id = answer.head.header_or_empty("x-amz-request-id");
    const auto root = read_xml(answer.body);
    if (!root || root->name != "Error") return error;
    error.code = root->text_of("Code");
    error.message = root->text_of("Message").substr(0, kMostErrorText);
    error.region = root->text_of("Region");
    if (error.request_id.empty()) error.request_id = root->text_of("RequestId");
    return error;
  }
};

struct S3Store::Page {
  std::vector<Entry> entries;
  std::string next_token;  // empty: this is the last page
};

Result<std::unique_ptr<Store>> make_s3_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = limits_of(TRY(read_remote_settings(settings)));
  S3Config config = TRY(read_s3_config(settings, process_environment(), *http));
  return std::unique_ptr<Store>(
      std::make_unique<S3Store>(std::move(config), limits, std::move(http)));
}

S3Store::S3Store(S3Config config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
    : RemoteStore(limits, std::move(http)),
      config_(std::move(config)),
      credentials_(config_.fetch_credentials, config_.auth.now) {}

S3Store::BucketState S3Store::state_of(std::string_view bucket) {
  return buckets_.with([&](auto& buckets) {
    const auto found = buckets.find(bucket);
    if (found != buckets.end()) return found->second;
    return BucketState{.region = config_.region.value};
  });
}

Result<AwsCredentials> S3Store::credentials() {
  return TRY(credentials_.get()).credentials;
}

SystemTime S3Store::store_time() {
  return clock_.with([&](const std::optional<StoreClock>& clock) -> SystemTime {
    if (!clock) return config_.auth.now();
    return clock->said + std::chrono::duration_cast<SystemTime::duration>(
                             std::chrono::steady_clock::now() - clock->at);
  });
}

Result<S3Target> S3Store::target_of(const Uri& uri) {
  const BucketState state = state_of(uri.bucket());
  S3EndpointRules rules = config_.endpoint;
  if (state.must_be_virtual_host) rules.addressing = S3Addressing::virtual_host;
  return s3_target(rules, uri.bucket(), state.region);
}

Result<SignedRequest> S3Store::make_request(std::string method, std::string_view bucket,
                                            std::string_view key, Parameters parameters,
                                            std::vector<HttpHeader> headers) {
  const Uri uri("s3", std::string(bucket) + "/");
  const S3Target target = TRY(target_of(uri));
  SignedRequest request;
  request.http.method = std::move(method);
  request.http.origin = target.origin;
  request.http.path = target.base_path;
  const bool names_bucket = !target.is_virtual_host && key.empty();
  if (!names_bucket) request.http.path += "/" + percent_encode(key, "/");
  request.http.query = canonical_query(std::move(parameters));
  request.http.headers = std::move(headers);
  request.http.route = config_.auth.route_to(Endpoint{target.origin, ""});
  request.region = state_of(bucket).region;
  request.signed_at = store_time();
  if (config_.is_unsigned) return request;
  const auto current = TRY(credentials_.get());
  request.credentials_version = current.version;
  const std::string region = request.region == "aws-global" ? "us-east-1" : request.region;
  signer_.sign(request.http, current.credentials, {region, "s3"}, request.signed_at);
  if (log_enabled(LogLevel::trace)) {
    log_line(LogLevel::trace,
             fmt::format("{} {}{}", request.http.method, request.http.origin, request.http.path));
  }
  return request;
}

Result<SignedRequest> S3Store::range_request(const Uri& uri, ByteRange range,
                                             const std::string& etag) {
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a bucket and no object")
        .at(uri.text());
  std::vector<HttpHeader> headers = config_.extra_headers;
  headers.push_back({"Range", fmt::format("bytes={}-{}", range.offset, range.end() - 1)});
  // If-Match compares strongly (RFC 9110 13.1.1), so that a weak ETag would never match.
  if (!etag.empty() && !etag.starts_with("W/")) headers.push_back({"If-Match", etag});
  Parameters parameters;
  if (!config_.version_id.empty()) parameters.emplace_back("versionId", config_.version_id);
  return make_request("GET", uri.bucket(), uri.key(), std::move(parameters), std::move(headers))
      .at(uri.text());
}

Result<std::optional<ExpectedChecksum>> S3Store::stored_checksum(const Object& object) {
  const auto make = [&]() -> Result<SignedRequest> {
    std::vector<HttpHeader> headers = config_.extra_headers;
    headers.push_back({"x-amz-checksum-mode", "ENABLED"});
    if (!object.etag.empty() && !object.etag.starts_with("W/"))
      headers.push_back({"If-Match", object.etag});
    Parameters parameters;
    if (!config_.version_id.empty()) parameters.emplace_back("versionId", config_.version_id);
    return make_request("HEAD", object.uri.bucket(), object.uri.key(), std::move(parameters),
                        std::move(headers));
  };
  const auto accept = [](const HttpAnswer&) { return std::optional<Verdict>(); };
  const HttpAnswer answer = TRY(fetch(object.uri, make, accept, kMostErrorText));
  const std::string_view type = answer.head.header_or_empty("x-amz-checksum-type");
  if (!type.empty() && type != "FULL_OBJECT") return std::optional<ExpectedChecksum>();
  for (const ChecksumKind kind :
       {ChecksumKind::crc64nvme, ChecksumKind::crc32c, ChecksumKind::crc32, ChecksumKind::sha256}) {
    const std::string_view value =
        answer.head.header_or_empty("x-amz-checksum-" + to_lower(checksum_name(kind)));
    // "-3" behind it: of three parts.
    const auto bytes = base64_decode(value);
    if (value.empty() || !bytes || bytes->size() != checksum_bytes(kind)) continue;
    return std::optional(ExpectedChecksum{kind, *bytes, "the store"});
  }
  return std::optional<ExpectedChecksum>();
}

// ---- Listing ----

Result<S3Store::Page> S3Store::fetch_page(const Uri& folder, std::string_view delimiter,
                                          std::uint64_t most_keys, const std::string& token) {
  const auto make = [&]() -> Result<SignedRequest> {
    Parameters parameters = {{"list-type", "2"},
                             {"encoding-type", "url"},
                             {"prefix", std::string(folder.key())},
                             {"max-keys", std::to_string(most_keys)}};
    if (!delimiter.empty()) parameters.emplace_back("delimiter", delimiter);
    if (!token.empty()) parameters.emplace_back("continuation-token", token);
    std::vector<HttpHeader> headers;
    for (const HttpHeader& header : config_.extra_headers) {
      const bool is_of_objects = header.name.starts_with("x-amz-server-side");
      if (!is_of_objects) headers.push_back(header);
    }
    return make_request("GET", folder.bucket(), "", std::move(parameters), std::move(headers));
  };
  Page page;
  const auto accept = [&](const HttpAnswer& answer) -> std::optional<Verdict> {
    const auto bad = [&](std::string why) {
      return Verdict{.again = Again::soon,
                     .most_attempts = 3,
                     .error = Error(ErrorKind::io, "the answer to a listing is unusable: " + why)};
    };
    const auto root = read_xml(answer.body);
    if (!root) return bad(root.error().message());
    // Some stores say 200 before they know.
    if (root->name == "Error") {
      HttpAnswer failed = answer;
      failed.head.status = 500;
      auto request = make();
      if (!request) return Verdict{.error = std::move(request).error()};
      return judge_answer(folder, *request, failed);
    }
    if (root->name != "ListBucketResult") return bad("its root is " + root->name.substr(0, 60));
    const bool is_encoded = root->text_of("EncodingType") == "url";
    const auto decode = [&](std::string_view text) {
      return is_encoded ? decode_form(text) : std::string(text);
    };
    page = {};
    const std::string bucket(folder.bucket());
    for (const XmlElement& element : root->children) {
      if (element.name == "CommonPrefixes") {
        page.entries.push_back(
            {Uri("s3", bucket + "/" + decode(element.text_of("Prefix"))), 0, true});
      } else if (element.name == "Contents") {
        const auto size = parse_unsigned(trim(element.text_of("Size")));
        if (!size) return bad("a key has no size");
        page.entries.push_back(
            {Uri("s3", bucket + "/" + decode(element.text_of("Key"))), *size, false});
      }
    }
    if (equal_ignoring_case(trim(root->text_of("IsTruncated")), "true")) {
      page.next_token = root->text_of("NextContinuationToken");
      if (page.next_token.empty()) return bad("it says that there is more and not how to ask");
    }
    return std::nullopt;
  };
  TRY(fetch(folder, make, accept, kMostPageBytes));
  return page;
}

Result<bool> S3Store::is_folder(const Uri& uri) {
  if (uri.key().empty() || uri.key().ends_with("/")) return true;
  // What is named like a file is one, and costs no request.
  if (uri.key().ends_with(".safetensors") || uri.key().ends_with(".json")) return false;
  const Page page = TRY(fetch_page(child(uri, ""), "", 1, ""));
  return !page.entries.empty();
}

Result<std::vector<Entry>> S3Store::list(const Uri& uri, ListDepth depth) {
  if (!TRY(is_folder(uri))) {
    const Opened opened = TRY(open(uri, 0));
    return std::vector<Entry>{{uri, opened.object.size, false}};
  }
  const Uri folder = child(uri, "");
  std::vector<Entry> entries;
  std::string token;
  for (;;) {
    Page page = TRY(fetch_page(folder, depth == ListDepth::children ? "/" : "", 1000, token));
    for (Entry& entry : page.entries) {
      // What some tools make to show an empty folder is not in it.
      const bool is_marker = !entry.is_folder && entry.uri.path().ends_with("/");
      if (!is_marker) entries.push_back(std::move(entry));
    }
    if (page.next_token.empty()) break;
    if (page.next_token == token) {
      return Error(ErrorKind::io,
                   "the store gives the same continuation token again: the listing would never end")
          .at(uri.text());
    }
    token = std::move(page.next_token);
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.uri.path() < b.uri.path(); });
  const auto twice = std::adjacent_find(
      entries.begin(), entries.end(),
      [](const Entry& a, const Entry& b) { return a.uri.path() == b.uri.path(); });
  if (twice != entries.end())
    return Error(ErrorKind::io, "the store lists this key twice").at(twice->uri.text());
  return entries;
}

// ---- Answers that are errors ----

Again S3Store::renew_credentials(const SignedRequest& request) {
  if (config_.is_unsigned) return Again::never;
  const auto renewed = credentials_.renew(request.credentials_version);
  if (!renewed) {
    log_line(LogLevel::warning, "renewing credentials: " + renewed.error().line());
    return Again::never;
  }
  return *renewed ? Again::at_once : Again::never;
}

Again S3Store::correct_clock(const SignedRequest& request, const HttpAnswer& answer) {
  const auto said = parse_http_date(answer.head.header_or_empty("date"));
  if (!said || config_.is_unsigned) return Again::never;
  const auto off =
      *said > request.signed_at ? *said - request.signed_at : request.signed_at - *said;
  if (off < kSkewThatMatters) return Again::never;
  log_line(LogLevel::warning,
           fmt::format("this machine's clock is {} s off the store's; requests are signed with the "
                       "store's time",
                       std::chrono::duration_cast<std::chrono::seconds>(off).count()));
  clock_.with([&](std::optional<StoreClock>& clock) {
    clock = StoreClock{*said, std::chrono::steady_clock::now()};
  });
  return Again::at_once;
}

std::string S3Store::probe_region(std::string_view bucket, const SignedRequest& request) {
  HttpRequest probe;
  probe.method = "HEAD";
  probe.origin = request.http.origin;
  const bool is_virtual = request.http.host().starts_with(std::string(bucket) + ".");
  probe.path = is_virtual ? "/" : "/" + percent_encode(bucket);
  probe.route = request.http.route;
  // Unsigned: the answer names the region even where it refuses.
  const auto answer = http().fetch(probe, {});
  if (!answer) return {};
  return std::string(answer->head.header_or_empty("x-amz-bucket-region"));
}

Again S3Store::follow_region(std::string_view bucket, const SignedRequest& request,
                             const HttpAnswer& answer, const ServiceError& error) {
  // An endpoint of one's own is where the user said; there is no other to go to.
  if (config_.endpoint.custom) return Again::never;
  if (state_of(bucket).region != request.region) return Again::at_once;
  std::string region(answer.head.header_or_empty("x-amz-bucket-region"));
  if (region.empty()) region = error.region;
  if (region.empty()) region = probe_region(bucket, request);
  if (!is_region(region) || region == request.region) return Again::never;
  return buckets_.with([&](auto& buckets) {
    BucketState& state = buckets.try_emplace(std::string(bucket)).first->second;
    if (state.is_redirected) return Again::never;
    state.is_redirected = true;
    state.region = region;
    log_line(LogLevel::info,
             fmt::format("bucket {} is in {}, not in {}", bucket, region, request.region));
    return Again::at_once;
  });
}

Verdict S3Store::judge_code(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                            const ServiceError& error) {
  const int status = answer.head.status;
  const std::string& code = error.code;
  ErrorFields fields;
  fields.kind = kind_of_status(status);
  std::string_view hint;
  for (const CodeRow& row : kFinalCodes) {
    if (row.code != code) continue;
    fields.kind = row.kind;
    hint = row.hint;
  }
  if (code.starts_with("KMS.")) {
    fields.kind = ErrorKind::permission_denied;
    hint = "the key that the object is encrypted with is not to be had";
  }
  fields.http_status = status;
  fields.service_code = code;
  fields.request_id = error.request_id;
  fields.host = request.http.host();
  fields.message =
      fmt::format("{} answered {}{}{}{}{}", fields.host, status, code.empty() ? "" : " " + code,
                  error.message.empty() ? "" : ": " + error.message,
                  error.request_id.empty() ? "" : " (request id " + error.request_id + ")",
                  hint.empty() ? "" : fmt::format("; {}", hint));
  Verdict verdict{.retry_after = retry_after(answer.head, config_.auth.now()),
                  .error = Error(std::move(fields))};
  const bool is_redirect = status == 301 || status == 302 || status == 307 || status == 308;
  if (is_one_of(kThrottlingCodes, code)) {
    verdict.again = Again::throttled;
  } else if (is_one_of(kPassingCodes, code)) {
    verdict.again = Again::soon;
  } else if (is_redirect || code == "AuthorizationHeaderMalformed" ||
             code == "IllegalLocationConstraintException") {
    verdict.again = follow_region(uri.bucket(), request, answer, error);
  } else if (is_one_of(kKeyCodes, code) || (status == 401 && code.empty())) {
    verdict.again = renew_credentials(request);
  } else if (code == "RequestTimeTooSkewed" || code == "SignatureDoesNotMatch" ||
             code == "RequestExpired") {
    verdict.again = correct_clock(request, answer);
    // Keys that were rotated by hand do not match their old signatures either.
    if (verdict.again == Again::never && code == "SignatureDoesNotMatch")
      verdict.again = renew_credentials(request);
  } else if (code == "SecondLevelDomainForbidden" &&
             config_.endpoint.addressing == S3Addressing::automatic) {
    const bool is_new = buckets_.with([&](auto& buckets) {
      BucketState& state = buckets.try_emplace(std::string(uri.bucket())).first->second;
      if (state.region.empty()) state.region = config_.region.value;
      return !std::exchange(state.must_be_virtual_host, true);
    });
    if (is_new) verdict.again = Again::at_once;
  } else {
    verdict.again = again_after_status(status);
  }
  return verdict;
}

Verdict S3Store::judge_answer(const Uri& uri, const SignedRequest& request,
                              const HttpAnswer& answer) {
  return judge_code(uri, request, answer, ServiceError::of(answer));
}

}  // namespace streamer::core
