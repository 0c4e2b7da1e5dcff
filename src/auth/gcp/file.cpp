// SPDX-License-Identifier: Apache-2.0
// The credential files that Google's tools write and read.
#include <fmt/format.h>

#include "auth/credential_files.hpp"
#include "auth/gcp/context.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostFileBytes = 256 * 1024;
constexpr int kDeepestSource = 3;

using Members = std::function<Result<void>(std::string_view key, JsonValue& value)>;

Result<void> read_text(JsonValue& value, std::string& into) {
  if (TRY(value.kind()) == JsonKind::string) into = std::string(TRY(value.string()));
  return {};
}

Result<void> read_secret(JsonValue& value, Secret& into) {
  into = Secret(std::string(TRY(value.string())));
  return {};
}

// A number, or a text that holds one.
Result<void> read_number(JsonValue& value, std::uint64_t& into) {
  const JsonKind kind = TRY(value.kind());
  if (kind == JsonKind::number) into = TRY(value.unsigned_integer());
  if (kind == JsonKind::string) into = parse_unsigned(TRY(value.string())).value_or(into);
  return {};
}

Result<void> read_object(JsonValue& value, const Members& visit) {
  if (TRY(value.kind()) != JsonKind::object) return {};
  return value.members(visit);
}

Result<void> read_source(JsonValue& value, GoogleFile::Source& source) {
  return read_object(value, [&](std::string_view key, JsonValue& member) -> Result<void> {
    if (key == "file") return read_text(member, source.file);
    if (key == "url") return read_text(member, source.url);
    if (key == "environment_id") return read_text(member, source.environment_id);
    if (key == "region_url") return read_text(member, source.region_url);
    if (key == "regional_cred_verification_url") return read_text(member, source.verification_url);
    if (key == "imdsv2_session_token_url") return read_text(member, source.session_token_url);
    if (key == "certificate") source.wants_certificate = true;
    if (key == "headers") {
      return read_object(member, [&](std::string_view name, JsonValue& text) -> Result<void> {
        source.headers.push_back({std::string(name), {}});
        return read_text(text, source.headers.back().value);
      });
    }
    if (key == "format") {
      return read_object(member, [&](std::string_view name, JsonValue& text) -> Result<void> {
        if (name == "type") return read_text(text, source.format);
        if (name == "subject_token_field_name") return read_text(text, source.field);
        return {};
      });
    }
    if (key == "executable") {
      return read_object(member, [&](std::string_view name, JsonValue& text) -> Result<void> {
        if (name == "command") return read_text(text, source.command);
        if (name == "output_file") return read_text(text, source.output_file);
        if (name == "timeout_millis") return read_number(text, source.timeout_ms);
        return {};
      });
    }
    return {};
  });
}

Result<void> read_members(JsonValue& top, GoogleFile& file, int depth) {
  return read_object(top, [&](std::string_view key, JsonValue& member) -> Result<void> {
    if (key == "type") return read_text(member, file.type);
    if (key == "client_email") return read_text(member, file.client_email);
    if (key == "private_key_id") return read_text(member, file.private_key_id);
    if (key == "private_key") return read_secret(member, file.private_key);
    if (key == "token_uri") return read_text(member, file.token_uri);
    if (key == "client_id") return read_text(member, file.client_id);
    if (key == "client_secret") return read_secret(member, file.client_secret);
    if (key == "refresh_token") return read_secret(member, file.refresh_token);
    if (key == "universe_domain") return read_text(member, file.universe);
    if (key == "quota_project_id") return read_text(member, file.quota_project);
    if (key == "audience") return read_text(member, file.audience);
    if (key == "subject_token_type") return read_text(member, file.subject_token_type);
    if (key == "token_url") return read_text(member, file.token_url);
    if (key == "workforce_pool_user_project") return read_text(member, file.workforce_project);
    if (key == "service_account_impersonation_url")
      return read_text(member, file.impersonation_url);
    if (key == "service_account_impersonation") {
      return read_object(member, [&](std::string_view name, JsonValue& value) -> Result<void> {
        if (name == "token_lifetime_seconds")
          return read_number(value, file.impersonation_lifetime_s);
        return {};
      });
    }
    if (key == "delegates" && TRY(member.kind()) == JsonKind::array) {
      return member.elements([&](JsonValue& value) -> Result<void> {
        return read_text(value, file.delegates.emplace_back());
      });
    }
    if (key == "credential_source") return read_source(member, file.source);
    if (key == "source_credentials" && depth < kDeepestSource) {
      auto source = std::make_shared<GoogleFile>();
      source->path = file.path;
      TRY(read_members(member, *source, depth + 1));
      file.source_credentials = std::move(source);
    }
    return {};
  });
}

struct Need {
  std::string_view name;
  bool is_there;
};

Result<void> check(const GoogleFile& file) {
  std::vector<Need> needs;
  if (file.type == "service_account") {
    needs = {{"client_email", !file.client_email.empty()},
             {"private_key", !file.private_key.empty()}};
  } else if (file.type == "authorized_user") {
    needs = {{"client_id", !file.client_id.empty()},
             {"client_secret", !file.client_secret.empty()},
             {"refresh_token", !file.refresh_token.empty()}};
  } else if (file.type == "external_account") {
    needs = {{"audience", !file.audience.empty()},
             {"subject_token_type", !file.subject_token_type.empty()},
             {"token_url", !file.token_url.empty()}};
  } else if (file.type == "external_account_authorized_user") {
    needs = {{"token_url", !file.token_url.empty()},
             {"client_id", !file.client_id.empty()},
             {"client_secret", !file.client_secret.empty()},
             {"refresh_token", !file.refresh_token.empty()}};
  } else if (file.type == "impersonated_service_account") {
    needs = {{"service_account_impersonation_url", !file.impersonation_url.empty()},
             {"source_credentials", file.source_credentials != nullptr}};
  } else {
    return Error(ErrorKind::unsupported,
                 fmt::format("credentials of type \"{}\" are not supported", file.type));
  }
  for (const Need& need : needs) {
    if (need.is_there) continue;
    return Error(ErrorKind::invalid_argument,
                 fmt::format("credentials of type {} need {}", file.type, need.name));
  }
  if (file.source_credentials) return check(*file.source_credentials);
  return {};
}

}  // namespace

Result<GoogleFile> read_google_file(const std::string& path) {
  const Secret text(TRY(read_small_file(path, kMostFileBytes)));
  GoogleFile file;
  file.path = path;
  const auto read = read_json(JsonText(text.reveal()),
                              [&](JsonValue& top) { return read_members(top, file, 0); });
  // Without the parser's message, which may quote the text.
  if (!read) {
    return Error(ErrorKind::invalid_argument,
                 "this is not a JSON file of Google credentials; gcloud auth application-default "
                 "login writes one")
        .at(path);
  }
  TRY(check(file).at(path));
  if (file.universe.empty()) file.universe = kGooglesUniverse;
  // Who acts as another is where it comes from.
  if (file.source_credentials) file.universe = file.source_credentials->universe;
  return file;
}

}  // namespace streamer::core::inline auth
