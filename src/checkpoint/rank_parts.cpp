// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/rank_parts.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string_view>

#include "base/text.hpp"
#include "checkpoint/model_files.hpp"

namespace streamer::core::inline checkpoint {

namespace {

constexpr std::string_view kRank = "{rank}";
constexpr std::string_view kPart = "{part}";

// What stands before and behind the part's number, for one rank.
struct NameOfPart {
  std::string before;
  std::string behind;
};

Result<NameOfPart> name_of_part(const std::string& pattern, std::uint32_t rank) {
  std::string name = pattern;
  const std::size_t at = name.find(kRank);
  const bool has_both = at != std::string::npos && pattern.find(kPart) != std::string::npos;
  const bool has_more = has_both && (name.find(kRank, at + 1) != std::string::npos ||
                                     name.find(kPart, name.find(kPart) + 1) != std::string::npos);
  if (!has_both || has_more || name.find('/') != std::string::npos) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("\"{}\" is not a pattern of a sharded state: give a file name with "
                             "{{rank}} and {{part}}, each once",
                             pattern));
  }
  name.replace(at, kRank.size(), std::to_string(rank));
  const std::size_t part = name.find(kPart);
  return NameOfPart{name.substr(0, part), name.substr(part + kPart.size())};
}

std::optional<std::uint64_t> part_number(std::string_view name, const NameOfPart& wanted) {
  if (name.size() <= wanted.before.size() + wanted.behind.size() ||
      !name.starts_with(wanted.before) || !name.ends_with(wanted.behind)) {
    return std::nullopt;
  }
  name.remove_prefix(wanted.before.size());
  name.remove_suffix(wanted.behind.size());
  return parse_unsigned(name);
}

}  // namespace

Result<std::vector<std::string>> find_rank_parts(Stores& stores, const std::string& folder,
                                                 const std::string& pattern, std::uint32_t rank) {
  const NameOfPart wanted = TRY(name_of_part(pattern, rank));
  const Uri uri = TRY(parse_uri(folder.ends_with('/') ? folder : folder + "/"));
  Store* const store = TRY(stores.of(uri));
  std::map<std::uint64_t, std::string> parts;
  for (const Entry& entry : TRY(store->list(uri, ListDepth::children))) {
    if (entry.is_folder) continue;
    const auto number = part_number(entry.uri.last_component(), wanted);
    if (number) parts.emplace(*number, entry.uri.text());
  }
  for (const BrokenEntry& entry : TRY(store->broken_entries(uri))) {
    if (!part_number(entry.name, wanted)) continue;
    return Error(ErrorKind::not_found,
                 fmt::format("\"{}\" cannot be read: {}", entry.name, explain_broken(entry)))
        .at(uri.text());
  }
  if (parts.empty()) {
    return Error(ErrorKind::not_found, fmt::format("it holds no file {}{{part}}{} of rank {}",
                                                   wanted.before, wanted.behind, rank))
        .at(uri.text());
  }
  std::vector<std::string> found;
  for (auto& [number, part] : parts) {
    if (number != found.size()) {
      return Error(ErrorKind::corrupt,
                   fmt::format("MissingPart: rank {} has part {} here, but not part {}", rank,
                               number, found.size()))
          .at(uri.text());
    }
    found.push_back(std::move(part));
  }
  return found;
}

}  // namespace streamer::core::inline checkpoint
