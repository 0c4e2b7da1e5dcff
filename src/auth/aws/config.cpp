// SPDX-License-Identifier: Apache-2.0
#include "auth/aws/config.hpp"

#include <fmt/format.h>

#include "auth/credential_files.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostConfigBytes = 4 * 1024 * 1024;

const IniSection* find_section(const IniFile& file, const std::string& name) {
  const auto found = file.find(name);
  return found == file.end() ? nullptr : &found->second;
}

std::optional<std::string> find_value(const IniSection* section, std::string_view key) {
  if (section == nullptr) return std::nullopt;
  const auto found = section->find(key);
  if (found == section->end() || found->second.text.empty()) return std::nullopt;
  return found->second.text;
}

Result<IniFile> read_ini_if_there(const std::string& path) {
  const auto text = read_small_file(path, kMostConfigBytes);
  if (text) return keep_place(read_ini(*text).at(path));
  if (text.error().kind() == ErrorKind::not_found) return IniFile();
  return keep_place(text.error().copy());
}

std::string expand_home(std::string path, const Environment& environment) {
  if (!path.starts_with("~/")) return path;
  return home_directory(environment) + path.substr(1);
}

}  // namespace

Result<AwsConfig> AwsConfig::parse(std::string_view config, std::string_view credentials,
                                   std::string profile) {
  AwsConfig parsed;
  parsed.config_ = TRY(read_ini(config));
  parsed.credentials_ = TRY(read_ini(credentials));
  if (!profile.empty()) parsed.profile_ = std::move(profile);
  return parsed;
}

Result<AwsConfig> AwsConfig::read(const Environment& environment,
                                  const std::string& profile_in_code) {
  const std::string home = home_directory(environment);
  const auto path_of = [&](const char* variable, std::string_view name) {
    return expand_home(environment(variable).value_or(fmt::format("{}/.aws/{}", home, name)),
                       environment);
  };
  AwsConfig config;
  config.config_path_ = path_of("AWS_CONFIG_FILE", "config");
  config.credentials_path_ = path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials");
  config.config_ = TRY(read_ini_if_there(config.config_path_));
  config.credentials_ = TRY(read_ini_if_there(config.credentials_path_));
  config.profile_ = profile_in_code;
  for (const char* const variable : {"AWS_DEFAULT_PROFILE", "AWS_PROFILE"}) {
    if (config.profile_.empty()) config.profile_ = environment(variable).value_or("");
  }
  const bool is_named = !config.profile_.empty();
  if (!is_named) config.profile_ = "default";
  if (is_named && config.profile_ != "default" && !config.has_profile(config.profile_)) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("there is no profile \"{}\" in {} or {}; check {}", config.profile_,
                             config.config_path_, config.credentials_path_,
                             profile_in_code.empty() ? "AWS_PROFILE" : "s3_credentials"));
  }
  return config;
}

const IniSection* AwsConfig::config_section(std::string_view profile) const noexcept {
  const IniSection* const named = find_section(config_, fmt::format("profile {}", profile));
  if (named != nullptr || profile != "default") return named;
  return find_section(config_, "default");
}

bool AwsConfig::has_profile(std::string_view name) const noexcept {
  return config_section(name) != nullptr ||
         find_section(credentials_, std::string(name)) != nullptr;
}

std::optional<std::string> AwsConfig::value(std::string_view profile, std::string_view key) const {
  auto found = value(AwsFile::credentials, profile, key);
  return found ? found : value(AwsFile::config, profile, key);
}

std::optional<std::string> AwsConfig::value(AwsFile file, std::string_view profile,
                                            std::string_view key) const {
  if (file == AwsFile::config) return find_value(config_section(profile), key);
  return find_value(find_section(credentials_, std::string(profile)), key);
}

std::optional<std::string> AwsConfig::nested(std::string_view key, std::string_view below) const {
  const IniSection* const section = config_section(profile_);
  if (section == nullptr) return std::nullopt;
  const auto outer = section->find(key);
  if (outer == section->end()) return std::nullopt;
  const auto inner = outer->second.nested.find(std::string(below));
  if (inner == outer->second.nested.end() || inner->second.empty()) return std::nullopt;
  return inner->second;
}

std::optional<std::string> AwsConfig::endpoint_url(std::string_view service) const {
  if (const auto services = value("services")) {
    const IniSection* const section = find_section(config_, fmt::format("services {}", *services));
    if (section != nullptr) {
      const auto outer = section->find(service);
      if (outer != section->end()) {
        const auto inner = outer->second.nested.find("endpoint_url");
        if (inner != outer->second.nested.end() && !inner->second.empty()) return inner->second;
      }
    }
  }
  return value("endpoint_url");
}

const IniSection* AwsConfig::sso_session(std::string_view name) const noexcept {
  return find_section(config_, fmt::format("sso-session {}", name));
}

}  // namespace streamer::core::inline auth
