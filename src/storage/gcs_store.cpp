// SPDX-License-Identifier: Apache-2.0
#include "storage/gcs_store.hpp"

#include <fmt/format.h>

#include <array>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "storage/gcs_settings.hpp"
#include "storage/remote_config.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::array kOwnCodes = {
    CodeRow{"AuthenticationRequired", ErrorKind::permission_denied,
            "the token is not accepted; check which credentials are in use with streamer doctor"},
    CodeRow{"UserProjectMissing", ErrorKind::permission_denied,
            "the requester pays for this bucket: set gcs_user_project"},
    CodeRow{"UserProjectAccessDenied", ErrorKind::permission_denied,
            "the credentials may not charge this project; check gcs_user_project"},
    CodeRow{"AccessDenied", ErrorKind::permission_denied,
            "the credentials may not read this, or it does not exist and they may not list the "
            "bucket; check storage.objects.get and storage.objects.list"},
    CodeRow{"NoSuchKey", ErrorKind::not_found, "check the object's name"},
    CodeRow{"NoSuchBucket", ErrorKind::not_found, "check the bucket's name and the endpoint"},
    CodeRow{"PreconditionFailed", ErrorKind::object_changed,
            "the object was replaced after it was opened; load it again"},
};

bool is_own(std::string_view code) {
  for (const CodeRow& row : kOwnCodes) {
    if (row.code == code) return true;
  }
  return false;
}

// The variables by which Google's client libraries let tests use another server; they send no
// credentials to it.
Result<void> read_endpoint(const RemoteConfig& from, GcsConfig& config) {
  auto found = from.first_of(setting::kGcsEndpoint,
                             {"CLOUD_STORAGE_EMULATOR_ENDPOINT", "CLOUD_STORAGE_TESTBENCH_ENDPOINT",
                              "STORAGE_EMULATOR_HOST"});
  if (!found) return {};
  // For emulators, "localhost:4443" alone means http.
  if (found->source == "STORAGE_EMULATOR_HOST" && found->value.find("://") == std::string::npos)
    found->value = "http://" + found->value;
  config.endpoint = TRY(read_from(found->source, parse_endpoint(found->value)));
  config.endpoint_source = found->source;
  config.is_endpoint_given = true;
  const bool is_ours =
      from.is_in_code(setting::kGcsEndpoint) || found->source == "STREAMER_GCS_ENDPOINT";
  if (!is_ours) config.is_unsigned = true;
  return {};
}

// A token set in code, or from the caller's callback, or else the chain of sources.
Result<void> read_credentials(const RemoteConfig& from, GcsConfig& config) {
  if (from.get(setting::kGcsUnsigned)) config.is_unsigned = true;
  const auto id = from.get(setting::kGcsAccessKeyId);
  const auto secret = from.get(setting::kGcsSecretAccessKey);
  if (id.has_value() != secret.has_value()) {
    return Error(
        ErrorKind::invalid_argument,
        "only one of gcs_access_key_id and gcs_secret_access_key is set; set both or neither");
  }
  const auto token = from.get(setting::kGcsBearerToken);
  if (const auto callback = from.settings().credentials_callback()) {
    config.is_unsigned = false;
    config.fetch_token = token_from_callback(callback);
  } else if (id) {
    config.is_unsigned = false;
    config.hmac = AwsCredentials{.access_key_id = *id,
                                 .secret_access_key = *secret,
                                 .session_token = Secret(),
                                 .expires = {},
                                 .source = "the settings"};
    TRY(check_credentials(*config.hmac));
  } else if (token) {
    config.is_unsigned = false;
    const BearerToken bearer{
        .token = *token, .expires = {}, .source = "the setting gcs_bearer_token"};
    TRY(check_header_value("gcs_bearer_token", token->reveal()));
    config.fetch_token = [bearer]() -> Result<BearerToken> { return bearer; };
  }
  const bool uses_chain = !config.is_unsigned && !config.hmac && config.fetch_token == nullptr;
  if (config.fetch_token == nullptr)
    config.fetch_token = [auth = config.auth] { return find_google_token(auth); };
  if (!config.endpoint_source.empty()) return {};
  const std::string universe =
      uses_chain ? TRY(find_google_universe(config.auth)) : std::string(kGooglesUniverse);
  config.endpoint = Endpoint{"https://storage." + universe, ""};
  config.endpoint_source =
      universe == kGooglesUniverse ? "Google's own" : "the universe of the credentials";
  return {};
}

// A token of one universe must not be sent to another one's hosts. A custom endpoint may be in
// front of either.
Result<void> check_host(const BearerToken& token, const Endpoint& endpoint, bool is_googles_own) {
  if (token.universe.empty()) return {};
  const std::string own = "storage." + token.universe;
  const std::string_view host = endpoint.host();
  const bool is_of_google = host == kGooglesUniverse || host.ends_with(".googleapis.com");
  if (is_googles_own ? host == own : token.universe == kGooglesUniverse || !is_of_google) return {};
  return Error(
      ErrorKind::invalid_argument,
      fmt::format(
          "the credentials (from {}) belong to the universe {}, but {} does not: no token is sent "
          "there; name the right one in GOOGLE_CLOUD_UNIVERSE_DOMAIN, or read from gs:// URIs",
          token.source, token.universe, host));
}

}  // namespace

Result<GcsConfig> read_gcs_config(const Settings& settings, const Environment& environment,
                                  HttpClient& http) {
  const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
  GcsConfig config;
  config.auth.environment = environment;
  config.auth.http = &http;
  config.auth.tls = TRY(from.tls_files());
  config.auth.credential_file = from.text(setting::kGcsCredentialFile);
  config.user_project = from.text(setting::kGcsUserProject);
  TRY(check_header_value("gcs_user_project", config.user_project));
  TRY(read_endpoint(from, config));
  TRY(read_credentials(from, config));
  return config;
}

Result<std::unique_ptr<Store>> make_gcs_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = TRY(read_remote_limits(settings));
  GcsConfig config = TRY(read_gcs_config(settings, process_environment(), *http));
  return std::unique_ptr<Store>(
      std::make_unique<GcsStore>(std::move(config), limits, std::move(http)));
}

GcsStore::GcsStore(GcsConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
    : RemoteStore(limits, std::move(http), config.auth),
      config_(std::move(config)),
      tokens_(config_.fetch_token, config_.auth.now),
      clock_(config_.auth.now) {}

const Endpoint& GcsStore::endpoint_of(const Uri& uri) const {
  // A URL that names Google's own host means it: the settings for other URIs do not apply.
  return uri.host().empty() ? config_.endpoint : googles_own_;
}

Result<SignedRequest> GcsStore::make_request(std::string method, const Uri& uri,
                                             std::string_view key, Parameters parameters,
                                             std::vector<HttpHeader> headers) {
  const Endpoint& endpoint = endpoint_of(uri);
  SignedRequest request;
  request.http.method = std::move(method);
  request.http.origin = endpoint.origin;
  request.http.path = endpoint.base_path + "/" + percent_encode(uri.bucket());
  if (!key.empty()) request.http.path += "/" + percent_encode(key, "/");
  request.http.headers = std::move(headers);
  request.http.route = route_to(endpoint.origin);
  request.signed_at = clock_.now();
  std::string user_project = config_.user_project;
  std::optional<BearerToken> token;
  if (!config_.is_unsigned && !config_.hmac) {
    if (!keeps_secrets(endpoint)) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("{} is not https: tokens are only sent over https, or to this "
                               "machine; set gcs_unsigned if it needs none",
                               endpoint.origin));
    }
    const auto current = TRY(tokens_.get());
    const bool is_googles_own = !uri.host().empty() || !config_.is_endpoint_given;
    TRY(check_host(current.credentials, endpoint, is_googles_own));
    request.credentials_version = current.version;
    request.http.headers.push_back(
        {"Authorization", "Bearer " + std::string(current.credentials.token.reveal())});
    if (user_project.empty()) user_project = current.credentials.quota_project;
  }
  // As a parameter: requests signed with x-amz- headers must not have x-goog- headers too.
  if (!user_project.empty()) parameters.emplace_back("userProject", user_project);
  request.http.query = canonical_query(std::move(parameters));
  if (config_.hmac && !config_.is_unsigned)
    signer_.sign(request.http, *config_.hmac, {"auto", "s3"}, request.signed_at);
  // Never signed: Google's front end changes it. Without it, objects that are stored compressed
  // would be decompressed on the way, and their ranges ignored.
  if (!key.empty()) request.http.headers.push_back({"Accept-Encoding", "gzip"});
  if (log_enabled(LogLevel::trace)) {
    log_line(LogLevel::trace,
             fmt::format("{} {}{}", request.http.method, request.http.origin, request.http.path));
  }
  return request;
}

Result<SignedRequest> GcsStore::range_request(const Uri& uri, ByteRange range,
                                              const std::string& etag) {
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a bucket but no object")
        .at(uri.text());
  std::vector<HttpHeader> headers;
  add_range_headers(headers, range, etag);
  return make_request("GET", uri, uri.key(), {}, std::move(headers)).at(uri.text());
}

Result<StoredChecksum> GcsStore::stored_checksum(const Object& object) {
  const auto make = [&]() -> Result<SignedRequest> {
    std::vector<HttpHeader> headers;
    if (!object.etag.empty()) headers.push_back({"If-Match", object.etag});
    return make_request("HEAD", object.uri, object.uri.key(), {}, std::move(headers));
  };
  auto asked = fetch_head(object.uri, make);
  if (!asked) return no_checksums(std::move(asked).error(), "HEAD");
  const HttpAnswer answer = *std::move(asked);
  std::string why = "the store has none for this object";
  // "crc32c=n03x6A==,md5=...": in one header or in several.
  for (const HttpHeader& header : answer.head.headers) {
    if (header.name != "x-goog-hash") continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const std::string_view one = trim(rest.substr(0, rest.find(',')));
      rest.remove_prefix(
          std::min(rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1,
                   rest.size()));
      if (!one.starts_with("crc32c=")) continue;
      const auto bytes = base64_decode(one.substr(7));
      if (bytes && bytes->size() == checksum_bytes(ChecksumKind::crc32c))
        return StoredChecksum{ExpectedChecksum{ChecksumKind::crc32c, *bytes, "the store"}, {}};
      why = fmt::format("the store's x-goog-hash is not a CRC32C: \"{}\"", one);
    }
  }
  return StoredChecksum{std::nullopt, std::move(why)};
}

Result<SignedRequest> GcsStore::page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                             const std::string& token) {
  return make_request("GET", folder, "", list_parameters(folder, depth, most, token), {});
}

Result<std::optional<Page>> GcsStore::read_page(const Uri& folder, const HttpAnswer& answer) {
  return read_list_bucket_result(folder, answer.body);
}

Verdict GcsStore::judge_answer(const Uri&, const SignedRequest& request, const HttpAnswer& answer) {
  const ServiceError error = ServiceError::of(answer);
  const int status = answer.head.status;
  Verdict verdict =
      failure(request, answer, error,
              is_own(error.code) ? std::span<const CodeRow>(kOwnCodes) : s3_dialect_codes());
  verdict.again = again_after_s3_code(error.code);
  if (verdict.again != Again::never) return verdict;
  if (status == 401 && !config_.is_unsigned && !config_.hmac) {
    verdict.again = renew_credentials(tokens_, request.credentials_version);
  } else if (config_.hmac &&
             (error.code == "RequestTimeTooSkewed" || error.code == "SignatureDoesNotMatch")) {
    if (clock_.correct(request.signed_at, answer.head)) verdict.again = Again::at_once;
  } else {
    verdict.again = again_after_status(status);
  }
  return verdict;
}

Result<RemoteWay> GcsStore::way_to(const Uri& uri) {
  return RemoteWay{.origin = endpoint_of(uri).origin,
                   .endpoint_source = uri.host().empty() ? config_.endpoint_source : "the URL",
                   .facts = {{"addressing", "path style: the bucket is part of the path"}}};
}

Result<std::string> GcsStore::describe_credentials(const Uri&) {
  if (config_.is_unsigned) return std::string("none: requests carry no token (gcs_unsigned)");
  if (config_.hmac) return "HMAC, " + describe(*config_.hmac);
  return describe(TRY(tokens_.get()).credentials);
}

}  // namespace streamer::core::inline storage
