// SPDX-License-Identifier: Apache-2.0
// Developer tools that print a token for their logged-in user.
#include <fmt/format.h>

#include "auth/azure/context.hpp"
#include "auth/credential_program.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::chrono::seconds kDeadline{13};

}  // namespace

TokenAnswer token_from_tool(const AzureTool& tool, std::string& why_not) {
  const Program program{.name = std::string(tool.name),
                        .words = tool.words,
                        .variables = {"NO_COLOR=true"},
                        .deadline = kDeadline};
  const auto output = run_program(program);
  if (!output) {
    TRY(still_wanted("looking for credentials"));
    why_not = output.error().kind() == ErrorKind::not_found
                  ? fmt::format("{} was not found", tool.words[0])
                  : fmt::format("{}; run: {}", output.error().message(), tool.log_in);
    return std::optional<BearerToken>();
  }
  const auto members = read_flat_json(output->reveal());
  const std::string text = members ? text_of(*members, tool.token_member) : std::string();
  if (text.empty()) {
    why_not =
        fmt::format("{} printed no {}; run: {}", tool.words[0], tool.token_member, tool.log_in);
    return std::optional<BearerToken>();
  }
  BearerToken token{.token = Secret(text),
                    .expires = tool.read_time(text_of(*members, tool.time_member)),
                    .source = std::string(tool.name)};
  // az says it a second time, as a number, since its time of day has no zone.
  auto seconds = parse_unsigned(text_of(*members, "expires_on"));
  if (!seconds) seconds = parse_unsigned(text_of(*members, tool.time_member));
  if (seconds)
    token.expires =
        SystemTime(std::chrono::seconds(std::min<std::uint64_t>(*seconds, 4'000'000'000)));
  TRY(check_header_value("the access token", token.token.reveal()));
  return std::optional(std::move(token));
}

}  // namespace streamer::core::inline auth
