// SPDX-License-Identifier: Apache-2.0
#include "storage/hub/hub_answers.hpp"

#include <fmt/format.h>

#include <array>

#include "auth/auth_context.hpp"
#include "base/clean_text.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::size_t kMostHubText = 500;

constexpr CodeRow kRevision{"RevisionNotFound", ErrorKind::not_found,
                            "the repository has no such branch, tag or commit; check what follows "
                            "the @"};
constexpr CodeRow kEntry{"EntryNotFound", ErrorKind::not_found,
                         "the repository has no such file at this revision; check the path"};
constexpr CodeRow kDisabled{"DisabledRepo", ErrorKind::permission_denied,
                            "the hub has disabled the repository"};

constexpr std::array kWithToken = {
    kRevision, kEntry, kDisabled,
    CodeRow{"GatedRepo", ErrorKind::permission_denied,
            "the model is gated: ask for access on its page, with the account that the token "
            "belongs to; a fine-grained token must also allow reading gated repositories"},
    CodeRow{"RepoNotFound", ErrorKind::not_found,
            "there is no such repository, or it is private and the token may not read it; check "
            "the name"}};
constexpr std::array kWithoutToken = {
    kRevision, kEntry, kDisabled,
    CodeRow{"GatedRepo", ErrorKind::permission_denied,
            "the model is gated: ask for access on its page, and set HF_TOKEN to a token of the "
            "account that has it"},
    CodeRow{"RepoNotFound", ErrorKind::not_found,
            "there is no such repository, or it is private and needs a token (HF_TOKEN); check "
            "the name"}};

struct TreeEntry {
  std::string type, path, id;
  std::optional<std::uint64_t> bytes;
  bool is_in_lfs = false;
};

Result<void> read_member(std::string_view name, JsonValue& member, TreeEntry& entry) {
  if (name == "type") entry.type = TRY(member.string());
  if (name == "path") entry.path = TRY(member.string());
  // For a file in LFS, those of the pointer to it are of no interest.
  if (name == "oid" && !entry.is_in_lfs) entry.id = TRY(member.string());
  if (name == "size" && !entry.is_in_lfs && TRY(member.kind()) == JsonKind::number)
    entry.bytes = TRY(member.unsigned_integer());
  if (name != "lfs" || TRY(member.kind()) != JsonKind::object) return {};
  entry.is_in_lfs = true;
  return member.members([&](std::string_view inner, JsonValue& of_lfs) -> Result<void> {
    if (inner == "oid") entry.id = TRY(of_lfs.string());
    if (inner == "size") entry.bytes = TRY(of_lfs.unsigned_integer());
    return {};
  });
}

Error bad_tree(std::string_view why) {
  return Error(ErrorKind::corrupt, std::string(why));
}

// below: the folder, with a slash, or nothing.
Result<void> add_entry(JsonValue& value, const HubPlace& place, const Uri& folder,
                       const std::string& below, Page& page) {
  TreeEntry entry;
  const auto visit = [&](std::string_view name, JsonValue& member) {
    return read_member(name, member, entry);
  };
  TRY(value.members(visit));
  if (!entry.path.starts_with(below) || entry.path.size() == below.size())
    return bad_tree(fmt::format("\"{}\" is not below \"{}\"", entry.path, below));
  if (entry.type == "directory")
    page.entries.push_back({place.at(folder, entry.path + "/"), 0, true, {}});
  if (entry.type != "file") return {};
  if (!entry.bytes) return bad_tree(fmt::format("\"{}\" has no size", entry.path));
  page.entries.push_back({place.at(folder, entry.path), *entry.bytes, false,
                          entry.id.empty() ? "" : fmt::format("\"{}\"", entry.id)});
  return {};
}

}  // namespace

ServiceError hub_error(const HttpAnswer& answer) {
  ServiceError error;
  error.code = answer.head.header_or_empty("x-error-code");
  std::string message(answer.head.header_or_empty("x-error-message"));
  if (message.empty()) {
    if (const auto json = read_flat_json(answer.body)) message = text_of(*json, "error");
  }
  error.message = clean_text(message).substr(0, kMostHubText);
  error.request_id = answer.head.header_or_empty("x-request-id");
  return error;
}

std::span<const CodeRow> hub_codes(bool has_token) noexcept {
  if (has_token) return kWithToken;
  return kWithoutToken;
}

std::optional<Milliseconds> hub_rate_limit(const ResponseHead& head) noexcept {
  const std::string_view value = head.header_or_empty("ratelimit");
  const std::size_t at = value.find(";t=");
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = value.substr(at + 3);
  const auto seconds = parse_unsigned(trim(rest.substr(0, rest.find_first_of(";,"))));
  if (!seconds) return std::nullopt;
  return Milliseconds(std::min<std::uint64_t>(*seconds, 86'400) * 1000);
}

std::string next_link(const ResponseHead& head) {
  for (const HttpHeader& header : head.headers) {
    if (header.name != "link") continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const std::size_t open = rest.find('<');
      const std::size_t close = rest.find('>', std::min(open, rest.size()));
      if (close == std::string_view::npos) break;
      // Its parameters last to the next link.
      const std::size_t end = std::min(rest.find('<', close), rest.size());
      const std::string parameters = to_lower(rest.substr(close + 1, end - close - 1));
      if (parameters.find("rel=\"next\"") != std::string::npos ||
          parameters.find("rel=next") != std::string::npos)
        return std::string(rest.substr(open + 1, close - open - 1));
      rest.remove_prefix(end);
    }
  }
  return {};
}

Result<Page> read_hub_tree(const HubPlace& place, const Uri& folder, const HttpAnswer& answer) {
  Page page;
  const std::string below = place.bare_path().empty() ? "" : std::string(place.bare_path()) + "/";
  const auto add = [&](JsonValue& value) { return add_entry(value, place, folder, below, page); };
  const auto add_all = [&](JsonValue& top) -> Result<void> {
    if (TRY(top.kind()) != JsonKind::array) return bad_tree("it is not a list");
    return top.elements(add);
  };
  TRY(read_json(JsonText(answer.body), add_all));
  page.next = next_link(answer.head);
  return page;
}

}  // namespace streamer::core::inline storage
