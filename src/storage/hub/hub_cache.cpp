// SPDX-License-Identifier: Apache-2.0
#include "storage/hub/hub_cache.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "auth/credential_files.hpp"
#include "base/bytes.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::size_t kMostReferenceText = 256;
constexpr std::size_t kMostTreeBytes = 256 * kMiB;

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string_view without_quotes(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

Result<void> read_tree_member(std::string_view name, JsonValue& value, HubFile& file) {
  if (name == "size" || name == "lfs_size") file.size = TRY(value.unsigned_integer());
  const bool is_id = name == "lfs_sha256" || (name == "blob_id" && file.etag.empty());
  if (is_id) file.etag = fmt::format("\"{}\"", TRY(value.string()));
  return {};
}

}  // namespace

std::string HubCache::repository(const HubPlace& place) const {
  std::string name = place.kind + "--" + place.id;
  if (const std::size_t slash = name.find('/'); slash != std::string::npos)
    name.replace(slash, 1, "--");
  return fmt::format("{}/{}", folder_, name);
}

std::optional<std::string> HubCache::commit_of(const HubPlace& place) const {
  if (is_commit(place.revision)) return place.revision;
  if (folder_.empty()) return std::nullopt;
  const auto text = read_small_file(fmt::format("{}/refs/{}", repository(place), place.revision),
                                    kMostReferenceText);
  if (!text || !is_commit(trim(*text))) return std::nullopt;
  return std::string(trim(*text));
}

std::optional<Uri> HubCache::snapshot(const HubPlace& place, const std::string& commit) const {
  if (folder_.empty()) return std::nullopt;
  Uri folder("file", fmt::format("{}/snapshots/{}", repository(place), commit));
  struct stat status {};
  if (::stat(folder.path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return std::nullopt;
  return folder;
}

std::optional<Uri> HubCache::file(const HubPlace& place, const std::string& commit,
                                  std::string_view path) const {
  if (folder_.empty() || !stays_below(path)) return std::nullopt;
  Uri file("file", fmt::format("{}/snapshots/{}/{}", repository(place), commit, path));
  struct stat status {};
  // A link whose blob was removed does not lead to a file.
  if (::stat(file.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return file;
}

std::optional<std::vector<HubFile>> HubCache::tree(const HubPlace& place,
                                                   const std::string& commit) const {
  if (folder_.empty()) return std::nullopt;
  const auto text =
      read_small_file(fmt::format("{}/trees/{}.json", repository(place), commit), kMostTreeBytes);
  if (!text) return std::nullopt;
  std::vector<HubFile> files;
  bool is_known = false;
  const auto add = [&](std::string_view path, JsonValue& value) {
    files.push_back({std::string(path), 0, {}});
    return value.members([&](std::string_view name, JsonValue& member) {
      return read_tree_member(name, member, files.back());
    });
  };
  const auto visit = [&](std::string_view name, JsonValue& value) -> Result<void> {
    if (name == "format_version") is_known = TRY(value.unsigned_integer()) == 1;
    if (name == "files") return value.members(add);
    return {};
  };
  // A cache of another version, or one that is damaged, is as good as none.
  if (!read_json(JsonText(*text), [&](JsonValue& top) { return top.members(visit); }) || !is_known)
    return std::nullopt;
  std::sort(files.begin(), files.end(),
            [](const HubFile& a, const HubFile& b) { return a.path < b.path; });
  return files;
}

std::vector<Entry> entries_below(const std::vector<HubFile>& files, const HubPlace& place,
                                 const Uri& uri, ListDepth depth) {
  std::vector<Entry> entries;
  const std::string below = place.bare_path().empty() ? "" : std::string(place.bare_path()) + "/";
  for (const HubFile& file : files) {
    const bool is_itself = file.path == place.bare_path() && !place.path.ends_with("/");
    if (!is_itself && !file.path.starts_with(below)) continue;
    const std::size_t slash = is_itself ? std::string::npos : file.path.find('/', below.size());
    if (depth == ListDepth::all || slash == std::string::npos) {
      entries.push_back({place.at(uri, file.path), file.size, false, file.etag});
      continue;
    }
    const Uri folder = place.at(uri, file.path.substr(0, slash + 1));
    const bool is_new = std::none_of(entries.begin(), entries.end(), [&](const Entry& entry) {
      return entry.uri.path() == folder.path();
    });
    if (is_new) entries.push_back({folder, 0, true, {}});
  }
  return entries;
}

std::string hub_etag_of_file(const std::string& path) {
  std::error_code failure;
  if (!std::filesystem::is_symlink(path, failure)) return {};
  const std::filesystem::path blob = std::filesystem::canonical(path, failure);
  if (failure || blob.parent_path().filename() != "blobs") return {};
  const std::string name = blob.filename().string();
  const bool is_id = (name.size() == 40 || name.size() == 64) && is_lower_hex(name);
  return is_id ? fmt::format("\"{}\"", name) : std::string();
}

std::optional<ExpectedChecksum> sha256_of_hub_etag(std::string_view etag, std::string source) {
  const std::string_view digits = without_quotes(etag);
  if (digits.size() != 64 || !is_lower_hex(digits)) return std::nullopt;
  ExpectedChecksum expected{.kind = ChecksumKind::sha256, .bytes = {}, .source = std::move(source)};
  expected.bytes = *from_hex(digits);
  return expected;
}

}  // namespace streamer::core::inline storage
