// SPDX-License-Identifier: Apache-2.0
// The login of "az login", through the tool itself.
#include <fmt/format.h>

#include <cstdio>
#include <ctime>

#include "auth/azure_context.hpp"
#include "auth/credential_program.hpp"
#include "base/text.hpp"

namespace streamer::core {

namespace {

constexpr std::chrono::seconds kDeadline{13};

// "2026-01-02 03:04:05.000000", in this machine's own time zone: older versions say no other.
std::optional<SystemTime> parse_local_time(const std::string& text) {
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

TokenAnswer token_from_azure_cli(const AzureContext& context, std::string& why_not) {
  Program program{.name = "Azure CLI",
                  .words = {"az", "account", "get-access-token", "--output", "json", "--scope",
                            "https://storage.azure.com/.default"},
                  .variables = {},
                  .deadline = kDeadline};
  if (const auto tenant = context.environment("AZURE_TENANT_ID")) {
    program.words.emplace_back("--tenant");
    program.words.push_back(*tenant);
  }
  const auto output = run_program(program);
  if (!output) {
    why_not = output.error().kind() == ErrorKind::not_found
                  ? "az is not there"
                  : fmt::format("{}; run: az login", output.error().message());
    return std::optional<BearerToken>();
  }
  const auto members = read_flat_json(output->reveal());
  if (!members || text_of(*members, "accessToken").empty()) {
    return Error(ErrorKind::permission_denied, "Azure CLI printed no accessToken");
  }
  BearerToken token{.token = Secret(text_of(*members, "accessToken")),
                    .expires = parse_local_time(text_of(*members, "expiresOn")),
                    .source = "Azure CLI"};
  if (const auto seconds = parse_unsigned(text_of(*members, "expires_on")))
    token.expires =
        SystemTime(std::chrono::seconds(std::min<std::uint64_t>(*seconds, 4'000'000'000)));
  TRY(check_header_value("the access token", token.token.reveal()));
  return std::optional(std::move(token));
}

}  // namespace streamer::core
