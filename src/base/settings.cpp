// SPDX-License-Identifier: Apache-2.0
#include "base/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/text.hpp"

namespace streamer::core {

namespace {

constexpr SettingRow kRows[] = {
    {"chunk_bytes", "STREAMER_CHUNK_BYTES", "RUNAI_STREAMER_CHUNK_BYTESIZE", "auto",
     "auto, or bytes from 4096",
     "How many bytes one read request asks for. auto is 2 MiB for files."},
    {"coalesce_gap_bytes", "STREAMER_COALESCE_GAP_BYTES", nullptr, "16KiB", "bytes",
     "Unwanted bytes between two wanted ranges are read and dropped if they are no more than this; "
     "larger gaps are skipped by a request of their own for each side."},
    {"concurrency", "STREAMER_CONCURRENCY", "RUNAI_STREAMER_CONCURRENCY", "auto",
     "auto, or 1 to 1024", "How many readers a load starts."},
    {"direct_depth", "STREAMER_DIRECT_DEPTH", nullptr, "auto", "auto, or 1 to 256",
     "How many direct reads a reader keeps in flight through io_uring."},
    {"file_io", "STREAMER_FILE_IO", nullptr, "auto", "auto, direct, buffered",
     "How files are read. auto asks the page cache, chunk by chunk: cached chunks are copied from "
     "it, others are read past it (O_DIRECT) where the file system allows."},
    {"io_uring", "STREAMER_IO_URING", nullptr, "auto", "auto, off",
     "Whether direct reads go through io_uring where the kernel allows it."},
    {"max_bandwidth", "STREAMER_MAX_BANDWIDTH", nullptr, "unlimited",
     "unlimited, or bytes per second from 65536",
     "A cap on what a load reads per second, for links that are shared."},
    {"memory_limit", "STREAMER_MEMORY_LIMIT", "RUNAI_STREAMER_MEMORY_LIMIT", "auto",
     "auto, unlimited (or -1), minimum (or 0), or bytes",
     "How much host memory a load may hold between storage and the release of its tensors. auto is "
     "80 % of what the machine and its control group have free when the load starts; minimum is "
     "the largest tensor. Memory of the caller does not count."},
    {"tensor_alignment", "STREAMER_TENSOR_ALIGNMENT", nullptr, "auto",
     "auto, or a power of two up to 4096",
     "The least alignment, in bytes, of a tensor in the library's own memory. auto is the size of "
     "its element, which most files give at no cost."},
};

Error bad_value(std::string_view source, std::string_view value, std::string_view values) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is \"{}\"; it may be {}", source, value, values));
}

// What set() and the environment share: nullopt means that value is refused for name.
std::optional<std::uint64_t> parse_number(std::string_view value, std::string_view word,
                                          std::uint64_t lowest, std::uint64_t highest) {
  if (value == word) return 0;
  const auto number = parse_bytes(value);
  if (!number || *number < lowest || *number > highest) return std::nullopt;
  return number;
}

std::optional<MemoryLimit> parse_memory_limit(std::string_view value) {
  using Mode = MemoryLimit::Mode;
  if (value == "auto") return MemoryLimit{};
  if (value == "unlimited" || value == "-1") return MemoryLimit{.mode = Mode::unlimited};
  if (value == "minimum") return MemoryLimit{.mode = Mode::minimum};
  const auto bytes = parse_bytes(value);
  if (!bytes) return std::nullopt;
  if (*bytes == 0) return MemoryLimit{.mode = Mode::minimum};
  return MemoryLimit{.mode = Mode::bytes, .bytes = *bytes};
}

std::optional<FileIo> parse_file_io(std::string_view value) {
  if (value == "auto") return FileIo::automatic;
  if (value == "direct") return FileIo::direct;
  if (value == "buffered") return FileIo::buffered;
  return std::nullopt;
}

// Puts value into the field that name stands for; false if it is refused.
bool assign(LoadSettings& to, std::string_view name, std::string_view value) {
  constexpr std::uint64_t kAny = UINT64_MAX;
  const auto put = [](auto& field, const auto& parsed) {
    if (parsed) field = static_cast<std::remove_reference_t<decltype(field)>>(*parsed);
    return parsed.has_value();
  };
  if (name == "chunk_bytes") {
    return put(to.chunk_bytes, parse_number(value, "auto", 4 * kKiB, kGiB));
  }
  if (name == "coalesce_gap_bytes") return put(to.coalesce_gap_bytes, parse_bytes(value));
  if (name == "concurrency") return put(to.concurrency, parse_number(value, "auto", 1, 1024));
  if (name == "direct_depth") return put(to.direct_depth, parse_number(value, "auto", 1, 256));
  if (name == "file_io") return put(to.file_io, parse_file_io(value));
  if (name == "io_uring") {
    to.io_uring = value == "auto";
    return value == "auto" || value == "off";
  }
  if (name == "max_bandwidth") {
    return put(to.bandwidth_bytes_per_s, parse_number(value, "unlimited", 64 * kKiB, kAny));
  }
  if (name == "memory_limit") return put(to.memory_limit, parse_memory_limit(value));
  if (name == "tensor_alignment") {
    const auto parsed = parse_number(value, "auto", 1, kPageBytes);
    if (parsed && (*parsed & (*parsed - 1)) != 0) return false;
    return put(to.tensor_alignment_bytes, parsed);
  }
  return false;
}

const SettingRow* find_row(std::string_view name) {
  const auto rows = setting_rows();
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const SettingRow& r) { return r.name == name; });
  return row == rows.end() ? nullptr : &*row;
}

struct Source {
  std::string name;  // of the setting or of the variable that the value came from
  std::string value;
};

std::optional<Source> from_environment(const SettingRow& row) {
  for (const char* variable : {row.variable, row.compatible_variable}) {
    if (variable == nullptr) continue;
    const char* const value = ::secure_getenv(variable);
    if (value != nullptr && *value != '\0') return Source{variable, value};
  }
  return std::nullopt;
}

}  // namespace

std::span<const SettingRow> setting_rows() noexcept {
  return kRows;
}

Result<void> Settings::set(std::string_view name, std::string_view value) {
  const SettingRow* const row = find_row(name);
  if (row == nullptr) {
    return Error(ErrorKind::invalid_argument, fmt::format("there is no setting \"{}\"", name));
  }
  LoadSettings scratch;
  if (!assign(scratch, name, trim(value))) {
    return bad_value(fmt::format("setting {}", name), value, row->values);
  }
  values_.insert_or_assign(std::string(name), std::string(trim(value)));
  return {};
}

std::string Settings::text(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  const SettingRow* const row = find_row(name);
  if (row == nullptr) return {};
  if (auto source = from_environment(*row)) return source->value;
  return row->default_text;
}

Result<LoadSettings> read_load_settings(const Settings& settings) {
  LoadSettings read;
  for (const SettingRow& row : setting_rows()) {
    const std::string value = settings.text(row.name);
    if (assign(read, row.name, trim(value))) continue;
    // set() checked its values, so this one came from the environment.
    const auto source = from_environment(row);
    return bad_value(source ? source->name : row.name, value, row.values);
  }
  return read;
}

}  // namespace streamer::core
