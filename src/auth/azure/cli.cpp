// SPDX-License-Identifier: Apache-2.0
// The login of "az login", through the tool itself.
#include <cstdio>
#include <ctime>
#include <string>

#include "auth/azure/context.hpp"

namespace streamer::core::inline auth {

namespace {

// "2026-01-02 03:04:05.000000", in this machine's time zone: older versions give no other time.
std::optional<SystemTime> parse_local_time(std::string_view given) {
  const std::string text(given);
  std::tm time{};
  if (std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%d", &time.tm_year, &time.tm_mon, &time.tm_mday,
                  &time.tm_hour, &time.tm_min, &time.tm_sec) != 6)
    return std::nullopt;
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  time.tm_isdst = -1;
  const std::time_t seconds = std::mktime(&time);
  if (seconds == -1) return std::nullopt;
  return std::chrono::system_clock::from_time_t(seconds);
}

}  // namespace

TokenAnswer token_from_azure_cli(const AzureContext&, std::string& why_not) {
  return token_from_tool({.name = "Azure CLI",
                          .words = {"az", "account", "get-access-token", "--output", "json",
                                    "--scope", "https://storage.azure.com/.default"},
                          .token_member = "accessToken",
                          .time_member = "expiresOn",
                          .read_time = parse_local_time,
                          .log_in = "az login"},
                         why_not);
}

}  // namespace streamer::core::inline auth
