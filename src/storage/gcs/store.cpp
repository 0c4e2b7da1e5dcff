// SPDX-License-Identifier: Apache-2.0
#include "storage/gcs/store.hpp"

#include <fmt/format.h>

#include <array>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "storage/gcs/gcs_settings.hpp"
#include "storage/remote_config.hpp"
#include "storage/remote_settings.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::array kOwnCodes = {
    CodeRow{"AuthenticationRequired", ErrorKind::permission_denied,
            "the token is not accepted; check which credentials are in use with streamer doctor"},
    CodeRow{"UserProjectMissing", ErrorKind::permission_denied,
            "the requester pays for this bucket: set requester_pays to the project to charge"},
    CodeRow{"UserProjectAccessDenied", ErrorKind::permission_denied,
            "the credentials may not charge this project; check requester_pays"},
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
  if (is_ours) return {};
  config.is_unsigned = true;
  config.unsigned_source = found->source;
  return {};
}

constexpr const char* kGcsUnsignedVariable = "RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS";
constexpr const char* kGcsFileVariable = "RUNAI_STREAMER_GCS_CREDENTIAL_FILE";

Result<void> take_chosen(const ChosenGcsCredentials& chosen, std::string source,
                         GcsConfig& config) {
  config.is_unsigned = false;
  switch (chosen.kind) {
    case GcsCredentialKind::anonymous:
      config.is_unsigned = true;
      config.unsigned_source = std::move(source);
      return {};
    case GcsCredentialKind::file:
      config.auth.credential_file = chosen.name;
      return {};
    case GcsCredentialKind::hmac:
      config.hmac = AwsCredentials{.access_key_id = chosen.name,
                                   .secret_access_key = chosen.secret,
                                   .session_token = Secret(),
                                   .expires = {},
                                   .source = std::move(source)};
      return check_credentials(*config.hmac);
    case GcsCredentialKind::token:
      break;
  }
  TRY(check_header_value(source, chosen.secret.reveal()));
  const BearerToken bearer{.token = chosen.secret, .expires = {}, .source = std::move(source)};
  config.fetch_token = [bearer]() -> Result<BearerToken> { return bearer; };
  return {};
}

// The caller's callback, or the setting, or else the chain of sources.
Result<void> read_credentials(const RemoteConfig& from, GcsConfig& config) {
  if (const auto callback = from.settings().credentials_callback()) {
    config.is_unsigned = false;
    config.fetch_token = token_from_callback(callback);
  } else if (const auto chosen = from.get(setting::kGcsCredentials)) {
    TRY(take_chosen(*chosen, from.source_of(setting::kGcsCredentials), config));
  } else if (is_true(from.variable(kGcsUnsignedVariable).value_or(""))) {
    config.is_unsigned = true;
    config.unsigned_source = kGcsUnsignedVariable;
  } else {
    config.auth.credential_file = from.variable(kGcsFileVariable).value_or("");
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

// What servers answer to an API that they do not have.
bool is_no_api(int status) {
  return status == 400 || status == 404 || status == 405 || status == 501;
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
  config.user_project = from.get(setting::kRequesterPays).project;
  TRY(check_header_value("requester_pays", config.user_project));
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
  request.is_json = uses_json(uri);
  request.http.path = endpoint.base_path + "/" + percent_encode(uri.bucket());
  if (!key.empty()) request.http.path += "/" + percent_encode(key, "/");
  if (request.is_json) request.http.path = gcs_json_path(endpoint.base_path, uri.bucket(), key);
  request.http.headers = std::move(headers);
  request.http.route = route_to(endpoint.origin);
  request.signed_at = clock_.now();
  std::string user_project = config_.user_project;
  std::optional<BearerToken> token;
  if (!config_.is_unsigned && !config_.hmac) {
    if (!keeps_secrets(endpoint)) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("{} is not https: tokens are only sent over https, or to this "
                               "machine; set gcs_credentials=anonymous if it needs none",
                               endpoint.origin));
    }
    const auto current = TRY(tokens_.get());
    const bool is_googles_own = !uri.host().empty() || !config_.is_endpoint_given;
    TRY(check_host(current.credentials, endpoint, is_googles_own));
    request.credentials_version = current.version;
    request.http.headers.push_back(
        {"Authorization", "Bearer " + std::string(current.credentials.token.reveal())});
    request.http.route = context().route_for_secrets(endpoint);
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

Result<SignedRequest> GcsStore::make_range_request(const Uri& uri, ByteRange range,
                                                   const std::string& etag) {
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a bucket but no object")
        .at(uri.text());
  std::vector<HttpHeader> headers;
  Parameters parameters;
  if (uses_json(uri)) {
    parameters.emplace_back("alt", "media");
    if (std::string generation = generation_of(etag); !generation.empty())
      parameters.emplace_back("ifGenerationMatch", std::move(generation));
  }
  const bool has_generation = parameters.size() > 1;
  add_range_headers(headers, range, has_generation ? "" : etag);
  return make_request("GET", uri, uri.key(), std::move(parameters), std::move(headers))
      .at(uri.text());
}

PinnedVersion GcsStore::expected(const Object& object, const SignedRequest& request) {
  PinnedVersion pinned = RemoteStore::expected(object, request);
  if (!request.is_json) return pinned;
  pinned.generation = generation_of(pinned.etag);
  if (!pinned.generation.empty()) pinned.etag.clear();
  return pinned;
}

Result<Opened> GcsStore::open(const Uri& uri, std::uint64_t first_bytes) {
  if (uses_json(uri)) return open_by_json(uri, first_bytes);
  auto opened = RemoteStore::open(uri, first_bytes);
  // The XML API always sends an ETag.
  const bool has_turned = uses_json(uri) || (opened && opened->object.etag.empty() &&
                                             turn_to_json(uri, "sends no ETags with the XML API"));
  if (has_turned) return open_by_json(uri, first_bytes);
  if (!opened) return opened;
  note_xml();
  return opened;
}

Result<StoredChecksum> GcsStore::stored_checksum(const Object& object) {
  if (uses_json(object.uri)) return json_checksum(object);
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
  if (uses_json(folder)) {
    return make_request("GET", folder, "", gcs_json_list_parameters(folder, depth, most, token),
                        {});
  }
  return make_request("GET", folder, "", list_parameters(folder, depth, most, token), {});
}

Result<std::optional<Page>> GcsStore::read_page(const Uri& folder, const HttpAnswer& answer) {
  if (uses_json(folder)) {
    Page page = TRY(read_gcs_json_page(folder, answer.body));
    note_json();
    return std::optional(std::move(page));
  }
  auto page = read_list_bucket_result(folder, answer.body);
  if (page) note_xml();
  // It is asked for again, of the other API.
  if (!page) static_cast<void>(turn_to_json(folder, "answers listings of the XML API otherwise"));
  return page;
}

// ---- The JSON API of emulators ----

bool GcsStore::may_be_emulator(const Uri& uri) const noexcept {
  // HMAC keys are for the XML API only.
  if (!config_.is_endpoint_given || config_.hmac || !uri.host().empty()) return false;
  const std::string_view host = config_.endpoint.host();
  return host != kGooglesUniverse && !host.ends_with(".googleapis.com");
}

void GcsStore::note_xml() noexcept {
  Api unknown = Api::unknown;
  api_.compare_exchange_strong(unknown, Api::xml, std::memory_order_relaxed);
}

void GcsStore::note_json() noexcept {
  Api maybe = Api::maybe_json;
  api_.compare_exchange_strong(maybe, Api::json, std::memory_order_relaxed);
}

bool GcsStore::turn_to_json(const Uri& uri, std::string_view why) {
  if (!may_be_emulator(uri)) return false;
  Api found = Api::unknown;
  if (!api_.compare_exchange_strong(found, Api::maybe_json, std::memory_order_relaxed))
    return found != Api::xml;
  log_line(LogLevel::info,
           fmt::format("{} {}: it is read by the JSON API", config_.endpoint.origin, why));
  return true;
}

Result<GcsJsonObject> GcsStore::json_object(const Uri& uri) {
  constexpr std::size_t kMostAboutObject = kMiB;
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a bucket but no object")
        .at(uri.text());
  GcsJsonObject object;
  const auto make = [&] {
    return make_request("GET", uri, uri.key(), {{"projection", "noAcl"}}, {});
  };
  const auto accept = [&](const HttpAnswer& answer) -> std::optional<Verdict> {
    auto read = read_gcs_json_object(answer.body);
    if (!read) {
      return Verdict{.error = Error(ErrorKind::io, "the answer about the object is unusable: " +
                                                       read.error().message())};
    }
    object = *std::move(read);
    note_json();
    return std::nullopt;
  };
  TRY(fetch(uri, make, accept, kMostAboutObject));
  return object;
}

Result<Opened> GcsStore::open_by_json(const Uri& uri, std::uint64_t first_bytes) {
  const GcsJsonObject found = TRY(json_object(uri));
  Opened opened;
  opened.object.uri = uri;
  opened.object.size = *found.size;
  opened.object.etag = etag_of_generation(found.generation);
  opened.first.resize(std::min(*found.size, first_bytes));
  TRY(read(opened.object, {0, opened.first.size()}, opened.first));
  return opened;
}

Result<StoredChecksum> GcsStore::json_checksum(const Object& object) {
  const GcsJsonObject found = TRY(json_object(object.uri));
  if (!object.etag.empty() && etag_of_generation(found.generation) != object.etag)
    return Error(ErrorKind::object_changed, "the object was replaced while it was read")
        .at(object.uri.text());
  const auto bytes = base64_decode(found.crc32c);
  if (bytes && bytes->size() == checksum_bytes(ChecksumKind::crc32c))
    return StoredChecksum{ExpectedChecksum{ChecksumKind::crc32c, *bytes, "the store"}, {}};
  return StoredChecksum{std::nullopt, "the store has none for this object"};
}

Verdict GcsStore::judge_json(const SignedRequest& request, const HttpAnswer& answer) {
  const int status = answer.head.status;
  const ServiceError error = gcs_json_error(answer);
  Verdict verdict = failure(request, answer, error, gcs_json_reasons());
  if (!error.message.empty()) note_json();
  // Of bytes, even emulators do not always explain it in JSON.
  const bool is_of_bytes = request.http.query.find("alt=media") != std::string::npos;
  Api maybe = Api::maybe_json;
  if (error.message.empty() && !is_of_bytes && is_no_api(status) &&
      api_.compare_exchange_strong(maybe, Api::unknown, std::memory_order_relaxed)) {
    ErrorFields fields = verdict.error.fields();
    fields.message = fmt::format(
        "{} answered {} to a request of the JSON API, after it had no XML API: there is no such "
        "bucket or object, or no store of Google's at this endpoint; check the URI and "
        "gcs_endpoint",
        fields.host, status);
    verdict.error = Error(std::move(fields));
    return verdict;
  }
  if (verdict.error.kind() == ErrorKind::throttled) {
    verdict.again = Again::throttled;
  } else if (status == 401 && !config_.is_unsigned) {
    verdict.again = renew_credentials(tokens_, request.credentials_version);
  } else {
    verdict.again = again_after_status(status);
  }
  return verdict;
}

// ---- Answers ----

Verdict GcsStore::judge_answer(const Uri& uri, const SignedRequest& request,
                               const HttpAnswer& answer) {
  if (request.is_json) return judge_json(request, answer);
  const ServiceError error = ServiceError::of(answer);
  const int status = answer.head.status;
  // The XML API explains itself in XML.
  if (error.code.empty() && is_no_api(status) && turn_to_json(uri, "has no XML API")) {
    Verdict verdict = failure(request, answer, error, {});
    verdict.again = Again::at_once;
    verdict.counts = false;
    return verdict;
  }
  // A gateway may refuse in JSON what it does not pass on.
  if (error.code.empty() && answer.body.starts_with('{')) return judge_json(request, answer);
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

Facts GcsStore::findings(const Uri& uri) {
  if (!may_be_emulator(uri)) return {};
  if (uses_json(uri)) return {{"API", "JSON: the endpoint has no XML API, or not all of it"}};
  return {{"API", api_.load(std::memory_order_relaxed) == Api::xml ? "XML" : "not known yet"}};
}

Result<std::string> GcsStore::describe_credentials(const Uri&) {
  if (config_.is_unsigned)
    return fmt::format("none: requests carry no token (by {})", config_.unsigned_source);
  if (config_.hmac) return "HMAC, " + describe(*config_.hmac);
  return describe(TRY(tokens_.get()).credentials);
}

}  // namespace streamer::core::inline storage
