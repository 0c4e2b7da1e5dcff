// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/xml.hpp"
#include "storage/cloud_hosts.hpp"
#include "storage/s3/dialect.hpp"
#include "storage/s3/known_stores.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::array<std::string_view, 4> kKeyCodes = {"ExpiredToken", "TokenRefreshRequired",
                                                       "InvalidToken", "InvalidAccessKeyId"};

constexpr std::uint32_t kMostNodes = 5;

// Decodes "a=b&c".
Result<Parameters> parameters_of(std::string_view query) {
  Parameters parameters;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    const std::size_t equals = std::min(one.find('='), one.size());
    auto name = percent_decode(one.substr(0, equals));
    auto value = percent_decode(one.substr(std::min(equals + 1, one.size())));
    if (!name || !value)
      return Error(ErrorKind::io,
                   "the store redirects a request to a URL that is not encoded correctly");
    if (!one.empty()) parameters.emplace_back(*std::move(name), *std::move(value));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return parameters;
}

// How stores that accept only virtual hosts refuse path style: Alibaba, Tencent, Huawei,
// Volcengine.
constexpr std::array<std::string_view, 4> kPathStyleCodes = {
    "SecondLevelDomainForbidden", "PathStyleDomainForbidden", "VirtualHostDomainRequired",
    "InvalidPathAccess"};

// Codes that certainly have another cause.
constexpr std::array<std::string_view, 2> kOtherCauses = {"InvalidObjectState",
                                                          "AuthorizationHeaderMalformed"};

template <std::size_t N>
bool is_among(const std::array<std::string_view, N>& codes, std::string_view code) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

std::string describe_addressing(const S3Target& target) {
  if (target.bucket.kind == S3Bucket::Kind::access_point)
    return fmt::format("access point {} of account {}", target.bucket.name, target.bucket.account);
  std::string text = target.is_virtual_host ? "virtual host: the bucket is part of the host's name"
                                            : "path style: the bucket is part of the path";
  if (target.bucket.kind == S3Bucket::Kind::directory)
    text += fmt::format("; a directory bucket (S3 Express) in zone {}", target.bucket.zone);
  return text;
}

// Each store has its own way to say that it wants the bucket in its host name.
bool may_mean_path_style(int status, std::string_view code, ErrorKind kind) {
  if (status != 400 && status != 403 && status != 405) return false;
  if (kind == ErrorKind::credentials_expired || kind == ErrorKind::clock_skew) return false;
  return !is_among(kPathStyleCodes, code) && !is_among(kOtherCauses, code);
}

}  // namespace

Result<std::unique_ptr<Store>> make_s3_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = TRY(read_remote_limits(settings));
  S3Config config = TRY(read_s3_config(settings, process_environment(), *http));
  return std::unique_ptr<Store>(
      std::make_unique<S3Store>(std::move(config), limits, std::move(http)));
}

S3Store::S3Store(S3Config config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
    : RemoteStore(limits, std::move(http), config.auth),
      config_(std::move(config)),
      credentials_(config_.fetch_credentials, config_.auth.now),
      clock_(config_.auth.now) {}

S3Store::BucketState S3Store::state_of(const Uri& uri) {
  return buckets_.with([&](auto& buckets) {
    const auto found = buckets.find(uri.bucket());
    if (found != buckets.end()) return found->second;
    std::string region = uri.host().empty() ? "" : region_of_aws_host(uri.host());
    // An access point's ARN says where it is.
    if (const auto named = read_s3_bucket(uri.bucket()); named && !named->region.empty())
      region = named->region;
    return BucketState{.region = region.empty() ? config_.region.value : region};
  });
}

Result<S3Target> S3Store::target_of(const Uri& uri) {
  const BucketState state = state_of(uri);
  S3EndpointRules rules = config_.endpoint;
  if (!uri.host().empty()) {
    // The URI names its host: the settings for other URIs do not apply.
    rules = {};
    if (region_of_aws_host(uri.host()).empty())
      rules.custom = Endpoint{"https://" + uri.host(), ""};
  }
  if (state.must_be_virtual_host) rules.addressing = S3Addressing::virtual_host;
  return s3_target(rules, uri.bucket(), state.region);
}

Result<SignedRequest> S3Store::make_request(std::string method, const Uri& uri,
                                            std::string_view key, Parameters parameters,
                                            std::vector<HttpHeader> headers) {
  const S3Target target = TRY(target_of(uri));
  SignedRequest request;
  request.http.method = std::move(method);
  request.http.origin = target.origin;
  request.http.path = target.base_path;
  const bool names_bucket = !target.is_virtual_host && key.empty();
  if (!names_bucket) request.http.path += "/" + percent_encode(key, "/");
  if (auto node = take_node(request.http.method, uri)) {
    request.http.origin = node->url.origin;
    request.hops = node->hops;
    parameters = TRY(parameters_of(node->url.query));
  }
  request.http.query = canonical_query(std::move(parameters));
  request.http.headers = std::move(headers);
  request.http.route = route_to(request.http.origin);
  request.region = state_of(uri).region;
  request.signed_at = clock_.now();
  // Only a machine that the endpoint itself named gets a credential or the object's key, not one
  // that that machine named.
  if (request.hops > 1) {
    std::erase_if(request.http.headers, [](const HttpHeader& header) {
      return header.name.starts_with("x-amz-server-side-encryption-customer");
    });
    return request;
  }
  if (config_.is_unsigned) return request;
  const Signer signer = signer_for(uri, target);
  auto current = TRY(signer.keys.get());
  request.credentials_version = current.version;
  request.in_session = signer.in_session;
  if (signer.in_session) {
    request.http.headers.push_back(
        {"x-amz-s3session-token", std::string(current.credentials.session_token.reveal())});
    current.credentials.session_token = Secret();
  }
  signer_.sign(request.http, current.credentials,
               {read_aws_region(request.region).name, signer.service}, request.signed_at);
  if (log_enabled(LogLevel::trace)) {
    log_line(LogLevel::trace,
             fmt::format("{} {}{}", request.http.method, request.http.origin, request.http.path));
  }
  return request;
}

// ---- Sessions of directory buckets ----

S3Store::Signer S3Store::signer_for(const Uri& uri, const S3Target& target) {
  if (target.bucket.kind != S3Bucket::Kind::directory) return {credentials_, "s3"};
  if (!config_.uses_sessions) return {credentials_, "s3express"};
  return {session_of(uri), "s3express", true};
}

CredentialCache<AwsCredentials>& S3Store::session_of(const Uri& uri) {
  // Sessions last five minutes.
  static constexpr CredentialCache<AwsCredentials>::Lead kLead{std::chrono::seconds(90),
                                                               std::chrono::seconds(20)};
  return *sessions_.with([&](auto& sessions) {
    const auto found = sessions.find(uri.bucket());
    if (found != sessions.end()) return found->second.get();
    const Uri bucket = uri.with_path(std::string(uri.bucket()) + "/");
    auto made = std::make_unique<CredentialCache<AwsCredentials>>(
        [this, bucket] { return create_session(bucket); }, config_.auth.now, kLead);
    return sessions.emplace(std::string(uri.bucket()), std::move(made)).first->second.get();
  });
}

Result<AwsCredentials> S3Store::create_session(const Uri& uri) {
  constexpr std::size_t kMostSessionBytes = 64 * kKiB;
  const auto make = [&]() -> Result<SignedRequest> {
    const S3Target target = TRY(target_of(uri));
    SignedRequest request;
    request.http.origin = target.origin;
    request.http.path = target.base_path + (target.is_virtual_host ? "/" : "");
    request.http.query = "session=";
    // All that reading needs.
    request.http.headers.push_back({"x-amz-create-session-mode", "ReadOnly"});
    request.http.route = route_to(target.origin);
    request.region = state_of(uri).region;
    request.signed_at = clock_.now();
    const auto current = TRY(credentials_.get());
    request.credentials_version = current.version;
    signer_.sign(request.http, current.credentials,
                 {read_aws_region(request.region).name, "s3express"}, request.signed_at);
    return request;
  };
  AwsCredentials session;
  const auto accept = [&](const HttpAnswer& answer) -> std::optional<Verdict> {
    const auto root = read_xml(answer.body);
    const XmlElement* const found = root ? root->child("Credentials") : nullptr;
    if (found != nullptr) {
      session = {.access_key_id = std::string(found->text_of("AccessKeyId")),
                 .secret_access_key = Secret(std::string(found->text_of("SecretAccessKey"))),
                 .session_token = Secret(std::string(found->text_of("SessionToken"))),
                 .expires = parse_iso(found->text_of("Expiration")),
                 .source = "CreateSession"};
    }
    if (found != nullptr && !session.session_token.empty() && check_credentials(session))
      return std::nullopt;
    return Verdict{.error = Error(ErrorKind::permission_denied,
                                  "the answer to CreateSession holds no credentials")};
  };
  TRY(fetch(uri, make, accept, kMostSessionBytes));
  return session;
}

Parameters S3Store::object_parameters() const {
  if (config_.version_id.empty()) return {};
  return {{"versionId", config_.version_id}};
}

Result<SignedRequest> S3Store::make_range_request(const Uri& uri, ByteRange range,
                                                  const std::string& etag) {
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a bucket but no object")
        .at(uri.text());
  std::vector<HttpHeader> headers = config_.extra_headers;
  add_range_headers(headers, range, etag);
  return make_request("GET", uri, uri.key(), object_parameters(), std::move(headers))
      .at(uri.text());
}

Result<StoredChecksum> S3Store::stored_checksum(const Object& object) {
  const auto make = [&]() -> Result<SignedRequest> {
    std::vector<HttpHeader> headers = config_.extra_headers;
    headers.push_back({"x-amz-checksum-mode", "ENABLED"});
    if (!object.etag.empty() && !object.etag.starts_with("W/"))
      headers.push_back({"If-Match", object.etag});
    return make_request("HEAD", object.uri, object.uri.key(), object_parameters(),
                        std::move(headers));
  };
  auto asked = fetch_head(object.uri, make);
  if (!asked) return no_checksums(std::move(asked).error(), "x-amz-checksum-mode");
  const HttpAnswer answer = *std::move(asked);
  const std::string_view type = answer.head.header_or_empty("x-amz-checksum-type");
  std::string why = "the store has none for this object";
  for (const ChecksumKind kind :
       {ChecksumKind::crc64nvme, ChecksumKind::crc32c, ChecksumKind::crc32, ChecksumKind::sha256}) {
    const std::string header = "x-amz-checksum-" + to_lower(checksum_name(kind));
    const std::string_view value = answer.head.header_or_empty(header);
    if (value.empty()) continue;
    // A value that ends in "-3" is that of three parts.
    const bool is_of_parts =
        (!type.empty() && type != "FULL_OBJECT") || value.find('-') != std::string_view::npos;
    const auto bytes = base64_decode(value);
    if (!is_of_parts && bytes && bytes->size() == checksum_bytes(kind))
      return StoredChecksum{ExpectedChecksum{kind, *bytes, "the store"}, {}};
    why = is_of_parts ? fmt::format("the store's {} is that of the upload's parts ({})",
                                    checksum_name(kind), type.empty() ? "COMPOSITE" : type)
                      : fmt::format("the store's {} is not a checksum: \"{}\"", header, value);
  }
  return StoredChecksum{std::nullopt, std::move(why)};
}

// ---- Listing ----

Result<SignedRequest> S3Store::page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                            const std::string& token) {
  std::vector<HttpHeader> headers;
  for (const HttpHeader& header : config_.extra_headers) {
    // Listings do not take the key of objects (SSE-C).
    const bool is_of_objects = header.name.starts_with("x-amz-server-side");
    if (!is_of_objects) headers.push_back(header);
  }
  return make_request("GET", folder, "", list_parameters(folder, depth, most, token),
                      std::move(headers));
}

Result<std::optional<Page>> S3Store::read_page(const Uri& folder, const HttpAnswer& answer) {
  return read_list_bucket_result(folder, answer.body);
}

// ---- For the doctor ----

Result<RemoteWay> S3Store::way_to(const Uri& uri) {
  const S3Target target = TRY(target_of(uri));
  const bool is_named = !uri.host().empty();
  const std::string region = state_of(uri).region;
  return RemoteWay{
      .origin = target.origin,
      .endpoint_source = is_named ? "the URL" : config_.endpoint_source,
      .facts = {{"addressing", describe_addressing(target)},
                {"region", fmt::format("{} (from {})", region,
                                       is_named                       ? "the URL"
                                       : target.bucket.region.empty() ? config_.region.source
                                                                      : "the ARN")}}};
}

Result<std::string> S3Store::describe_credentials(const Uri& uri) {
  if (config_.is_unsigned)
    return fmt::format("none: requests are not signed (by {})", config_.unsigned_source);
  std::string text = describe(TRY(credentials_.get()).credentials);
  const S3Target target = TRY(target_of(uri));
  if (!signer_for(uri, target).in_session) return text;
  const AwsCredentials session = TRY(session_of(uri).get()).credentials;
  return fmt::format("{}; for the bucket's session: {}", text, describe(session));
}

std::string S3Store::describe_server(const Uri& uri, const HttpAnswer& answer) {
  const auto target = target_of(uri);
  if (!target) return {};
  const KnownStore* const store = recognise_store(Endpoint{target->origin, ""}.host(), answer);
  if (store != nullptr) return fmt::format("{}: {}", store->name, store->advice);
  const std::string_view server = answer.head.header_or_empty("server");
  return server.empty() ? "none that is known"
                        : fmt::format("none that is known (Server: {})", server.substr(0, 60));
}

// ---- Answers that are errors ----

std::string S3Store::probe_region(std::string_view bucket, const SignedRequest& request) {
  HttpRequest probe;
  probe.method = "HEAD";
  probe.origin = request.http.origin;
  const bool is_virtual = request.http.host().starts_with(std::string(bucket) + ".");
  probe.path = is_virtual ? "/" : "/" + percent_encode(bucket);
  probe.route = request.http.route;
  // Unsigned: the answer names the region even if it refuses access.
  const auto answer = http().fetch(probe, {});
  if (!answer) return {};
  return std::string(answer->head.header_or_empty("x-amz-bucket-region"));
}

Again S3Store::follow_region(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                             const ServiceError& error) {
  const bool is_aws =
      uri.host().empty() ? !config_.endpoint.custom : !region_of_aws_host(uri.host()).empty();
  // A custom endpoint is where the user says it is: there is no other one to go to. But requests to
  // it may have to be signed for another region.
  const bool is_for_signing = error.code == "AuthorizationHeaderMalformed";
  if (!is_aws && !is_for_signing) return Again::never;
  const auto named = read_s3_bucket(uri.bucket());
  // Only a general bucket may be in another region than its name says.
  if (!named || named->kind != S3Bucket::Kind::general) return Again::never;
  const std::string_view bucket = uri.bucket();
  // Another thread has learnt the region since this request was signed.
  if (state_of(uri).region != request.region) return Again::at_once;
  std::string region(answer.head.header_or_empty("x-amz-bucket-region"));
  if (region.empty()) region = error.region;
  if (region.empty() && is_aws) region = probe_region(bucket, request);
  if (!is_region(region) || region == request.region) return Again::never;
  return buckets_.with([&](auto& buckets) {
    BucketState& state = buckets.try_emplace(std::string(bucket)).first->second;
    // Once per bucket, so that contradicting answers cannot send requests in circles.
    if (state.is_redirected) return Again::never;
    state.is_redirected = true;
    state.region = region;
    log_line(LogLevel::info,
             fmt::format("bucket {} is in {}, not in {}", bucket, region, request.region));
    return Again::at_once;
  });
}

// Where an answer redirected the next request to the URI, if one did.
std::optional<S3Store::Node> S3Store::take_node(const std::string& method, const Uri& uri) {
  return nodes_.with([&](auto& nodes) -> std::optional<Node> {
    const auto found = nodes.find(method + " " + uri.text());
    if (found == nodes.end()) return std::nullopt;
    Node node = std::move(found->second);
    nodes.erase(found);
    return node;
  });
}

// 307 and 308 of a custom endpoint: the same bucket and key at another of its machines, for this
// request only.
Verdict S3Store::follow_to_node(const Uri& uri, const SignedRequest& request,
                                const HttpAnswer& answer, Verdict verdict) {
  const HttpUrl from{request.http.origin, request.http.path, request.http.query};
  const std::string_view location = answer.head.header_or_empty("location");
  const auto to = resolve_location(from, location);
  std::string_view why;
  if (location.empty() || !to) {
    why = "without a URL that can be followed";
  } else if (request.http.is_tls() && !to->endpoint().is_tls()) {
    why = "from https to http";
  } else if (to->path != from.path) {
    why = "to another bucket or key";
  } else if (request.hops >= kMostNodes) {
    why = "too many times";
  }
  if (!why.empty()) {
    verdict.error = Error(ErrorKind::io,
                          fmt::format("{} answered {} and redirects the request {}, which is not "
                                      "followed; give the endpoint of the machine that answers",
                                      request.http.host(), answer.head.status, why));
    return verdict;
  }
  nodes_.with([&](auto& nodes) {
    nodes.insert_or_assign(request.http.method + " " + uri.text(), Node{*to, request.hops + 1});
  });
  verdict.again = Again::at_once;
  verdict.counts = false;
  return verdict;
}

Verdict S3Store::judge_code(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                            const ServiceError& error) {
  const int status = answer.head.status;
  const std::string& code = error.code;
  Verdict verdict = failure(request, answer, error, s3_dialect_codes());
  const auto named = read_s3_bucket(uri.bucket());
  if (code == "AccessDenied" && named && named->kind == S3Bucket::Kind::directory) {
    ErrorFields fields = verdict.error.fields();
    fields.message += "; a directory bucket also needs the permission s3express:CreateSession";
    verdict.error = Error(std::move(fields));
  }
  if (code.starts_with("KMS.")) {
    ErrorFields fields = verdict.error.fields();
    fields.kind = ErrorKind::permission_denied;
    fields.message += "; the key that the object is encrypted with is not available";
    verdict.error = Error(std::move(fields));
  }
  const auto renew = [&] {
    if (config_.is_unsigned) return Again::never;
    return renew_credentials(request.in_session ? session_of(uri) : credentials_,
                             request.credentials_version);
  };
  const bool is_of_aws =
      uri.host().empty() ? !config_.endpoint.custom : !region_of_aws_host(uri.host()).empty();
  if ((status == 307 || status == 308) && !is_of_aws)
    return follow_to_node(uri, request, answer, std::move(verdict));
  const bool is_redirect = status == 301 || status == 302 || status == 307 || status == 308;
  if (const Again known = again_after_s3_code(code); known != Again::never) {
    verdict.again = known;
  } else if (is_redirect || code == "AuthorizationHeaderMalformed" ||
             code == "IllegalLocationConstraintException") {
    verdict.again = follow_region(uri, request, answer, error);
  } else if (is_among(kKeyCodes, code) || (status == 401 && code.empty())) {
    verdict.again = renew();
  } else if (request.http.method == "HEAD" && code.empty() && !config_.is_unsigned &&
             (status == 400 || status == 403)) {
    // The code would have been in the body, which answers to HEAD do not have.
    verdict.again = clock_.correct(request.signed_at, answer.head) ? Again::at_once : renew();
  } else if (code == "RequestTimeTooSkewed" || code == "SignatureDoesNotMatch" ||
             code == "RequestExpired") {
    if (!config_.is_unsigned && clock_.correct(request.signed_at, answer.head))
      verdict.again = Again::at_once;
    // After keys were rotated by hand, the old secret key gives this code too.
    if (verdict.again == Again::never && code == "SignatureDoesNotMatch") verdict.again = renew();
  } else if (is_among(kPathStyleCodes, code) &&
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
  if (may_mean_path_style(status, code, verdict.error.kind()) && is_path_style_elsewhere(uri)) {
    ErrorFields fields = verdict.error.fields();
    fields.message +=
        "; if this store wants the bucket in its host's name, set s3_addressing to virtual";
    verdict.error = Error(std::move(fields));
  }
  return verdict;
}

bool S3Store::is_path_style_elsewhere(const Uri& uri) {
  const auto target = target_of(uri);
  const bool is_custom = uri.host().empty() ? config_.endpoint.custom.has_value()
                                            : region_of_aws_host(uri.host()).empty();
  return is_custom && target && !target->is_virtual_host;
}

Verdict S3Store::judge_answer(const Uri& uri, const SignedRequest& request,
                              const HttpAnswer& answer) {
  return judge_code(uri, request, answer, ServiceError::of(answer));
}

}  // namespace streamer::core::inline storage
