// SPDX-License-Identifier: Apache-2.0
// The metadata server of Google's machines, which has a token of their service account.
#include <fmt/format.h>

#include "auth/gcp/context.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::string_view kTokenPath =
    "/computeMetadata/v1/instance/service-accounts/default/token";
constexpr std::string_view kUniversePath = "/computeMetadata/v1/universe/universe-domain";
constexpr std::uint32_t kMetadataAttempts = 4;

}  // namespace

TokenAnswer token_from_google_metadata(const GcpContext& context, std::string& why_not) {
  if (to_lower(context.environment("NO_GCE_CHECK").value_or("")) == "true") {
    why_not = "NO_GCE_CHECK is true";
    return std::optional<BearerToken>();
  }
  auto host = context.environment("GCE_METADATA_HOST");
  if (!host) host = context.environment("GCE_METADATA_ROOT");
  if (!host) host = context.environment("GCE_METADATA_IP");
  const Endpoint endpoint =
      TRY(parse_endpoint("http://" + host.value_or("metadata.google.internal")));
  HttpRequest request;
  request.origin = endpoint.origin;
  request.path = kTokenPath;
  request.query = canonical_query({{"scopes", std::string(kGoogleReadScope)}});
  request.headers = {{"Metadata-Flavor", "Google"}};
  request.route = context.route_past_proxies();
  TransferOptions options;
  const auto seconds =
      parse_unsigned(context.environment("GCE_METADATA_TIMEOUT").value_or("")).value_or(3);
  options.connect_timeout = options.total_timeout =
      std::chrono::seconds(std::clamp<std::uint64_t>(seconds, 1, 60));
  // One attempt to find out whether it exists at all; a server that answered may be asked again.
  auto answer = ask(context, request, options, 1);
  if (!answer) {
    why_not = fmt::format("no answer from {}", endpoint.host_and_port());
    return std::optional<BearerToken>();
  }
  if (answer->head.header_or_empty("metadata-flavor") != "Google") {
    why_not = fmt::format("{} is not Google's metadata server", endpoint.host_and_port());
    return std::optional<BearerToken>();
  }
  if (again_after_status(answer->head.status) != Again::never)
    answer = TRY(ask(context, request, options, kMetadataAttempts));
  if (answer->head.status == 404) {
    why_not = "the machine has no service account";
    return std::optional<BearerToken>();
  }
  BearerToken token =
      TRY(read_token_answer(context, request, *answer, "the machine's service account"));
  request.path = kUniversePath;
  request.query.clear();
  answer = TRY(ask(context, request, options, kMetadataAttempts));
  token.universe = kGooglesUniverse;
  // Servers of a single universe do not support this request.
  const std::string universe(trim(answer->body));
  if (answer->head.status == 200 && !universe.empty()) token.universe = universe;
  return std::optional(std::move(token));
}

}  // namespace streamer::core::inline auth
