// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/model_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/text.hpp"
#include "checkpoint/format.hpp"

namespace streamer::core::inline checkpoint {

namespace {

constexpr std::size_t kMostNames = 5;

// The suffixes of unfinished downloads, by the programs that make them.
constexpr std::array<std::string_view, 7> kUnfinished = {
    ".incomplete", ".part", ".partial", ".crdownload", ".download", ".tmp", ".aria2"};
// Weights of other formats.
constexpr std::array<std::string_view, 9> kOtherFormats = {
    ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".onnx", ".npz", ".msgpack"};

bool ends_ignoring_case(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         equal_ignoring_case(text.substr(text.size() - end.size()), end);
}

bool starts_ignoring_case(std::string_view text, std::string_view start) {
  return equal_ignoring_case(text.substr(0, start.size()), start);
}

// "fp16", "bf16", "int8_dynamic", "ema": a part after a dot in a name that tells which form of the
// same weights it is.
bool is_variant(std::string_view word) {
  if (equal_ignoring_case(word, "ema") || equal_ignoring_case(word, "non_ema")) return true;
  for (const std::string_view kind : {"fp", "bf", "int", "nf"}) {
    if (!starts_ignoring_case(word, kind)) continue;
    const std::string_view rest = word.substr(kind.size());
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return true;
  }
  return false;
}

// Cuts ".fp16" off the end.
std::string take_variant(std::string_view& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || !is_variant(name.substr(dot + 1))) return {};
  const std::string variant = to_lower(name.substr(dot + 1));
  name = name.substr(0, dot);
  return variant;
}

// The name of a file of tensors, taken apart: STEM[.VARIANT][-PART-of-PARTS][.VARIANT].SUFFIX.
struct FileName {
  std::string name;
  std::string stem;
  std::string variant;
  std::uint64_t part = 0;
  std::uint64_t parts = 0;  // 0: it is no part of a set
};

// Cuts "-00001-of-00002" off the end.
void take_part(std::string_view& body, FileName& file) {
  const auto digits_begin = [&](std::size_t end) {
    while (end > 0 && body[end - 1] >= '0' && body[end - 1] <= '9')
      --end;
    return end;
  };
  const std::size_t parts_at = digits_begin(body.size());
  if (parts_at < 4 || !equal_ignoring_case(body.substr(parts_at - 3, 2), "of")) return;
  const auto is_joint = [](char c) { return c == '-' || c == '_'; };
  if (!is_joint(body[parts_at - 1]) || !is_joint(body[parts_at - 4])) return;
  const std::size_t part_end = parts_at - 4;
  const std::size_t part_at = digits_begin(part_end);
  if (part_at != 0 && !is_joint(body[part_at - 1]) && body[part_at - 1] != '.') return;
  const auto part = parse_unsigned(body.substr(part_at, part_end - part_at));
  const auto parts = parse_unsigned(body.substr(parts_at));
  if (!part || !parts || *parts == 0) return;
  file.part = *part;
  file.parts = *parts;
  body = body.substr(0, part_at == 0 ? 0 : part_at - 1);
}

FileName take_apart(const std::string& name) {
  FileName file;
  file.name = name;
  std::string_view body(name);
  body.remove_suffix(format_suffix(name).size());
  take_part(body, file);
  file.variant = take_variant(body);
  // Of old versions of diffusers: "x-00001-of-00002.fp16".
  if (file.parts == 0) take_part(body, file);
  file.stem = body;
  return file;
}

// An index's name: STEM[.VARIANT].safetensors[.VARIANT].index[.VARIANT].json.
struct IndexName {
  std::string name;
  std::string stem;
  std::string variant;
};

std::optional<IndexName> take_index_apart(std::string_view name) {
  constexpr std::string_view kJson = ".json";
  if (!ends_ignoring_case(name, kJson)) return std::nullopt;
  const std::string lower = to_lower(name.substr(0, name.size() - kJson.size()));
  constexpr std::string_view kOf = ".safetensors";
  const std::size_t at = lower.rfind(std::string(kOf) + ".");
  if (at == std::string::npos || at == 0) return std::nullopt;
  std::string_view rest(lower);
  rest.remove_prefix(at + kOf.size());
  IndexName index;
  index.name = name;
  // ".index", ".index.fp16" or ".fp16.index"
  constexpr std::string_view kIndex = ".index";
  if (rest.starts_with(kIndex) && (rest.size() == kIndex.size() || rest[kIndex.size()] == '.')) {
    index.variant = rest.substr(std::min(rest.size(), kIndex.size() + 1));
  } else if (rest.ends_with(kIndex)) {
    index.variant = rest.substr(1, rest.size() - kIndex.size() - 1);
  } else {
    return std::nullopt;
  }
  std::string_view stem = name.substr(0, at);
  const std::string before = take_variant(stem);
  if (index.variant.empty()) index.variant = before;
  index.stem = stem;
  return index;
}

bool is_model(std::string_view stem) {
  return starts_ignoring_case(stem, "model");
}

bool is_consolidated(std::string_view stem) {
  return starts_ignoring_case(stem, "consolidated");
}

// Files that belong beside a model and are not part of it.
bool is_beside_a_model(std::string_view stem) {
  return starts_ignoring_case(stem, "adapter_model") || starts_ignoring_case(stem, "optimizer") ||
         starts_ignoring_case(stem, "training_");
}

std::string quoted(std::string_view name) {
  return fmt::format("\"{}\"", name);
}

std::vector<std::string> names(const std::vector<FileName>& files) {
  std::vector<std::string> all;
  for (const FileName& file : files)
    all.push_back(file.name);
  return all;
}

Error choice(std::string what) {
  return Error(ErrorKind::invalid_argument, std::move(what));
}

// Moves the files for which is_left(file) holds out of `files`.
template <typename Predicate>
std::vector<FileName> leave_out(std::vector<FileName>& files, Predicate is_left) {
  const auto left = std::stable_partition(files.begin(), files.end(),
                                          [&](const FileName& f) { return !is_left(f); });
  std::vector<FileName> out(std::make_move_iterator(left), std::make_move_iterator(files.end()));
  files.erase(left, files.end());
  return out;
}

void note_left_out(ModelFiles& chosen, const std::vector<FileName>& out, std::string_view why) {
  if (out.empty()) return;
  chosen.notes.push_back(
      fmt::format("left out {}: {}; name the files to load them", names_of(names(out)), why));
}

// Leaves out other layouts of the model, and files that are not part of it.
void leave_out_other_layouts(std::vector<FileName>& files, ModelFiles& chosen) {
  const auto has = [&](auto is_one) {
    return std::any_of(files.begin(), files.end(),
                       [&](const FileName& file) { return is_one(file.stem); });
  };
  if (has([](std::string_view stem) { return !is_beside_a_model(stem); })) {
    note_left_out(chosen,
                  leave_out(files, [](const FileName& f) { return is_beside_a_model(f.stem); }),
                  "by their names they belong beside the model and are not part of it");
  }
  if (has(is_model)) {
    note_left_out(chosen,
                  leave_out(files, [](const FileName& f) { return is_consolidated(f.stem); }),
                  "consolidated* is another layout of the model, and model* is used");
  }
}

// Leaves out variants of weights that also exist in another form.
Result<void> leave_out_variants(std::vector<FileName>& files, ModelFiles& chosen) {
  std::map<std::string, std::set<std::string>> variants;  // of a stem
  for (const FileName& file : files)
    variants[file.stem].insert(file.variant);
  for (const auto& [stem, found] : variants) {
    if (found.size() == 1) continue;
    if (!found.contains("")) {
      return choice(fmt::format(
          "it holds {} variants of one model ({}) and no index; name the files of the one to load",
          found.size(), fmt::join(found, ", ")));
    }
    note_left_out(
        chosen,
        leave_out(files,
                  [&, at = stem](const FileName& f) { return f.stem == at && !f.variant.empty(); }),
        "they are variants of files that also exist without one");
  }
  return {};
}

const BrokenEntry* find_broken(const FolderContent& folder, std::string_view name) {
  const auto found = std::find_if(folder.broken.begin(), folder.broken.end(),
                                  [&](const BrokenEntry& entry) { return entry.name == name; });
  return found == folder.broken.end() ? nullptr : &*found;
}

Error broken_file(const BrokenEntry& entry) {
  return Error(ErrorKind::not_found,
               fmt::format("{} cannot be read: {}", quoted(entry.name), explain_broken(entry)));
}

bool has_file(const FolderContent& folder, std::string_view name) {
  return std::find(folder.files.begin(), folder.files.end(), name) != folder.files.end();
}

// The file name of an unfinished download of name; otherwise empty.
std::string unfinished_download(const FolderContent& folder, std::string_view name) {
  for (const std::string_view end : kUnfinished) {
    std::string partial = std::string(name) + std::string(end);
    if (has_file(folder, partial)) return partial;
  }
  return {};
}

// Parts of one set: of one stem, variant and number of parts.
Result<void> check_set(const FolderContent& folder, std::vector<const FileName*> set) {
  std::sort(set.begin(), set.end(),
            [](const FileName* a, const FileName* b) { return a->part < b->part; });
  const FileName& first = *set.front();
  const std::uint64_t parts = first.parts;
  for (std::size_t i = 1; i < set.size(); ++i) {
    if (set[i]->part != set[i - 1]->part) continue;
    return choice(fmt::format("part {} of {} exists twice, as {} and {}; name the files to load",
                              set[i]->part, parts, quoted(set[i - 1]->name), quoted(set[i]->name)));
  }
  // Parts are counted from 1; some programs count from 0.
  const bool from_zero = first.part == 0;
  const std::uint64_t begin = from_zero ? 0 : 1;
  const std::uint64_t end = from_zero && set.back()->part != parts ? parts : parts + 1;
  if (set.back()->part >= end) {
    return Error(ErrorKind::corrupt,
                 fmt::format("MissingPart: {} says that it is part {} of {}",
                             quoted(set.back()->name), set.back()->part, parts));
  }
  if (set.size() == end - begin) return {};
  std::vector<std::string> missing;
  std::uint64_t next = begin;
  for (const FileName* file : set) {
    for (; next < file->part && missing.size() < kMostNames; ++next)
      missing.push_back(std::to_string(next));
    next = file->part + 1;
  }
  for (; next < end && missing.size() < kMostNames; ++next)
    missing.push_back(std::to_string(next));
  const std::uint64_t count = end - begin - set.size();
  std::string text =
      fmt::format("MissingPart: of the {} parts that {} belongs to, {} {} missing: {}{}", parts,
                  quoted(first.name), count, count == 1 ? "is" : "are", fmt::join(missing, ", "),
                  count > missing.size() ? ", ..." : "");
  for (const std::string& name : folder.files) {
    for (const std::string_view end_of_name : kUnfinished) {
      if (!ends_ignoring_case(name, end_of_name) || !starts_ignoring_case(name, first.stem))
        continue;
      return Error(ErrorKind::corrupt,
                   text + fmt::format("; {} is an unfinished download", quoted(name)));
    }
  }
  return Error(ErrorKind::corrupt,
               text + "; fetch what is missing, or name the files to load only these");
}

Result<void> check_sets(const FolderContent& folder, const std::vector<FileName>& files) {
  std::map<std::tuple<std::string, std::string>,
           std::map<std::uint64_t, std::vector<const FileName*>>>
      models;
  for (const FileName& file : files)
    models[{file.stem, file.variant}][file.parts].push_back(&file);
  for (const auto& [model, layouts] : models) {
    if (layouts.size() > 1) {
      const FileName& one = *layouts.begin()->second.front();
      const FileName& other = *layouts.rbegin()->second.front();
      return choice(
          fmt::format("it seems to hold the same model twice, as {} and as {}, and no index says "
                      "which to use; name the files",
                      quoted(one.name), quoted(other.name)));
    }
    const auto& [parts, set] = *layouts.begin();
    if (parts != 0) TRY(check_set(folder, set));
  }
  return {};
}

// Finds names that are not, or not yet, complete files.
Result<void> check_files(const FolderContent& folder, const std::vector<FileName>& files) {
  for (const FileName& file : files) {
    if (const BrokenEntry* const broken = find_broken(folder, file.name))
      return broken_file(*broken);
    // Beside a file of this kind the file itself has its full length already.
    const std::string partial = file.name + ".aria2";
    if (!has_file(folder, partial)) continue;
    return Error(ErrorKind::corrupt,
                 fmt::format("the download of {} has not finished: {} is still there",
                             quoted(file.name), quoted(partial)));
  }
  for (const std::string& name : folder.files) {
    for (const std::string_view end : kUnfinished) {
      if (!ends_ignoring_case(name, end)) continue;
      const std::string whole = name.substr(0, name.size() - end.size());
      if (!has_format_suffix(whole) || has_file(folder, whole)) continue;
      return Error(ErrorKind::corrupt, fmt::format("the download of {} has not finished: there is "
                                                   "only {}; finish it, or remove that file",
                                                   quoted(whole), quoted(name)));
    }
  }
  return {};
}

// The index to use; nullopt: there is none, or only those of other layouts.
Result<std::optional<IndexName>> choose_index(std::vector<IndexName> indexes,
                                              const std::vector<FileName>& files,
                                              ModelFiles& chosen) {
  const auto has = [&](auto is_one) {
    return std::any_of(files.begin(), files.end(),
                       [&](const FileName& file) { return is_one(file.stem); }) ||
           std::any_of(indexes.begin(), indexes.end(),
                       [&](const IndexName& index) { return is_one(index.stem); });
  };
  const bool has_model = has(is_model);
  const bool has_other = has([](std::string_view stem) { return !is_beside_a_model(stem); });
  std::erase_if(indexes, [&](const IndexName& index) {
    return (has_model && is_consolidated(index.stem)) ||
           (has_other && is_beside_a_model(index.stem));
  });
  if (indexes.empty()) return std::optional<IndexName>();
  const auto take = [&](const IndexName& taken) {
    std::vector<std::string> others;
    for (const IndexName& index : indexes) {
      if (index.name != taken.name) others.push_back(index.name);
    }
    if (!others.empty()) {
      chosen.notes.push_back(
          fmt::format("{} is used, not {}; name an index to load what it describes",
                      quoted(taken.name), names_of(others)));
    }
    return std::optional<IndexName>(taken);
  };
  if (indexes.size() == 1) return take(indexes.front());
  for (const IndexName& index : indexes) {
    if (equal_ignoring_case(index.name, kShardIndexName)) return take(index);
  }
  const auto is_plain = [](const IndexName& index) { return index.variant.empty(); };
  if (std::count_if(indexes.begin(), indexes.end(), is_plain) == 1)
    return take(*std::find_if(indexes.begin(), indexes.end(), is_plain));
  std::vector<std::string> all;
  for (const IndexName& index : indexes)
    all.push_back(index.name);
  return choice(
      fmt::format("it holds several indexes, {}; name the one to load, as the URI", names_of(all)));
}

}  // namespace

bool is_shard_index(std::string_view name) {
  return take_index_apart(name).has_value();
}

bool is_hub_cache(const FolderContent& folder) {
  const auto has = [&](std::string_view name) {
    return std::find(folder.folders.begin(), folder.folders.end(), name) != folder.folders.end();
  };
  return has("snapshots") && (has("refs") || has("blobs"));
}

std::string names_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i == kMostNames) return text + fmt::format(" and {} more", names.size() - i);
    text += (i == 0 ? "" : ", ") + quoted(names[i]);
  }
  return text;
}

std::string explain_broken(const BrokenEntry& entry) {
  if (entry.target.empty()) return std::strerror(entry.os_error);
  if (entry.os_error == ENOENT || entry.os_error == ENOTDIR)
    return fmt::format("it is a link to {}, which does not exist", entry.target);
  return fmt::format("it is a link to {}: {}", entry.target, std::strerror(entry.os_error));
}

Result<ModelFiles> choose_model_files(const FolderContent& folder) {
  ModelFiles chosen;
  std::vector<FileName> files;
  std::vector<IndexName> indexes;
  const auto see = [&](const std::string& name) {
    if (has_format_suffix(name)) files.push_back(take_apart(name));
    if (auto index = take_index_apart(name)) indexes.push_back(*std::move(index));
  };
  for (const std::string& name : folder.files)
    see(name);
  for (const BrokenEntry& entry : folder.broken)
    see(entry.name);
  if (const auto index = TRY(choose_index(std::move(indexes), files, chosen))) {
    if (const BrokenEntry* const broken = find_broken(folder, index->name))
      return broken_file(*broken);
    chosen.index = index->name;
    return chosen;
  }
  leave_out_other_layouts(files, chosen);
  TRY(leave_out_variants(files, chosen));
  TRY(check_files(folder, files));
  TRY(check_sets(folder, files));
  chosen.files = names(files);
  std::sort(chosen.files.begin(), chosen.files.end());
  return chosen;
}

Result<ModelFiles> files_of_index(const FolderContent& folder, const std::string& index,
                                  const ShardIndex& content) {
  ModelFiles chosen;
  if (content.shards.empty()) {
    return Error(ErrorKind::corrupt,
                 fmt::format("{} names no shard: its weight_map is empty", quoted(index)));
  }
  std::vector<std::string> missing;
  for (const std::string& shard : content.shards) {
    if (const BrokenEntry* const broken = find_broken(folder, shard)) {
      return Error(ErrorKind::not_found, fmt::format("{} names {}, but {}", quoted(index),
                                                     quoted(shard), explain_broken(*broken)));
    }
    if (shard.find('/') == std::string::npos && !has_file(folder, shard)) missing.push_back(shard);
  }
  if (!missing.empty()) {
    const std::string partial = unfinished_download(folder, missing.front());
    return Error(ErrorKind::not_found,
                 fmt::format("{} names {} shards, but {} of them {} missing: {}{}", quoted(index),
                             content.shards.size(), missing.size(),
                             missing.size() == 1 ? "is" : "are", names_of(missing),
                             partial.empty()
                                 ? "; fetch what is missing"
                                 : fmt::format("; {} is an unfinished download", quoted(partial))));
  }
  const auto name = take_index_apart(index);
  std::vector<FileName> others;
  for (const std::string& file : folder.files) {
    if (!has_format_suffix(file) ||
        std::binary_search(content.shards.begin(), content.shards.end(), file)) {
      continue;
    }
    FileName other = take_apart(file);
    // A whole model that the index does not describe: the index may be that of another one.
    const bool is_rival =
        other.parts == 0 && other.variant.empty() && name &&
        (equal_ignoring_case(other.stem, name->stem) ? !name->variant.empty()
                                                     : equal_ignoring_case(other.stem, "model"));
    if (is_rival) {
      return choice(fmt::format(
          "it holds {}, and {}, which does not name that file; name the one to load, as the URI",
          quoted(file), quoted(index)));
    }
    others.push_back(std::move(other));
  }
  note_left_out(chosen, others, fmt::format("{} does not name them", quoted(index)));
  chosen.files = content.shards;
  return chosen;
}

std::string explain_no_model(const FolderContent& folder, const std::vector<std::string>& holders) {
  std::string text = "it holds no *.safetensors file";
  std::vector<std::string> others;
  for (const std::string& name : folder.files) {
    const bool is_other =
        std::any_of(kOtherFormats.begin(), kOtherFormats.end(),
                    [&](std::string_view end) { return ends_ignoring_case(name, end); });
    if (is_other) others.push_back(name);
  }
  const bool has_caches =
      std::any_of(folder.folders.begin(), folder.folders.end(),
                  [](const std::string& name) { return name.starts_with("models--"); });
  if (has_caches) {
    text += fmt::format("; it is a hub's cache of several models, {}; name one of them",
                        names_of(folder.folders));
  } else if (!holders.empty()) {
    text += fmt::format("; these folders in it do: {}; name one of them", names_of(holders));
  } else if (!others.empty()) {
    text += fmt::format("; there is {}, in another format: convert it to safetensors",
                        names_of(others));
  } else if (!folder.folders.empty()) {
    text += fmt::format("; it holds the folders {}", names_of(folder.folders));
  } else if (folder.files.empty()) {
    text += "; it is empty";
  }
  return text;
}

}  // namespace streamer::core::inline checkpoint
