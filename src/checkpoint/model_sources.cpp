// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/model_sources.hpp"
#include "checkpoint/format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/bytes.hpp"
#include "base/log.hpp"
#include "base/on_threads.hpp"
#include "base/text.hpp"
#include "checkpoint/model_files.hpp"
#include "checkpoint/other_file.hpp"

namespace streamer::core::inline checkpoint {

namespace {

constexpr std::uint64_t kFirstIndexBytes = kMiB;
// Far larger than any real index; a longer file is not one.
constexpr std::uint64_t kLongestIndexBytes = 512 * kMiB;
// A message names no more than this, and each folder costs a request.
constexpr std::size_t kMostFoldersLookedInto = 16;
constexpr std::uint64_t kLongestReferenceBytes = 256;
constexpr std::size_t kLookThreads = 16;

// A folder's listing, complete and by name.
struct Listed {
  std::vector<Entry> entries;
  FolderContent content;

  [[nodiscard]] const Entry* find(const Uri& uri) const {
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
      return entry.uri.path() == uri.path();
    });
    return found == entries.end() ? nullptr : &*found;
  }
};

bool is_hidden(std::string_view name) {
  return name.starts_with(".");
}

std::string folder_name(const Entry& entry) {
  std::string_view path = entry.uri.path();
  while (path.ends_with("/"))
    path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<Listed> list_folder(Store& store, const Uri& folder) {
  Listed listed;
  listed.entries = TRY(store.list(folder, ListDepth::children));
  for (const Entry& entry : listed.entries) {
    std::string name =
        entry.is_folder ? folder_name(entry) : std::string(entry.uri.last_component());
    if (is_hidden(name)) continue;
    (entry.is_folder ? listed.content.folders : listed.content.files).push_back(std::move(name));
  }
  listed.content.broken = TRY(store.broken_entries(folder));
  std::erase_if(listed.content.broken,
                [](const BrokenEntry& entry) { return is_hidden(entry.name); });
  std::sort(listed.content.files.begin(), listed.content.files.end());
  return listed;
}

// A whole object that is no longer than `longest`.
Result<JsonText> read_text(Store& store, const Uri& uri, std::uint64_t longest) {
  const Opened opened = TRY(store.open(uri, std::min(longest, kFirstIndexBytes)));
  const std::uint64_t size = opened.object.size;
  if (size > longest) {
    return Error(ErrorKind::corrupt,
                 fmt::format("it has {} bytes, but may have at most {}", size, longest))
        .at(uri.text());
  }
  JsonText text(size);
  const std::uint64_t here = std::min<std::uint64_t>(size, opened.first.size());
  if (here != 0) std::memcpy(text.data(), opened.first.data(), here);
  if (here == size) return text;
  TRY(store.read(opened.object, {here, size - here},
                 std::as_writable_bytes(std::span<char>(text.data(), size)).subspan(here)));
  return text;
}

Result<ShardIndex> read_index(Store& store, const Uri& index) {
  const JsonText text = TRY(read_text(store, index, kLongestIndexBytes));
  auto parsed = parse_shard_index(text);
  if (parsed) return parsed;
  ErrorFields fields = parsed.error().fields();
  fields.message = "the shard index: " + fields.message;
  const std::string_view other =
      recognise_other_file(std::as_bytes(std::span<const char>(text.view())));
  if (!other.empty()) fields.message += fmt::format("; {}", other);
  return Error(std::move(fields)).at(index.text());
}

// Which of a folder's subfolders contain safetensors files, as far as was checked; failures are
// ignored.
std::vector<std::string> folders_with_models(Store& store, const Listed& listed) {
  std::vector<Uri> below;
  for (const Entry& entry : listed.entries) {
    if (entry.is_folder && !is_hidden(folder_name(entry)) && below.size() < kMostFoldersLookedInto)
      below.push_back(entry.uri);
  }
  const auto look = [&](std::size_t i) -> Result<std::string> {
    const auto found = store.list(below[i], ListDepth::children);
    if (!found) return std::string();
    const bool holds = std::any_of(found->begin(), found->end(), [](const Entry& entry) {
      return !entry.is_folder && has_format_suffix(entry.uri.last_component());
    });
    return holds ? below[i].text() : std::string();
  };
  auto looked = on_threads<std::string>("streamer-look", kLookThreads, below.size(), look);
  if (!looked) return {};
  std::erase(*looked, std::string());
  return *std::move(looked);
}

// The snapshot of a hub's cache that refs/main names.
Result<Uri> find_snapshot(Store& store, const Uri& cache) {
  const Listed snapshots = TRY(list_folder(store, child(child(cache, "snapshots"), "")));
  const auto lack = [&](std::string_view what) {
    return Error(
               ErrorKind::not_found,
               fmt::format("it is a hub's cache, but {}; name one of its snapshots: {}", what,
                           snapshots.content.folders.empty() ? std::string("(there are none)")
                                                             : names_of(snapshots.content.folders)))
        .at(child(cache, "snapshots").text());
  };
  const auto text = read_text(store, child(child(cache, "refs"), "main"), kLongestReferenceBytes);
  if (!text && text.error().kind() == ErrorKind::not_found) return lack("there is no refs/main");
  if (!text) return text.error().copy();
  const std::string commit(trim(text->view()));
  for (const Entry& entry : snapshots.entries) {
    if (entry.is_folder && folder_name(entry) == commit) return entry.uri;
  }
  return lack(fmt::format("the snapshot \"{}\" that refs/main names does not exist", commit));
}

class Finder {
 public:
  explicit Finder(Stores& stores) noexcept : stores_(stores) {}

  ModelSources found;
  // Of a folder without a model.
  std::string lack;

  Result<void> add(const std::string& text, bool sees_all) {
    const Uri uri = TRY(parse_uri(text));
    Store* const store = TRY(stores_.of(uri));
    if (TRY(store->is_folder(uri))) return add_folder(*store, uri, sees_all);
    found.folder = folder_of(uri);
    if (is_shard_index(uri.last_component())) {
      ShardIndex content = TRY(read_index(*store, uri));
      return add_shards(*store, uri, std::move(content), nullptr, sees_all);
    }
    return add_object(*store, uri, nullptr, sees_all);
  }

 private:
  Result<void> add_folder(Store& store, const Uri& given, bool sees_all) {
    Uri folder = given;
    Listed listed = TRY(list_folder(store, folder));
    ModelFiles chosen = TRY(choose(listed, folder));
    if (chosen.index.empty() && chosen.files.empty() && is_hub_cache(listed.content)) {
      folder = TRY(find_snapshot(store, given));
      note(given, fmt::format("it is a hub's cache, from which {} is used", folder.text()));
      listed = TRY(list_folder(store, folder));
      chosen = TRY(choose(listed, folder));
    }
    found.folder = folder;
    for (const std::string& text : chosen.notes)
      note(folder, text);
    if (chosen.index.empty() && chosen.files.empty()) {
      lack = explain_no_model(listed.content, folders_with_models(store, listed));
      return {};
    }
    if (chosen.index.empty()) {
      for (const std::string& name : chosen.files)
        TRY(add_object(store, child(folder, name), &listed, sees_all));
      return {};
    }
    const Uri index = child(folder, chosen.index);
    ShardIndex content = TRY(read_index(store, index));
    auto shards = files_of_index(listed.content, chosen.index, content).at(index.text());
    if (!shards) return std::move(shards).error();
    for (const std::string& text : shards->notes)
      note(folder, text);
    return add_shards(store, index, std::move(content), &listed, sees_all);
  }

  static Result<ModelFiles> choose(const Listed& listed, const Uri& folder) {
    return choose_model_files(listed.content).at(folder.text());
  }

  Result<void> add_shards(Store& store, const Uri& index, ShardIndex content, const Listed* listed,
                          bool sees_all) {
    const Uri folder = folder_of(index);
    // Before the shards, so that a failure to see one can be explained by it.
    found.claims.push_back({index, std::move(content)});
    for (const std::string& shard : found.claims.back().content.shards)
      TRY(add_object(store, child(folder, shard), listed, sees_all));
    return {};
  }

  // What no listing showed is opened if it has to be seen.
  Result<void> add_object(Store& store, const Uri& uri, const Listed* listed, bool sees_all) {
    const Entry* const seen = listed == nullptr ? nullptr : listed->find(uri);
    Entry entry = seen == nullptr ? Entry{uri, 0, false, {}} : *seen;
    if (seen == nullptr && sees_all) {
      const Opened opened = TRY(store.open(uri, 1));
      entry.size = opened.object.size;
      entry.etag = opened.object.etag;
    }
    found.objects.push_back(std::move(entry));
    return {};
  }

  void note(const Uri& where, std::string_view text) {
    found.notes.push_back(fmt::format("{}: {}", where.text(), text));
  }

  Stores& stores_;
};

void log_notes(const ModelSources& sources) {
  for (const std::string& note : sources.notes)
    log_line(LogLevel::warning, note);
}

}  // namespace

Error explain_missing(Error error, const ModelSources& sources) {
  if (error.kind() != ErrorKind::not_found) return error;
  for (const IndexClaims& claim : sources.claims) {
    const Uri folder = folder_of(claim.index);
    for (const std::string& shard : claim.content.shards) {
      if (child(folder, shard).text() != error.fields().uri) continue;
      ErrorFields fields = error.fields();
      fields.message = fmt::format("{} names this shard, but it does not exist: {}",
                                   claim.index.text(), error.message());
      return Error(std::move(fields));
    }
  }
  return error;
}

Result<ModelSources> find_model(Stores& stores, std::span<const std::string> uris) {
  Finder finder(stores);
  for (const std::string& uri : uris) {
    TRY(finder.add(uri, false));
    if (!finder.lack.empty()) {
      return Error(ErrorKind::not_found, std::move(finder.lack)).at(finder.found.folder.text());
    }
  }
  std::set<std::string_view> seen;
  for (const Entry& entry : finder.found.objects) {
    if (seen.insert(entry.uri.text()).second) continue;
    return Error(ErrorKind::invalid_argument, "the same file is named twice; name it once")
        .at(entry.uri.text());
  }
  log_notes(finder.found);
  return std::move(finder.found);
}

Result<ModelSources> list_model(Stores& stores, const std::string& uri) {
  Finder finder(stores);
  auto added = finder.add(uri, true);
  if (!added) return explain_missing(std::move(added).error(), finder.found);
  if (!finder.lack.empty()) {
    finder.found.notes.push_back(fmt::format("{}: {}", finder.found.folder.text(), finder.lack));
  }
  log_notes(finder.found);
  return std::move(finder.found);
}

}  // namespace streamer::core::inline checkpoint
