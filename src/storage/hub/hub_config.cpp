// SPDX-License-Identifier: Apache-2.0
#include "storage/hub/hub_config.hpp"

#include <fmt/format.h>

#include "auth/credential_files.hpp"
#include "storage/hub/hf_settings.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::size_t kMostTokenBytes = 4096;

// "~/x" as the hub's client reads it.
std::string expand_home(std::string path, const Environment& environment) {
  if (path.starts_with("~/")) path.replace(0, 1, home_directory(environment));
  return path;
}

// Where the hub's client keeps everything.
Sourced hub_home(const Environment& environment) {
  if (const auto home = environment("HF_HOME")) return {expand_home(*home, environment), "HF_HOME"};
  if (const auto cache = environment("XDG_CACHE_HOME"))
    return {expand_home(*cache, environment) + "/huggingface", "XDG_CACHE_HOME"};
  const std::string home = home_directory(environment);
  return {home.empty() ? "" : home + "/.cache/huggingface", "the home directory"};
}

Sourced read_cache(const RemoteConfig& from, const Environment& environment) {
  auto found = from.first_of(setting::kHfCacheFolder, {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  if (found && found->value == "off") return {"", found->source};
  if (found) return {expand_home(found->value, environment), found->source};
  Sourced home = hub_home(environment);
  if (!home.value.empty()) home.value += "/hub";
  return home;
}

Result<void> read_token(const RemoteConfig& from, const Environment& environment,
                        HubConfig& config) {
  if (const auto given = from.get(setting::kHfToken)) {
    config.token_source = from.settings().source_of(setting::kHfToken);
    if (given->reveal() != "off") config.token = *given;
    return check_header_value(config.token_source, config.token.reveal());
  }
  if (const auto off = environment("HF_HUB_DISABLE_IMPLICIT_TOKEN"); off && is_true(*off)) {
    config.token_source = "HF_HUB_DISABLE_IMPLICIT_TOKEN";
    return {};
  }
  for (const char* const name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    const auto value = environment(name);
    if (!value) continue;
    // Line breaks at its end are common.
    const std::size_t first = value->find_first_not_of(" \t\r\n");
    if (first == std::string::npos) continue;
    config.token = Secret(value->substr(first, value->find_last_not_of(" \t\r\n") - first + 1));
    config.token_source = name;
    return check_header_value(name, config.token.reveal());
  }
  Sourced file = hub_home(environment);
  file.value += "/token";
  if (const auto path = environment("HF_TOKEN_PATH"))
    file = {expand_home(*path, environment), "HF_TOKEN_PATH"};
  auto read = read_token_file(file.value, kMostTokenBytes);
  if (!read && read.error().kind() == ErrorKind::not_found) return {};
  if (!read) return with_source(file.source, keep_place(std::move(read).error()));
  config.token = *std::move(read);
  config.token_source = fmt::format("{} (from {})", file.value, file.source);
  return {};
}

bool is_off(const RemoteConfig& from) {
  return equal_ignoring_case(from.text(setting::kHfEndpoint), "off");
}

void read_offline(const RemoteConfig& from, const Environment& environment, HubConfig& config) {
  if (is_off(from)) {
    config.is_offline = true;
    config.offline_source = from.source_of(setting::kHfEndpoint);
    return;
  }
  for (const char* const name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    const auto value = environment(name);
    if (!value || !is_true(*value)) continue;
    config.is_offline = true;
    config.offline_source = name;
    return;
  }
}

}  // namespace

Result<HubConfig> read_hub_config(const Settings& settings, const Environment& environment) {
  const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
  HubConfig config;
  config.auth.tls = TRY(from.tls_files());
  read_offline(from, environment, config);
  if (!is_off(from)) {
    const Sourced endpoint = from.first_of(setting::kHfEndpoint, {"HF_ENDPOINT"})
                                 .value_or(Sourced{"https://huggingface.co", "the default"});
    config.endpoint = TRY(read_from(endpoint.source, parse_endpoint(endpoint.value)));
    config.endpoint_source = endpoint.source;
  }
  config.cache = read_cache(from, environment);
  TRY(read_token(from, environment, config));
  return config;
}

}  // namespace streamer::core::inline storage
