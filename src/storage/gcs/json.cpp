// SPDX-License-Identifier: Apache-2.0
#include "storage/gcs/json.hpp"

#include <fmt/format.h>

#include <array>

#include "base/clean_text.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::size_t kMostJsonErrorText = 500;
constexpr std::string_view kApiPath = "/storage/v1";

constexpr std::array kReasons = {
    CodeRow{"notFound", ErrorKind::not_found,
            "check the names of the bucket and the object, and the endpoint"},
    CodeRow{"forbidden", ErrorKind::permission_denied,
            "the credentials may not read this; check storage.objects.get and "
            "storage.objects.list"},
    CodeRow{"required", ErrorKind::permission_denied,
            "the endpoint wants a token; check which credentials are in use with streamer doctor"},
    CodeRow{"authError", ErrorKind::permission_denied,
            "the token is not accepted; check which credentials are in use with streamer doctor"},
    CodeRow{"conditionNotMet", ErrorKind::object_changed,
            "the object was replaced after it was opened; load it again"},
    CodeRow{"rateLimitExceeded", ErrorKind::throttled, ""},
    CodeRow{"userRateLimitExceeded", ErrorKind::throttled, ""},
};

// Numbers of 64 bits are texts in Google's JSON; some emulators write them as numbers.
Result<std::string> read_number(JsonValue& value) {
  const JsonKind kind = TRY(value.kind());
  if (kind == JsonKind::number) return std::to_string(TRY(value.unsigned_integer()));
  if (kind == JsonKind::string) return std::string(TRY(value.string()));
  return std::string();
}

Result<GcsJsonObject> read_object(JsonValue& value) {
  GcsJsonObject object;
  bool has_size = false;
  const auto visit = [&](std::string_view name, JsonValue& member) -> Result<void> {
    if (name == "size") {
      has_size = true;
      object.size = parse_unsigned(TRY(read_number(member)));
    }
    if (name == "generation") object.generation = TRY(read_number(member));
    const bool is_text = name == "name" || name == "crc32c";
    if (!is_text || TRY(member.kind()) != JsonKind::string) return {};
    (name == "name" ? object.name : object.crc32c) = TRY(member.string());
    return {};
  };
  TRY(value.members(visit));
  // Google's testbench leaves out a size of 0.
  if (!has_size && !object.generation.empty()) object.size = 0;
  if (object.name.empty() || !object.size)
    return Error(ErrorKind::corrupt, "an object has no name or no size");
  return object;
}

Uri uri_of(const Uri& folder, std::string_view key) {
  return folder.with_path(fmt::format("{}/{}", folder.bucket(), key));
}

}  // namespace

std::string gcs_json_path(std::string_view base_path, std::string_view bucket,
                          std::string_view key) {
  // Some clients want the whole path in STORAGE_EMULATOR_HOST.
  if (base_path.ends_with(kApiPath)) base_path.remove_suffix(kApiPath.size());
  const std::string path = fmt::format("{}{}/b/{}/o", base_path, kApiPath, percent_encode(bucket));
  return key.empty() ? path : fmt::format("{}/{}", path, percent_encode(key));
}

Parameters gcs_json_list_parameters(const Uri& folder, ListDepth depth, std::uint64_t most,
                                    const std::string& token) {
  Parameters parameters = {{"prefix", std::string(folder.key())},
                           {"maxResults", std::to_string(most)},
                           {"projection", "noAcl"}};
  if (depth == ListDepth::children) parameters.emplace_back("delimiter", "/");
  if (!token.empty()) parameters.emplace_back("pageToken", token);
  return parameters;
}

Result<Page> read_gcs_json_page(const Uri& folder, std::string_view body) {
  Page page;
  bool is_list = false;
  const auto visit = [&](std::string_view name, JsonValue& value) -> Result<void> {
    const JsonKind kind = TRY(value.kind());
    if (kind == JsonKind::string && name == "kind")
      is_list = is_list || TRY(value.string()) == "storage#objects";
    if (kind == JsonKind::string && name == "nextPageToken") page.next = TRY(value.string());
    const bool is_items = name == "items";
    if (kind != JsonKind::array || (!is_items && name != "prefixes")) return {};
    is_list = true;
    return value.elements([&](JsonValue& one) -> Result<void> {
      if (!is_items) {
        page.entries.push_back({uri_of(folder, TRY(one.string())), 0, true, {}});
        return {};
      }
      const GcsJsonObject object = TRY(read_object(one));
      page.entries.push_back({uri_of(folder, object.name), *object.size, false,
                              etag_of_generation(object.generation)});
      return {};
    });
  };
  const auto visit_top = [&](JsonValue& top) { return top.members(visit); };
  TRY(read_json(JsonText(body), visit_top));
  if (!is_list) return Error(ErrorKind::corrupt, "it is not a list of objects");
  return page;
}

Result<GcsJsonObject> read_gcs_json_object(std::string_view body) {
  GcsJsonObject object;
  const auto visit = [&](JsonValue& top) -> Result<void> {
    object = TRY(read_object(top));
    return {};
  };
  TRY(read_json(JsonText(body), visit));
  return object;
}

std::string etag_of_generation(std::string_view generation) {
  return parse_unsigned(generation) ? fmt::format("\"{}\"", generation) : std::string();
}

std::string generation_of(std::string_view etag) {
  if (etag.size() < 2 || !etag.starts_with('"') || !etag.ends_with('"')) return {};
  const std::string_view inner = etag.substr(1, etag.size() - 2);
  return parse_unsigned(inner) ? std::string(inner) : std::string();
}

ServiceError gcs_json_error(const HttpAnswer& answer) {
  ServiceError error;
  error.request_id = answer.head.header_or_empty("x-guploader-uploadid");
  const auto visit_one = [&](std::string_view name, JsonValue& value) -> Result<void> {
    if (name == "reason" && error.code.empty() && TRY(value.kind()) == JsonKind::string)
      error.code = TRY(value.string());
    return {};
  };
  const auto visit_error = [&](std::string_view name, JsonValue& value) -> Result<void> {
    const JsonKind kind = TRY(value.kind());
    // Cleaned while it is complete: a truncated secret would not be recognised.
    if (name == "message" && kind == JsonKind::string)
      error.message = clean_text(TRY(value.string())).substr(0, kMostJsonErrorText);
    if (name != "errors" || kind != JsonKind::array) return {};
    return value.elements([&](JsonValue& one) { return one.members(visit_one); });
  };
  const auto visit = [&](std::string_view name, JsonValue& value) -> Result<void> {
    if (name != "error" || TRY(value.kind()) != JsonKind::object) return {};
    return value.members(visit_error);
  };
  const auto visit_top = [&](JsonValue& top) { return top.members(visit); };
  // What is not JSON says nothing.
  if (!read_json(JsonText(answer.body), visit_top)) {
    error.code.clear();
    error.message.clear();
  }
  return error;
}

std::span<const CodeRow> gcs_json_reasons() noexcept {
  return kReasons;
}

}  // namespace streamer::core::inline storage
