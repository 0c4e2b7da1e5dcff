// SPDX-License-Identifier: Apache-2.0
#include "auth/azure/shared_key.hpp"

#include <fmt/format.h>

#include <map>
#include <set>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

// Names in lower case, values trimmed.
using Headers = std::map<std::string, std::string, std::less<>>;

// "name:value" for each parameter, decoded; several values of one name in order, with commas.
std::string canonical_parameters(std::string_view query) {
  std::map<std::string, std::set<std::string>> parameters;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t mark = std::min(one.find('='), one.size());
    const std::string_view value = one.substr(std::min(mark + 1, one.size()));
    parameters[to_lower(percent_decode(one.substr(0, mark)).value_or(std::string()))].insert(
        percent_decode(value).value_or(std::string(value)));
  }
  std::string lines;
  for (const auto& [name, values] : parameters) {
    lines += fmt::format("\n{}:", name);
    for (auto value = values.begin(); value != values.end(); ++value)
      lines += (value == values.begin() ? "" : ",") + *value;
  }
  return lines;
}

}  // namespace

Result<AzureKey> read_azure_key(std::string account, std::string_view base64) {
  auto bytes = base64_decode(trim(base64));
  if (!bytes || bytes->empty()) {
    return Error(ErrorKind::invalid_argument,
                 "the account key is not base64; copy it as the portal shows it");
  }
  return AzureKey{std::move(account), Secret(*std::move(bytes))};
}

std::string string_to_sign(const HttpRequest& request, std::string_view account) {
  Headers headers;
  for (const HttpHeader& header : request.headers)
    headers.insert_or_assign(to_lower(header.name), std::string(trim(header.value)));
  const auto value = [&](std::string_view name) -> std::string_view {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string_view() : found->second;
  };
  std::string text = request.method;
  text += fmt::format("\n{}\n{}\n{}", value("content-encoding"), value("content-language"),
                      request.body.empty() ? "" : std::to_string(request.body.size()));
  for (const char* const name : {"content-md5", "content-type", "date", "if-modified-since",
                                 "if-match", "if-none-match", "if-unmodified-since", "range"})
    text += fmt::format("\n{}", value(name));
  text += "\n";
  for (const auto& [name, content] : headers) {
    if (name.starts_with("x-ms-")) text += fmt::format("{}:{}\n", name, content);
  }
  return text + fmt::format("/{}{}{}", account, request.path, canonical_parameters(request.query));
}

void sign_shared_key(HttpRequest& request, const AzureKey& key, SystemTime now) {
  request.headers.push_back({"x-ms-date", format_http_date(now)});
  const Sha256Digest signature =
      hmac_sha256(key.key.reveal(), string_to_sign(request, key.account));
  request.headers.push_back({"Authorization", fmt::format("SharedKey {}:{}", key.account,
                                                          base64_encode(as_text(signature)))});
}

}  // namespace streamer::core::inline auth
