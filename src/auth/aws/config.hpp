// SPDX-License-Identifier: Apache-2.0
#pragma once
// The files that the AWS tools share: ~/.aws/config and ~/.aws/credentials.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/environment.hpp"
#include "base/ini.hpp"
#include "base/result.hpp"

namespace streamer::core::inline auth {

enum class AwsFile : std::uint8_t { config, credentials };

class AwsConfig {
 public:
  // Reads both files where the environment says they are; a missing one is empty. Fails on a file
  // that cannot be read or is no INI file. profile_in_code wins over AWS_DEFAULT_PROFILE and
  // AWS_PROFILE, of which the first wins.
  static Result<AwsConfig> read(const Environment& environment, const std::string& profile_in_code);
  // The same from texts.
  static Result<AwsConfig> parse(std::string_view config, std::string_view credentials,
                                 std::string profile);

  [[nodiscard]] const std::string& profile() const noexcept { return profile_; }
  [[nodiscard]] bool has_profile(std::string_view name) const noexcept;
  // A value of a profile, those of the credentials file first; nullopt if it is not set or empty.
  [[nodiscard]] std::optional<std::string> value(std::string_view profile,
                                                 std::string_view key) const;
  [[nodiscard]] std::optional<std::string> value(std::string_view key) const {
    return value(profile_, key);
  }
  // The same of one file only.
  [[nodiscard]] std::optional<std::string> value(AwsFile file, std::string_view profile,
                                                 std::string_view key) const;
  [[nodiscard]] const std::string& path(AwsFile file) const noexcept {
    return file == AwsFile::config ? config_path_ : credentials_path_;
  }
  // "s3 =" and below it "addressing_style = path" of the chosen profile.
  [[nodiscard]] std::optional<std::string> nested(std::string_view key,
                                                  std::string_view below) const;
  // endpoint_url of a service: of the profile's services section, then the profile's own.
  [[nodiscard]] std::optional<std::string> endpoint_url(std::string_view service) const;
  // [sso-session NAME]; nullptr if there is none.
  [[nodiscard]] const IniSection* sso_session(std::string_view name) const noexcept;

 private:
  [[nodiscard]] const IniSection* config_section(std::string_view profile) const noexcept;

  IniFile config_;
  IniFile credentials_;
  std::string config_path_;
  std::string credentials_path_;
  std::string profile_ = "default";
};

}  // namespace streamer::core::inline auth
