// SPDX-License-Identifier: Apache-2.0
#include "storage/azure_store.hpp"

#include <fmt/format.h>

#include <array>

#include "base/clean_text.hpp"
#include "base/text.hpp"
#include "base/xml.hpp"
#include "storage/azure_settings.hpp"
#include "storage/remote_config.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core::inline storage {

namespace {

// It has encoded names in listings, and every Azurite since 2022 supports it.
constexpr const char* kVersion = "2021-12-02";

constexpr std::array kCodes = {
    CodeRow{"BlobNotFound", ErrorKind::not_found, "check the blob's name"},
    CodeRow{"ContainerNotFound", ErrorKind::not_found,
            "check the container's name and the account"},
    CodeRow{"ResourceNotFound", ErrorKind::not_found, "check the account, or the blob is private"},
    CodeRow{"ConditionNotMet", ErrorKind::object_changed,
            "the blob was replaced after it was opened; load it again"},
    CodeRow{"AuthenticationFailed", ErrorKind::permission_denied,
            "the account key is not this account's, the token has expired or was changed, or this "
            "machine's clock is off"},
    CodeRow{"AuthorizationFailure", ErrorKind::permission_denied,
            "the key is wrong, or the account's firewall keeps this machine out"},
    CodeRow{"AuthorizationPermissionMismatch", ErrorKind::permission_denied,
            "the identity needs the role Storage Blob Data Reader; a SAS token needs the "
            "permissions read and list"},
    CodeRow{"AuthorizationServiceMismatch", ErrorKind::permission_denied,
            "the SAS token is for a service other than blobs"},
    CodeRow{"AuthorizationResourceTypeMismatch", ErrorKind::permission_denied,
            "the SAS token is not for containers and objects"},
    CodeRow{"PublicAccessNotPermitted", ErrorKind::permission_denied,
            "the account allows no public access: give credentials instead of "
            "azure_credentials=anonymous"},
    CodeRow{"NoAuthenticationInformation", ErrorKind::permission_denied,
            "the blob is not public: give credentials instead of azure_credentials=anonymous"},
    CodeRow{"InvalidAuthenticationInfo", ErrorKind::permission_denied,
            "the token is not accepted; check which credentials are in use with streamer doctor"},
    CodeRow{"BlobArchived", ErrorKind::permission_denied,
            "the blob is archived; rehydrate it first"},
    CodeRow{"UnsupportedHeader", ErrorKind::unsupported, "the store does not support this request"},
};

struct ConnectionString {
  std::string account;
  std::string key;
  std::string sas;
  std::string endpoint;
  std::string suffix;
  std::string protocol;
};

// The account of every emulator of the service; published by Microsoft, so not a secret.
constexpr std::string_view kEmulatorAccount = "devstoreaccount1";
constexpr std::string_view kEmulatorKey =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
constexpr std::string_view kEmulatorEndpoint = "http://127.0.0.1:10000/devstoreaccount1";

Result<ConnectionString> parse_connection_string(std::string_view text) {
  ConnectionString parsed;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    const std::string_view part = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.empty()) continue;
    const std::size_t mark = part.find('=');
    if (mark == std::string_view::npos) {
      // Not shown: it may be part of a key.
      return Error(ErrorKind::invalid_argument,
                   "the connection string has a part without a \"=\"; it is "
                   "NAME=VALUE;NAME=VALUE;..., as the portal shows it");
    }
    const std::string name = to_lower(trim(part.substr(0, mark)));
    const std::string value(trim(part.substr(mark + 1)));
    if (name == "accountname") parsed.account = value;
    if (name == "accountkey") parsed.key = value;
    if (name == "sharedaccesssignature") parsed.sas = value;
    if (name == "blobendpoint") parsed.endpoint = value;
    if (name == "endpointsuffix") parsed.suffix = value;
    if (name == "defaultendpointsprotocol") parsed.protocol = to_lower(value);
    if (name == "usedevelopmentstorage" && is_true(value)) {
      parsed.account = kEmulatorAccount;
      parsed.key = kEmulatorKey;
      parsed.endpoint = kEmulatorEndpoint;
    }
  }
  return parsed;
}

std::string without_mark(std::string sas) {
  return sas.starts_with("?") ? sas.substr(1) : sas;
}

// A SAS token is put on the request line unchanged.
Result<void> check_sas(std::string_view sas) {
  for (const char c : sas) {
    if (static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7F && c != '#')
      continue;
    return Error(
        ErrorKind::invalid_argument,
        "the SAS token holds white space, a '#' or a non-ASCII character; copy it percent-encoded");
  }
  return {};
}

class AzureConfigReader {
 public:
  AzureConfigReader(const RemoteConfig& from, AzureConfig& config) : from_(from), config_(config) {}

  Result<void> read() {
    chosen_ = from_.get(setting::kAzureCredentials);
    chosen_source_ = from_.source_of(setting::kAzureCredentials);
    TRY(read_connection());
    TRY(read_account());
    if (TRY(take_given()) || TRY(take_from_environment())) return {};
    config_.fetch_token = [auth = config_.auth] { return find_azure_token(auth); };
    return {};
  }

 private:
  Result<void> read_connection() {
    auto text = first_variable({"AZURE_STORAGE_CONNECTION_STRING"});
    if (!text && is_true(from_.variable("AZURE_STORAGE_USE_EMULATOR").value_or("")))
      text = Sourced{"UseDevelopmentStorage=true", "AZURE_STORAGE_USE_EMULATOR"};
    if (is_chosen(AzureCredentialKind::connection_string))
      text = Sourced{std::string(chosen_->secret.reveal()), chosen_source_};
    if (!text) return {};
    connection_ = TRY(read_from(text->source, parse_connection_string(text->value)));
    connection_source_ = text->source;
    config_.account = connection_.account;
    if (!connection_.suffix.empty()) config_.suffix = connection_.suffix;
    // Only with a suffix, as the SDK: alone, "http" is nobody's wish.
    if (connection_.endpoint.empty() && connection_.protocol == "http" &&
        !connection_.suffix.empty())
      connection_.endpoint = fmt::format("http://{}.blob.{}", connection_.account, config_.suffix);
    if (connection_.endpoint.empty()) return {};
    std::string sas;
    TRY(read_endpoint({connection_.endpoint, text->source}, sas));
    if (connection_.sas.empty()) connection_.sas = sas;
    const std::string_view host = config_.endpoint->host();
    if (config_.account.empty()) config_.account = std::string(host.substr(0, host.find('.')));
    return {};
  }

  Result<void> read_account() {
    const auto account = from_.first_of(setting::kAzureAccountName, {"AZURE_STORAGE_ACCOUNT"});
    if (account && (config_.account.empty() || from_.is_in_code(setting::kAzureAccountName)))
      config_.account = account->value;
    const bool is_own = account && config_.account == account->value;
    for (const char c : config_.account) {
      const bool is_fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      if (is_fine) continue;
      return with_source(
          is_own ? account->source : connection_source_,
          Error(ErrorKind::invalid_argument,
                "this cannot be an account's name, which has only lower-case letters and digits"));
    }
    // A string that was chosen says which cloud and endpoint, if only by leaving them out: no
    // variable of Azure's leads its key elsewhere, and the setting only from no further away.
    const bool has_string = is_chosen(AzureCredentialKind::connection_string);
    auto endpoint = from_.first_of(setting::kAzureEndpoint, {});
    if (has_string && from_.is_in_code(setting::kAzureCredentials) &&
        !from_.is_in_code(setting::kAzureEndpoint))
      endpoint.reset();
    if (!has_string) {
      if (!endpoint) endpoint = first_variable({"AZURE_STORAGE_ENDPOINT"});
      config_.suffix = from_.variable("AZURE_STORAGE_ENDPOINT_SUFFIX").value_or(config_.suffix);
    }
    if (endpoint) {
      TRY(read_endpoint(*endpoint, endpoint_sas_.value));
      endpoint_sas_.source = endpoint->source;
    }
    return {};
  }

  // An endpoint may have a SAS token after its '?'.
  Result<void> read_endpoint(const Sourced& text, std::string& sas) {
    const std::size_t mark = text.value.find('?');
    if (mark != std::string::npos) sas = text.value.substr(mark + 1);
    hide(sas);
    config_.endpoint = TRY(read_from(text.source, parse_endpoint(text.value.substr(0, mark))));
    config_.endpoint_source = text.source;
    return {};
  }

  [[nodiscard]] bool is_chosen(AzureCredentialKind kind) const {
    return chosen_ && chosen_->kind == kind;
  }

  [[nodiscard]] std::optional<Sourced> first_variable(
      std::initializer_list<const char*> names) const {
    for (const char* const name : names) {
      if (auto value = from_.variable(name)) return Sourced{*std::move(value), name};
    }
    return std::nullopt;
  }

  // What the program gave, as a callback or as a setting. True if there is something.
  Result<bool> take_given() {
    if (const auto callback = from_.settings().credentials_callback()) {
      config_.fetch_token = token_from_callback(callback);
      return true;
    }
    // What the program wrote into its endpoint counts before a variable.
    if (from_.is_in_code(setting::kAzureEndpoint) &&
        !from_.is_in_code(setting::kAzureCredentials) && TRY(take_from_endpoint()))
      return true;
    if (chosen_) {
      const std::string secret(chosen_->secret.reveal());
      switch (chosen_->kind) {
        case AzureCredentialKind::anonymous:
          config_.is_unsigned = true;
          config_.credentials_source = chosen_source_;
          return true;
        case AzureCredentialKind::key:
          return take_key({secret, chosen_source_});
        case AzureCredentialKind::sas:
          return take_sas({secret, chosen_source_});
        case AzureCredentialKind::token:
          return take_token({secret, chosen_source_});
        case AzureCredentialKind::connection_string:
          if (TRY(take_from_connection())) return true;
      }
    }
    return from_.is_in_code(setting::kAzureEndpoint) ? take_from_endpoint() : Result<bool>(false);
  }

  Result<bool> take_from_environment() {
    // A string that was chosen and has no credentials was looked at above.
    if (!is_chosen(AzureCredentialKind::connection_string) && TRY(take_from_connection()))
      return true;
    if (const auto key = first_variable(
            {"AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"}))
      return take_key(*key);
    if (const auto sas = first_variable({"AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"}))
      return take_sas(*sas);
    if (TRY(take_from_endpoint())) return true;
    const auto token = first_variable({"AZURE_STORAGE_TOKEN"});
    return token ? take_token(*token) : Result<bool>(false);
  }

  Result<bool> take_from_connection() {
    if (!connection_.key.empty()) return take_key({connection_.key, connection_source_});
    if (!connection_.sas.empty()) return take_sas({connection_.sas, connection_source_});
    return false;
  }

  Result<bool> take_from_endpoint() {
    return endpoint_sas_.value.empty() ? Result<bool>(false) : take_sas(endpoint_sas_);
  }

  Result<bool> take_token(const Sourced& token) {
    TRY(check_header_value(token.source, token.value));
    const BearerToken bearer{.token = Secret(token.value), .expires = {}, .source = token.source};
    config_.fetch_token = [bearer]() -> Result<BearerToken> { return bearer; };
    return true;
  }

  Result<bool> take_key(const Sourced& key) {
    config_.key = TRY(read_from(key.source, read_azure_key(config_.account, key.value)));
    config_.credentials_source = key.source;
    return true;
  }

  Result<bool> take_sas(const Sourced& sas) {
    config_.sas = Secret(without_mark(sas.value));
    config_.credentials_source = sas.source;
    TRY(read_from(sas.source, check_sas(config_.sas.reveal())));
    return true;
  }

  const RemoteConfig& from_;
  AzureConfig& config_;
  ChosenAzureCredentials chosen_;
  std::string chosen_source_;
  ConnectionString connection_;
  std::string connection_source_;
  Sourced endpoint_sas_;  // of the setting or variable of the endpoint
};

std::string joined_query(std::string_view a, std::string_view b) {
  return fmt::format("{}{}{}", a, a.empty() || b.empty() ? "" : "&", b);
}

// "Encoded" names are percent-encoded; '+' stands for itself.
Result<std::string> name_of(const XmlElement& element) {
  const XmlElement* const name = element.child("Name");
  if (name == nullptr) return Error(ErrorKind::corrupt, "an entry has no name");
  if (!equal_ignoring_case(name->attribute("Encoded"), "true")) return name->text;
  auto decoded = percent_decode(name->text);
  if (!decoded) return Error(ErrorKind::corrupt, "an encoded name is not percent-encoded");
  return *std::move(decoded);
}

}  // namespace

Result<AzureConfig> read_azure_config(const Settings& settings, const Environment& environment,
                                      HttpClient& http) {
  const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
  AzureConfig config;
  config.auth.environment = environment;
  config.auth.http = &http;
  config.auth.tls = TRY(from.tls_files());
  TRY(AzureConfigReader(from, config).read());
  return config;
}

Result<std::unique_ptr<Store>> make_azure_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = TRY(read_remote_limits(settings));
  AzureConfig config = TRY(read_azure_config(settings, process_environment(), *http));
  return std::unique_ptr<Store>(
      std::make_unique<AzureStore>(std::move(config), limits, std::move(http)));
}

AzureStore::AzureStore(AzureConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
    : RemoteStore(limits, std::move(http), config.auth),
      config_(std::move(config)),
      tokens_(config_.fetch_token, config_.auth.now),
      clock_(config_.auth.now) {}

AzureStore::Access AzureStore::access_to(const Uri& uri) const {
  // A URL with its own signature needs no other.
  if (!uri.query().empty()) return Access::sas;
  if (config_.is_unsigned) return Access::unsigned_;
  if (config_.key) return Access::shared_key;
  return config_.sas.empty() ? Access::token : Access::sas;
}

Result<Endpoint> AzureStore::endpoint_of(const Uri& uri) const {
  if (!uri.host().empty()) return parse_endpoint(uri.host());
  if (config_.endpoint) return *config_.endpoint;
  if (config_.account.empty()) {
    return Error(ErrorKind::invalid_argument,
                 "az:// URIs name no account: set azure_account_name, AZURE_STORAGE_ACCOUNT_NAME "
                 "or a connection string, or write https://ACCOUNT.blob.core.windows.net/...");
  }
  return Endpoint{fmt::format("https://{}.blob.{}", config_.account, config_.suffix), ""};
}

// Every request of this store comes from here, so that none is sent without its credentials, and no
// credentials to a host that they are not for.
Result<SignedRequest> AzureStore::make_request(const Uri& uri, std::string_view blob,
                                               std::string query, std::vector<HttpHeader> headers) {
  const Endpoint endpoint = TRY(endpoint_of(uri));
  const Access access = access_to(uri);
  const bool is_bearer = access == Access::token || access == Access::sas;
  if (is_bearer && !keeps_secrets(endpoint)) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("{} is not https: tokens are only sent over https, or to this machine",
                             endpoint.origin));
  }
  SignedRequest request;
  request.http.origin = endpoint.origin;
  request.http.path = endpoint.base_path + "/" + percent_encode(uri.bucket(), "$");
  if (!blob.empty()) request.http.path += "/" + percent_encode(blob, "/");
  request.http.query = std::move(query);
  request.http.headers = std::move(headers);
  request.http.headers.push_back({"x-ms-version", kVersion});
  request.http.route =
      is_bearer ? context().route_for_secrets(endpoint) : route_to(endpoint.origin);
  request.signed_at = clock_.now();
  if (access == Access::shared_key) {
    AzureKey key = *config_.key;
    const std::string_view host = endpoint.host();
    const std::string named(
        uri.host().empty() || is_ip_address(host) ? "" : host.substr(0, host.find('.')));
    if (key.account.empty()) key.account = named;
    if (!named.empty() && named != key.account) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("the key (from {}) belongs to account {}, but the URI names {}; "
                               "set a separate key for the URIs of each account",
                               config_.credentials_source, key.account, named));
    }
    sign_shared_key(request.http, key, request.signed_at);
  } else if (access == Access::sas) {
    const std::string_view sas = uri.query().empty() ? config_.sas.reveal() : uri.query();
    request.http.query = joined_query(request.http.query, sas);
  } else if (access == Access::token) {
    const auto current = TRY(tokens_.get());
    request.credentials_version = current.version;
    request.http.headers.push_back(
        {"Authorization", "Bearer " + std::string(current.credentials.token.reveal())});
  }
  if (log_enabled(LogLevel::trace)) {
    log_line(LogLevel::trace,
             fmt::format("{} {}{}", request.http.method, request.http.origin, request.http.path));
  }
  return request;
}

Result<SignedRequest> AzureStore::make_range_request(const Uri& uri, ByteRange range,
                                                     const std::string& etag) {
  if (uri.key().empty())
    return Error(ErrorKind::invalid_argument, "the URI names a container but no blob")
        .at(uri.text());
  std::vector<HttpHeader> headers;
  // The service accepts Range as well as its own x-ms-range, and proxies in front of it know Range.
  add_range_headers(headers, range, etag);
  return make_request(uri, uri.key(), "", std::move(headers)).at(uri.text());
}

Result<SignedRequest> AzureStore::page_request(const Uri& folder, ListDepth depth,
                                               std::uint64_t most, const std::string& token) {
  Parameters parameters = {
      {"restype", "container"}, {"comp", "list"}, {"maxresults", std::to_string(most)}};
  if (!folder.key().empty()) parameters.emplace_back("prefix", folder.key());
  if (depth == ListDepth::children) parameters.emplace_back("delimiter", "/");
  if (!token.empty()) parameters.emplace_back("marker", token);
  return make_request(folder, "", canonical_query(std::move(parameters)), {});
}

Result<std::optional<Page>> AzureStore::read_page(const Uri& folder, const HttpAnswer& answer) {
  std::string_view body = answer.body;
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);
  const XmlElement root = TRY(read_xml(body));
  if (root.name == "Error") return std::optional<Page>();
  if (root.name != "EnumerationResults")
    return Error(ErrorKind::corrupt, "its root is " + root.name.substr(0, 60));
  Page page;
  page.next = root.text_of("NextMarker");
  const XmlElement* const blobs = root.child("Blobs");
  if (blobs == nullptr) return std::optional(std::move(page));
  for (const XmlElement& element : blobs->children) {
    const bool is_folder = element.name == "BlobPrefix";
    if (!is_folder && element.name != "Blob") continue;
    const std::string name = TRY(name_of(element));
    const Uri uri = folder.with_path(fmt::format("{}/{}", folder.bucket(), name));
    if (is_folder) {
      page.entries.push_back({uri, 0, true, {}});
      continue;
    }
    const XmlElement* const properties = element.child("Properties");
    if (properties == nullptr) return Error(ErrorKind::corrupt, "a blob has no properties");
    // Accounts with a hierarchy have entries for folders too.
    if (properties->text_of("ResourceType") == "directory") continue;
    const auto size = parse_unsigned(trim(properties->text_of("Content-Length")));
    if (!size) return Error(ErrorKind::corrupt, "a blob has no size");
    page.entries.push_back({uri, *size, false, std::string(trim(properties->text_of("Etag")))});
  }
  return std::optional(std::move(page));
}

// Codes of the service first: they say more than the status, which several of them share.
Verdict AzureStore::judge_answer(const Uri& uri, const SignedRequest& request,
                                 const HttpAnswer& answer) {
  const ServiceError error = ServiceError::of(answer);
  const int status = answer.head.status;
  Verdict verdict = failure(request, answer, error, kCodes);
  const Access access = access_to(uri);
  if (error.code == "ServerBusy") {
    verdict.again = Again::throttled;
  } else if (error.code == "InternalError" || error.code == "OperationTimedOut") {
    verdict.again = Again::soon;
  } else if (access == Access::token && (status == 401 || error.code == "AuthenticationFailed")) {
    verdict.again = renew_credentials(tokens_, request.credentials_version);
  } else if (access == Access::shared_key && (status == 403 || status == 401)) {
    if (clock_.correct(request.signed_at, answer.head)) verdict.again = Again::at_once;
  } else {
    verdict.again = again_after_status(status);
  }
  return verdict;
}

Result<RemoteWay> AzureStore::way_to(const Uri& uri) {
  const Endpoint endpoint = TRY(endpoint_of(uri));
  std::string source =
      config_.endpoint_source.empty() ? "the account's name" : config_.endpoint_source;
  if (!uri.host().empty()) source = "the URI";
  return RemoteWay{.origin = endpoint.origin + endpoint.base_path,
                   .endpoint_source = std::move(source),
                   .facts = {{"container", std::string(uri.bucket())}}};
}

Result<std::string> AzureStore::describe_credentials(const Uri& uri) {
  switch (access_to(uri)) {
    case Access::unsigned_:
      return fmt::format("none: requests are not signed (by {})", config_.credentials_source);
    case Access::shared_key:
      return fmt::format("the account's key, from {}", config_.credentials_source);
    case Access::sas:
      return fmt::format("a SAS token, from {}",
                         uri.query().empty() ? config_.credentials_source : "the URL");
    case Access::token:
      break;
  }
  return describe(TRY(tokens_.get()).credentials);
}

}  // namespace streamer::core::inline storage
