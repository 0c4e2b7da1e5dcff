// SPDX-License-Identifier: Apache-2.0
// libFuzzer target for all text that comes from outside but headers of checkpoints: URIs, INI
// files, XML, endpoints, heads of answers, times, credentials. The input's first byte says which.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "auth/aws/context.hpp"
#include "base/ini.hpp"
#include "base/text.hpp"
#include "base/timestamp.hpp"
#include "base/xml.hpp"
#include "download/pull.hpp"
#include "engine/manifest.hpp"
#include "http/range_check.hpp"
#include "http/retry.hpp"
#include "storage/uri.hpp"

using namespace streamer::core;

namespace {

void claim(bool holds) {
  if (!holds) std::abort();
}

ResponseHead head_of(std::string_view text) {
  ResponseHead head;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = std::min(line.find(':'), line.size());
    if (head.status == 0) {
      head.status = static_cast<int>(parse_unsigned(line).value_or(206) % 1000);
    } else {
      head.headers.push_back({to_lower(line.substr(0, colon)),
                              std::string(line.substr(std::min(colon + 1, line.size())))});
    }
  }
  return head;
}

void check_head(std::string_view text) {
  const ResponseHead head = head_of(text);
  const ByteRange wanted{1000, 500};
  const PinnedVersion pinned{1200, "\"e\"", ""};
  const auto checked = check_range(head, wanted, pinned);
  if (const auto* const accepted = std::get_if<AcceptedRange>(&checked)) {
    // Whatever the head says: no byte beyond the object, of no other version.
    claim(accepted->bytes == 200 && head.status == 206);
    claim(accepted->version.etag == pinned.etag && accepted->version.size == pinned.size);
  }
  const auto wait = retry_after(head, SystemTime(std::chrono::seconds(1'700'000'000)));
  claim(!wait || wait->count() >= 0);
}

void check_uri(std::string_view text) {
  const auto uri = parse_uri(text);
  if (!uri) return;
  // What is shown is the same URI; a file's path is only so if it looks like no other URI.
  if (uri->scheme() == "file") return;
  const auto again = parse_uri(uri->text());
  claim(again && again->text() == uri->text() && !again->bucket().empty());
}

void check_endpoint(std::string_view text) {
  const auto endpoint = parse_endpoint(text);
  if (!endpoint) return;
  claim(!endpoint->host().empty() && parse_unsigned(endpoint->port()).has_value());
  const auto again = parse_endpoint(endpoint->origin + endpoint->base_path);
  claim(again && again->origin == endpoint->origin);
  const auto url = parse_url(text);
  claim(!url || (url->origin == endpoint->origin && url->path.starts_with("/")));
}

void check_path(std::string_view text) {
  if (!is_safe_path(text)) return;
  claim(!text.empty() && !text.starts_with("/"));
  claim(text != ".." && !text.starts_with("../") && text.find("/../") == std::string_view::npos &&
        !text.ends_with("/.."));
}

void check_times(std::string_view text) {
  const auto iso = parse_iso(text);
  if (iso && iso->time_since_epoch().count() >= 0) claim(parse_iso(format_iso(*iso)).has_value());
  if (const auto http = parse_http_date(text))
    claim(parse_http_date(format_http_date(*http)) == http);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      check_uri(text);
      break;
    case 1:
      static_cast<void>(AwsConfig::parse(text, text, "p").has_value());
      static_cast<void>(Manifest::parse(text).has_value());
      break;
    case 2:
      static_cast<void>(read_xml(text).has_value());
      break;
    case 3:
      check_endpoint(text);
      break;
    case 4:
      check_head(text);
      break;
    case 5:
      check_times(text);
      break;
    case 6:
      check_path(text);
      break;
    default: {
      const auto read = read_json_credentials(
          text, {.object = "o", .id = "i", .secret = "s", .token = "t", .expiration = "e"}, "test");
      claim(!read || !read->access_key_id.empty());
    }
  }
  return 0;
}
