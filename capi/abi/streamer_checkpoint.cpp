// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "checkpoint/checkpoint_settings.hpp"
#include "checkpoint/ranges.hpp"
#include "checkpoint/rank_parts.hpp"
#include "engine/load_settings.hpp"
#include "operation.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

Result<std::uint32_t> check_tensor(const core::Checkpoint& checkpoint, size_t tensor) {
  const std::uint32_t count = checkpoint.tensors.size();
  if (tensor < count) return static_cast<std::uint32_t>(tensor);
  return Error(ErrorKind::invalid_argument,
               fmt::format("tensor number {} is not below the count, {}", tensor, count));
}

Result<const core::CheckpointObject*> check_object(const core::Checkpoint& checkpoint,
                                                   size_t object) {
  const std::size_t count = checkpoint.objects.size();
  if (object < count) return &checkpoint.objects[object];
  return Error(ErrorKind::invalid_argument,
               fmt::format("object number {} is not below the count, {}", object, count));
}

streamer_tensor_info info_of(const core::TensorView& tensor) {
  streamer_tensor_info info = STREAMER_TENSOR_INFO_INIT;
  info.name = tensor.name.data();
  info.name_size = tensor.name.size();
  info.dtype = static_cast<int32_t>(tensor.dtype);
  info.rank = static_cast<uint32_t>(tensor.shape.size());
  info.shape = tensor.shape.data();
  info.bytes = tensor.bytes.size;
  info.object = tensor.object;
  info.object_offset = tensor.bytes.offset;
  return info;
}

// As vLLM writes a sharded state.
constexpr const char* kRankPattern = "model-rank-{rank}-part-{part}.safetensors";

core::Settings settings_or_default(const streamer_settings* settings) {
  return settings == nullptr ? core::Settings() : settings->settings;
}

// Loads inherit these settings: errors in them are reported before a store is asked. For files that
// happens when a load starts, because many programs that open files never load.
Result<void> check_for_loads(const std::vector<std::string>& uris, const core::Settings& settings) {
  const auto is_remote = [](const std::string& text) {
    const auto uri = core::parse_uri(text);
    return uri && uri->scheme() != "file";
  };
  if (std::any_of(uris.begin(), uris.end(), is_remote)) TRY(core::read_load_settings(settings));
  return {};
}

// The size is left out: callers have it anyway.
std::string version_text(const core::Object& object) {
  if (!object.etag.empty()) return object.etag;
  if (!object.last_modified.empty()) return object.last_modified;
  const core::FileVersion& version = object.version;
  return fmt::format("{}-{}-{}-{}", version.modified_ns, version.changed_ns, version.device,
                     version.inode);
}

streamer_checkpoint* handle_of(std::shared_ptr<const core::Checkpoint> opened) {
  std::string notes = joined_lines(opened->notes);
  std::vector<std::string> versions;
  for (const core::CheckpointObject& entry : opened->objects)
    versions.push_back(version_text(entry.object));
  return new streamer_checkpoint{std::move(opened), std::move(notes), std::move(versions)};
}

Result<streamer_checkpoint*> open_all(const std::vector<std::string>& uris,
                                      std::shared_ptr<core::Stores> stores,
                                      const core::Settings& settings) {
  const core::OpenRules rules = TRY(core::read_open_rules(settings));
  TRY(check_for_loads(uris, settings));
  return handle_of(TRY(core::open_checkpoint(uris, std::move(stores), rules)));
}

}  // namespace

extern "C" {

streamer_status streamer_checkpoint_open(const char* const* uris, size_t count,
                                         const streamer_settings* settings,
                                         streamer_operation* operation,
                                         streamer_checkpoint** checkpoint_out,
                                         streamer_error** error_out) {
  return operate(
      "opening the checkpoint", settings, operation, error_out, [&]() -> Result<streamer_status> {
        STREAMER_REQUIRE(uris);
        STREAMER_REQUIRE(checkpoint_out);
        std::vector<std::string> copied;
        for (size_t i = 0; i < count; ++i) {
          STREAMER_REQUIRE(uris[i]);
          copied.emplace_back(uris[i]);
        }
        const core::Settings used = settings_or_default(settings);
        *checkpoint_out = TRY(open_all(copied, std::make_shared<core::Stores>(used), used));
        return STREAMER_OK;
      });
}

streamer_status streamer_checkpoint_open_rank(const char* folder, const char* pattern,
                                              uint32_t rank, const streamer_settings* settings,
                                              streamer_operation* operation,
                                              streamer_checkpoint** checkpoint_out,
                                              streamer_error** error_out) {
  return operate("opening the checkpoint", settings, operation, error_out,
                 [&]() -> Result<streamer_status> {
                   STREAMER_REQUIRE(folder);
                   STREAMER_REQUIRE(checkpoint_out);
                   const core::Settings used = settings_or_default(settings);
                   auto stores = std::make_shared<core::Stores>(used);
                   const std::vector<std::string> parts = TRY(core::find_rank_parts(
                       *stores, folder, pattern == nullptr ? kRankPattern : pattern, rank));
                   *checkpoint_out = TRY(open_all(parts, std::move(stores), used));
                   return STREAMER_OK;
                 });
}

streamer_status streamer_checkpoint_open_ranges(const streamer_object_range* ranges, size_t count,
                                                const streamer_settings* settings,
                                                streamer_operation* operation,
                                                streamer_checkpoint** checkpoint_out,
                                                streamer_error** error_out) {
  return operate(
      "opening the checkpoint", settings, operation, error_out, [&]() -> Result<streamer_status> {
        STREAMER_REQUIRE(checkpoint_out);
        if (count != 0) {
          STREAMER_REQUIRE(ranges);
          TRY(check_array_of<streamer_object_range>(ranges[0].struct_size));
        }
        const streamer_object_range defaults = STREAMER_OBJECT_RANGE_INIT;
        std::vector<core::ObjectRange> copied;
        for (size_t i = 0; i < count; ++i) {
          const auto* const at =
              reinterpret_cast<const unsigned char*>(ranges) + i * ranges[0].struct_size;
          const streamer_object_range range = TRY(copy_in(at, defaults));
          STREAMER_REQUIRE(range.uri);
          copied.push_back({range.uri, {range.offset, range.bytes}});
        }
        const core::Settings used = settings_or_default(settings);
        std::vector<std::string> uris;
        for (const core::ObjectRange& range : copied)
          uris.push_back(range.uri);
        TRY(check_for_loads(uris, used));
        *checkpoint_out =
            handle_of(TRY(core::open_ranges(copied, std::make_shared<core::Stores>(used))));
        return STREAMER_OK;
      });
}

void streamer_checkpoint_close(streamer_checkpoint* checkpoint) {
  delete checkpoint;
}

const char* streamer_checkpoint_notes(const streamer_checkpoint* checkpoint) {
  return checkpoint == nullptr ? "" : checkpoint->notes.c_str();
}

const char* streamer_dtype_name(int32_t dtype) {
  const auto known = core::dtype_from_number(dtype);
  return known ? core::dtype_row(*known).name : nullptr;
}

uint32_t streamer_dtype_bits(int32_t dtype) {
  const auto known = core::dtype_from_number(dtype);
  return known ? core::dtype_row(*known).bits : 0;
}

size_t streamer_checkpoint_tensor_count(const streamer_checkpoint* checkpoint) {
  return checkpoint == nullptr ? 0 : checkpoint->checkpoint->tensors.size();
}

uint64_t streamer_checkpoint_bytes(const streamer_checkpoint* checkpoint) {
  return checkpoint == nullptr ? 0 : checkpoint->checkpoint->tensors.total_bytes();
}

streamer_status streamer_checkpoint_get_tensor_info(const streamer_checkpoint* checkpoint,
                                                    size_t tensor, streamer_tensor_info* info_out,
                                                    streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(info_out);
    const std::uint32_t number = TRY(check_tensor(*checkpoint->checkpoint, tensor));
    TRY(copy_out(info_of(checkpoint->checkpoint->tensors[number]), info_out));
    return STREAMER_OK;
  });
}

streamer_status streamer_checkpoint_get_tensor_infos(const streamer_checkpoint* checkpoint,
                                                     size_t first, size_t capacity,
                                                     streamer_tensor_info* infos_out,
                                                     size_t* count_out,
                                                     streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(infos_out);
    STREAMER_REQUIRE(count_out);
    if (capacity == 0)
      return Error(ErrorKind::invalid_argument, "capacity is 0, which leaves no room for a tensor");
    const core::TensorTable& tensors = checkpoint->checkpoint->tensors;
    if (first > tensors.size()) TRY(check_tensor(*checkpoint->checkpoint, first));
    const std::size_t apart = infos_out->struct_size;
    TRY(check_array_of<streamer_tensor_info>(apart));
    const std::size_t count = std::min<std::size_t>(capacity, tensors.size() - first);
    auto* info = reinterpret_cast<unsigned char*>(infos_out);
    for (std::size_t i = 0; i < count; ++i, info += apart) {
      const core::TensorView view = tensors[static_cast<std::uint32_t>(first + i)];
      TRY(copy_out(info_of(view), reinterpret_cast<streamer_tensor_info*>(info)));
    }
    *count_out = count;
    return STREAMER_OK;
  });
}

streamer_status streamer_checkpoint_find(const streamer_checkpoint* checkpoint, const char* name,
                                         size_t name_size, size_t* tensor_out,
                                         streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(name);
    STREAMER_REQUIRE(tensor_out);
    const std::string_view wanted(name, name_size);
    const auto found = checkpoint->checkpoint->tensors.find(wanted);
    if (!found) {
      return Error(ErrorKind::not_found,
                   fmt::format("the checkpoint has no tensor \"{}\"", wanted));
    }
    *tensor_out = *found;
    return STREAMER_OK;
  });
}

size_t streamer_checkpoint_object_count(const streamer_checkpoint* checkpoint) {
  return checkpoint == nullptr ? 0 : checkpoint->checkpoint->objects.size();
}

streamer_status streamer_checkpoint_get_object_info(const streamer_checkpoint* checkpoint,
                                                    size_t object, streamer_object_info* info_out,
                                                    streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(info_out);
    const core::CheckpointObject& found = *TRY(check_object(*checkpoint->checkpoint, object));
    streamer_object_info info = STREAMER_OBJECT_INFO_INIT;
    info.uri = found.object.uri.text().c_str();
    info.bytes = found.object.size;
    info.header_bytes = found.header_bytes;
    info.tensor_count = found.tensor_count;
    info.metadata_count = found.metadata.size();
    info.version = checkpoint->versions[object].c_str();
    TRY(copy_out(info, info_out));
    return STREAMER_OK;
  });
}

streamer_status streamer_checkpoint_get_metadata(const streamer_checkpoint* checkpoint,
                                                 size_t object, size_t entry, const char** key_out,
                                                 const char** value_out,
                                                 streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(checkpoint);
    STREAMER_REQUIRE(key_out);
    STREAMER_REQUIRE(value_out);
    const core::CheckpointObject& found = *TRY(check_object(*checkpoint->checkpoint, object));
    if (entry >= found.metadata.size()) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("metadata entry number {} is not below the count, {}", entry,
                               found.metadata.size()));
    }
    *key_out = found.metadata[entry].first.c_str();
    *value_out = found.metadata[entry].second.c_str();
    return STREAMER_OK;
  });
}

}  // extern "C"
