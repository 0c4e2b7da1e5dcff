// SPDX-License-Identifier: Apache-2.0 Workload identity federation: the token of another identity
// provider, exchanged for one of Google's (RFC 8693), and impersonated service accounts.
#include <fmt/format.h>

#include "auth/credential_files.hpp"
#include "auth/credential_program.hpp"
#include "auth/gcp/context.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostSubjectTokenBytes = 64 * 1024;
constexpr std::string_view kCloudScope = "https://www.googleapis.com/auth/cloud-platform";
constexpr std::string_view kTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange";
constexpr std::string_view kAccessToken = "urn:ietf:params:oauth:token-type:access_token";
constexpr const char* kMayRun = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES";

// The text with "{universe_domain}" filled in.
std::string in_universe(std::string text, const GoogleFile& file) {
  constexpr std::string_view kPlace = "{universe_domain}";
  if (const std::size_t at = text.find(kPlace); at != std::string::npos)
    text.replace(at, kPlace.size(), file.universe);
  return text;
}

Error no_token(const GoogleFile& file, std::string_view why) {
  return Error(ErrorKind::permission_denied, fmt::format("the subject token: {}", why))
      .at(file.path);
}

// The token in a file or an answer, by the format that the credentials name.
Result<Secret> token_in(const GoogleFile& file, const Secret& text) {
  Secret token(std::string(trim(text.reveal())));
  if (file.source.format == "json") {
    const auto members = read_flat_json(text.reveal());
    token = Secret(members ? text_of(*members, file.source.field) : std::string());
    if (token.empty())
      return no_token(file, fmt::format("there is no member {}", quote_json(file.source.field)));
  }
  if (token.empty()) return no_token(file, "it is empty");
  TRY(check_header_value("the subject token", token.reveal()));
  return token;
}

Result<Secret> token_from_url(const GcpContext& context, const GoogleFile& file) {
  const HttpUrl url = TRY(parse_url(file.source.url).at(file.path));
  HttpRequest request;
  request.origin = url.origin;
  request.path = url.path;
  request.query = url.query;
  request.headers = file.source.headers;
  for (const HttpHeader& header : request.headers) {
    TRY(check_header_value("the name of a header", header.name).at(file.path));
    TRY(check_header_value(header.name, header.value).at(file.path));
  }
  request.route = context.route_to(url.endpoint());
  TransferOptions options;
  options.connect_timeout = Milliseconds(5000);
  options.kept_bytes = kMostSubjectTokenBytes;
  const HttpAnswer answer = TRY(ask(context, request, options, 3));
  if (answer.head.status != 200)
    return no_token(file, fmt::format("{} answered {}", request.host(), answer.head.status));
  return token_in(file, Secret(answer.body));
}

// The answer of a program, as Google defines it: {"version":1,"success":true,...}.
Result<Secret> token_in_program_answer(const GoogleFile& file, const Secret& output,
                                       SystemTime now) {
  std::map<std::string, std::string, std::less<>> texts;
  bool has_succeeded = false;
  const auto read = read_json(JsonText(output.reveal()), [&](JsonValue& top) {
    return top.members([&](std::string_view key, JsonValue& member) -> Result<void> {
      const JsonKind kind = TRY(member.kind());
      if (kind == JsonKind::string) texts[std::string(key)] = std::string(TRY(member.string()));
      if (kind == JsonKind::number && key == "expiration_time")
        texts[std::string(key)] = std::to_string(TRY(member.unsigned_integer()));
      if (kind == JsonKind::boolean && key == "success") has_succeeded = TRY(member.boolean());
      return {};
    });
  });
  if (!read) return no_token(file, "the program printed something that is not JSON");
  if (!has_succeeded)
    return no_token(file, fmt::format("the program says {}: {}", texts["code"],
                                      texts["message"].substr(0, 300)));
  const auto until = parse_unsigned(texts["expiration_time"]);
  if (until &&
      SystemTime(std::chrono::seconds(std::min<std::uint64_t>(*until, 4'000'000'000))) <= now)
    return no_token(file, "the token that the program printed has expired");
  const bool is_saml = file.subject_token_type.ends_with("saml2");
  Secret token(texts[is_saml ? "saml_response" : "id_token"]);
  if (token.empty()) return no_token(file, "the program printed no token");
  return token;
}

Result<Secret> token_from_program(const GcpContext& context, const GoogleFile& file) {
  if (context.environment(kMayRun) != "1") {
    return Error(ErrorKind::permission_denied,
                 fmt::format("these credentials run a program, which is only allowed if {} is 1",
                             kMayRun))
        .at(file.path);
  }
  if (!file.source.output_file.empty()) {
    // The program's cached output, if it is still valid.
    const auto kept = read_small_file(file.source.output_file, kMostSubjectTokenBytes);
    if (kept) {
      auto token = token_in_program_answer(file, Secret(*kept), context.now());
      if (token) return token;
    }
  }
  Program program{.name = "the credentials' program",
                  .words = {},
                  .variables = {"GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE=" + file.audience,
                                "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE=" + file.subject_token_type,
                                "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE=0",
                                "GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE=" + file.source.output_file},
                  .deadline = std::chrono::milliseconds(
                      std::clamp<std::uint64_t>(file.source.timeout_ms, 100, 120'000))};
  program.words = TRY(split_words(program.name, file.source.command).at(file.path));
  const Secret output = TRY(run_program(program).at(file.path));
  return token_in_program_answer(file, output, context.now());
}

Result<Secret> subject_token(const GcpContext& context, const GoogleFile& file) {
  if (!file.source.file.empty())
    return token_in(file, Secret(TRY(read_small_file(file.source.file, kMostSubjectTokenBytes))));
  if (!file.source.command.empty()) return token_from_program(context, file);
  if (!file.source.environment_id.empty()) return subject_token_from_aws(context, file);
  if (!file.source.url.empty() && !file.source.wants_certificate)
    return token_from_url(context, file);
  return Error(ErrorKind::unsupported,
               file.source.wants_certificate
                   ? "certificates as a source of Google's credentials are not supported; use a "
                     "file, a URL, a program or AWS"
                   : "credential_source names no file, url, executable or environment_id")
      .at(file.path);
}

}  // namespace

Result<BearerToken> impersonate(const GcpContext& context, const GoogleFile& file,
                                const BearerToken& base, std::string_view scope) {
  const char* const name = "service_account_impersonation_url";
  const HttpUrl target = TRY(parse_secret_url(name, file.impersonation_url).at(file.path));
  TRY(check_universe(file, name, target));
  HttpRequest request = form_request(context, target, {});
  request.headers = {{"Content-Type", "application/json"},
                     {"Accept", "application/json"},
                     {"Authorization", fmt::format("Bearer {}", base.token.reveal())}};
  std::string names;
  for (const std::string& delegate : file.delegates)
    names += fmt::format("{}{}", names.empty() ? "" : ",", quote_json(delegate));
  request.body = fmt::format(R"({{"delegates":[{}],"scope":[{}],"lifetime":"{}s"}})", names,
                             quote_json(scope), file.impersonation_lifetime_s);
  TransferOptions options;
  options.connect_timeout = Milliseconds(5000);
  const HttpAnswer answer = TRY(ask(context, request, options, 3));
  const std::string source = fmt::format("a service account, impersonated by {}", base.source);
  const auto members = read_flat_json(answer.body);
  if (answer.head.status != 200 || !members || text_of(*members, "accessToken").empty()) {
    std::string message;
    if (const auto error = read_flat_json(answer.body, "error"))
      message = text_of(*error, "message").substr(0, 300);
    ErrorFields fields;
    fields.kind = ErrorKind::permission_denied;
    fields.http_status = answer.head.status;
    fields.host = request.host();
    fields.message =
        fmt::format("{}: {} answered {}{}{}; it needs the role Service Account Token Creator",
                    source, fields.host, answer.head.status, message.empty() ? "" : ": ", message);
    return Error(std::move(fields));
  }
  BearerToken token{.token = Secret(text_of(*members, "accessToken")),
                    .expires = parse_iso(text_of(*members, "expireTime")),
                    .source = source,
                    .quota_project = base.quota_project};
  TRY(check_header_value("the access token", token.token.reveal()));
  return token;
}

Result<BearerToken> token_from_external_account(const GcpContext& context, const GoogleFile& file,
                                                std::string_view scope) {
  const HttpUrl url =
      TRY(parse_secret_url("token_url", in_universe(file.token_url, file)).at(file.path));
  TRY(check_universe(file, "token_url", url));
  const Secret subject = TRY(subject_token(context, file));
  const bool acts_as_other = !file.impersonation_url.empty();
  Form form = {{"grant_type", std::string(kTokenExchange)},
               {"audience", file.audience},
               {"scope", std::string(acts_as_other ? kCloudScope : scope)},
               {"requested_token_type", std::string(kAccessToken)},
               {"subject_token", std::string(subject.reveal())},
               {"subject_token_type", file.subject_token_type}};
  const bool has_secret = !file.client_id.empty() && !file.client_secret.empty();
  if (!file.workforce_project.empty() && !has_secret) {
    form.emplace_back("options",
                      fmt::format(R"({{"userProject":{}}})", quote_json(file.workforce_project)));
  }
  HttpRequest request = form_request(context, url, std::move(form));
  if (has_secret) {
    const std::string pair = file.client_id + ":" + std::string(file.client_secret.reveal());
    request.headers.push_back({"Authorization", "Basic " + base64_encode(pair)});
  }
  BearerToken token =
      TRY(ask_for_token(context, request, fmt::format("workload identity ({})", file.path)));
  if (acts_as_other) token = TRY(impersonate(context, file, token, scope).at(file.path));
  token.quota_project = file.quota_project;
  return token;
}

}  // namespace streamer::core::inline auth
