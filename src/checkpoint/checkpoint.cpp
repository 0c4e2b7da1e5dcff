// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/on_threads.hpp"
#include "base/text.hpp"
#include "checkpoint/format.hpp"
#include "checkpoint/model_sources.hpp"
#include "checkpoint/other_file.hpp"

namespace streamer::core::inline checkpoint {

namespace {

// Most headers are shorter, so that one read brings length and text.
constexpr std::uint64_t kFirstReadBytes = 256 * kKiB;
constexpr std::size_t kHeaderThreads = 16;

struct OpenedShard {
  CheckpointObject object;
  TensorTable tensors;
};

// Bytes of an opened object from `offset` on: those that came with the opening, and the rest read
// now.
Result<void> fill(Store& store, const Opened& opened, std::uint64_t offset, std::span<char> to) {
  const std::uint64_t here = std::min<std::uint64_t>(to.size(), opened.first.size() - offset);
  if (here != 0) std::memcpy(to.data(), opened.first.data() + offset, here);
  if (here == to.size()) return {};
  return store.read(opened.object, {offset + here, to.size() - here},
                    std::as_writable_bytes(to.subspan(here)));
}

// One read in the common case, more for long headers.
Result<OpenedShard> read_header(Store& store, const Uri& uri, const OpenRules& rules) {
  const Opened opened = TRY(store.open(uri, kFirstReadBytes));
  const Object& object = opened.object;
  const std::span<const std::byte> first = opened.first;
  const Format& format = format_of(rules.formats, first, object.size);
  auto header = format.read_header(
      {.bytes = object.size,
       .first = first,
       .read = [&](std::uint64_t offset,
                   std::span<char> to) { return fill(store, opened, offset, to); }},
      rules.header);
  if (!header) {
    ErrorFields fields = header.error().fields();
    if (!fields.uri.empty()) return std::move(header).error();  // of the store, not of the format
    const std::string_view other = recognise_other_file(first);
    if (!other.empty()) fields.message += fmt::format("; {}", other);
    const ByteRange range = fields.range;
    return Error(std::move(fields)).at(uri.text(), range);
  }
  return OpenedShard{.object = {.object = object,
                                .header_bytes = header->text_bytes,
                                .head_bytes = header->head_bytes,
                                .tensor_count = header->tensors.size(),
                                .metadata = std::move(header->metadata)},
                     .tensors = std::move(header->tensors)};
}

Result<std::vector<OpenedShard>> read_headers(Stores& stores, const std::vector<Entry>& entries,
                                              const OpenRules& rules) {
  const auto read_one = [&](std::size_t i) -> Result<OpenedShard> {
    Store* const store = TRY(stores.of(entries[i].uri));
    return read_header(*store, entries[i].uri, rules);
  };
  return on_threads<OpenedShard>("streamer-open", kHeaderThreads, entries.size(), read_one);
}

// Every tensor that an index names must be in the shard that it names.
Result<void> check_claims(const Checkpoint& checkpoint, const ModelSources& sources) {
  for (const IndexClaims& claim : sources.claims) {
    const Uri folder = folder_of(claim.index);
    for (const auto& [tensor, shard] : claim.content.weights) {
      const auto found = checkpoint.tensors.find(tensor);
      const std::string path = child(folder, shard).text();
      // By the name it was found under: the bytes may come from a copy of the file.
      if (found && sources.objects[checkpoint.tensors[*found].object].uri.text() == path) continue;
      return Error(ErrorKind::corrupt, fmt::format("IndexMismatch: the index puts tensor \"{}\" "
                                                   "into {}, which does not contain it",
                                                   tensor, path))
          .at(claim.index.text());
    }
  }
  return {};
}

Error name_duplicate(const TensorTable& tensors, const std::vector<CheckpointObject>& objects,
                     std::pair<std::uint32_t, std::uint32_t> twice) {
  const TensorView first = tensors[twice.first];
  const TensorView second = tensors[twice.second];
  const Uri& one = objects[first.object].object.uri;
  const Uri& other = objects[second.object].object.uri;
  // Not "reranker", and not a folder's name.
  const auto is_of_rank = [](const Uri& uri) {
    return glob_match("*rank[-_0-9]*", uri.text().substr(uri.text().rfind('/') + 1));
  };
  const bool are_of_ranks = is_of_rank(one) && is_of_rank(other);
  return Error(ErrorKind::corrupt,
               fmt::format("DuplicateKey: tensor \"{}\" is also in {}{}", first.name, one.text(),
                           are_of_ranks
                               ? "; if each rank has its own files, open those of one "
                                 "rank (--rank N, open_rank() or streamer_checkpoint_open_rank())"
                               : ""))
      .at(other.text());
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_checkpoint(std::span<const std::string> uris,
                                                          std::shared_ptr<Stores> stores,
                                                          OpenRules rules) {
  if (uris.empty()) {
    return Error(ErrorKind::invalid_argument,
                 "no URI was given; name a file, a folder or a shard index");
  }
  ModelSources sources = TRY(find_model(*stores, uris));
  auto opened = read_headers(*stores, sources.objects, rules);
  if (!opened) return explain_missing(std::move(opened).error(), sources);

  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->stores = std::move(stores);
  checkpoint->notes = std::move(sources.notes);
  for (OpenedShard& file : *opened) {
    const auto number = static_cast<std::uint32_t>(checkpoint->objects.size());
    for (std::uint32_t t = 0; t < file.tensors.size(); ++t) {
      TensorView tensor = file.tensors[t];
      tensor.object = number;
      checkpoint->tensors.add(tensor);
    }
    file.tensors = {};
    checkpoint->objects.push_back(std::move(file.object));
  }
  const auto twice = checkpoint->tensors.finish();
  if (twice && rules.same_names == SameNames::refuse) {
    return name_duplicate(checkpoint->tensors, checkpoint->objects, *twice);
  }
  TRY(check_claims(*checkpoint, sources));
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

}  // namespace streamer::core::inline checkpoint
