// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors_header.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>

#include "checkpoint/name_index.hpp"

namespace streamer::core::inline checkpoint {

namespace {

constexpr std::size_t kMostDimensions = 64;
constexpr std::size_t kLongestNameBytes = 64 * kKiB;
constexpr std::size_t kMostTensors = 10'000'000;

// Starts with the rule's name: tools and humans search for it.
template <typename... Arguments>
Error broken(std::string_view rule, fmt::format_string<Arguments...> format,
             Arguments&&... arguments) {
  return Error(
      ErrorKind::corrupt,
      fmt::format("{}: {}", rule, fmt::format(format, std::forward<Arguments>(arguments)...)));
}

// A name as messages show it: quoted, with control characters escaped, and cut if it is very long.
std::string shown(std::string_view name) {
  std::string text = "\"";
  for (const char c : name.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text + (name.size() > 200 ? "...\"" : "\"");
}

// One tensor as the header has it.
struct Entry {
  std::string_view name;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t shape_offset = 0;  // in Reader::shapes_
  std::uint8_t rank = 0;
  Dtype dtype{};
};

// From JSON to entries: rule InvalidHeaderDeserialization.
class Reader {
 public:
  explicit Reader(HeaderRules rules) noexcept : is_strict_(rules == HeaderRules::strict) {}

  std::vector<Entry> entries;
  std::vector<std::uint64_t> shapes;
  std::vector<std::pair<std::string, std::string>> metadata;

  Result<void> read(JsonValue& root) {
    if (TRY(root.kind()) != JsonKind::object) return wrong("the top level is not an object");
    return root.members([this](std::string_view key, JsonValue& value) {
      return key == "__metadata__" ? read_metadata(value) : read_tensor(key, value);
    });
  }

 private:
  static Error wrong(std::string_view what) { return Error(ErrorKind::corrupt, std::string(what)); }
  static Error wrong(std::string_view tensor, std::string_view what) {
    return Error(ErrorKind::corrupt, fmt::format("tensor {}: {}", shown(tensor), what));
  }

  Result<void> read_metadata(JsonValue& value) {
    if (has_metadata_ && is_strict_) return wrong("__metadata__ appears twice");
    has_metadata_ = true;
    metadata.clear();
    const JsonKind kind = TRY(value.kind());
    if (kind == JsonKind::null) return value.skip();
    if (kind != JsonKind::object) {
      return is_strict_ ? wrong("__metadata__ is not an object") : value.skip();
    }
    return value.members([this](std::string_view key, JsonValue& entry) -> Result<void> {
      if (TRY(entry.kind()) != JsonKind::string) {
        if (!is_strict_) return entry.skip();
        return wrong(fmt::format("__metadata__ {} is not a string", shown(key)));
      }
      metadata.emplace_back(key, TRY(entry.string()));
      return {};
    });
  }

  // Fields in any order; unknown ones are skipped, as the original library does.
  Result<void> read_tensor(std::string_view name, JsonValue& value) {
    if (name.size() > kLongestNameBytes) return wrong(name, "its name is longer than 64 KiB");
    if (entries.size() == kMostTensors) return wrong("there are more than 10,000,000 tensors");
    if (TRY(value.kind()) != JsonKind::object) {
      return wrong(name, "it is not described by an object");
    }
    Entry entry{.name = name, .shape_offset = shapes.size()};
    std::array<bool, 3> seen{};
    auto fields = value.members([&](std::string_view key, JsonValue& field) -> Result<void> {
      constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};
      const auto known = std::find(kFields.begin(), kFields.end(), key);
      if (known == kFields.end()) return field.skip();
      bool& was_seen = seen[static_cast<std::size_t>(known - kFields.begin())];
      if (was_seen && is_strict_) return wrong(name, fmt::format("{} appears twice", key));
      was_seen = true;
      if (key == "dtype") return read_dtype(entry, field);
      return key == "shape" ? read_shape(entry, field) : read_offsets(entry, field);
    });
    TRY(std::move(fields));
    if (!seen[0]) return wrong(name, "dtype is missing");
    if (!seen[1]) return wrong(name, "shape is missing");
    if (!seen[2]) return wrong(name, "data_offsets is missing");
    entries.push_back(entry);
    return {};
  }

  Result<void> read_dtype(Entry& entry, JsonValue& field) {
    if (TRY(field.kind()) != JsonKind::string) return wrong(entry.name, "dtype is not a string");
    const std::string_view text = TRY(field.string());
    const auto dtype = dtype_from_name(text);
    if (!dtype) return wrong(entry.name, fmt::format("dtype {} is unknown", shown(text)));
    entry.dtype = *dtype;
    return {};
  }

  // Not 1.0, not -0, not 2^64: a number that another reader may round would place other bytes.
  Result<std::uint64_t> read_size(const Entry& entry, std::string_view field, JsonValue& value) {
    auto number = value.unsigned_integer();
    if (number) return number;
    return wrong(entry.name,
                 fmt::format("{} contains something that is not an unsigned 64-bit integer ({})",
                             field, number.error().message()));
  }

  Result<void> read_shape(Entry& entry, JsonValue& field) {
    if (TRY(field.kind()) != JsonKind::array) return wrong(entry.name, "shape is not an array");
    shapes.resize(entry.shape_offset);
    entry.rank = 0;
    return field.elements([&](JsonValue& value) -> Result<void> {
      if (entry.rank == kMostDimensions) return wrong(entry.name, "it has over 64 dimensions");
      shapes.push_back(TRY(read_size(entry, "shape", value)));
      ++entry.rank;
      return {};
    });
  }

  Result<void> read_offsets(Entry& entry, JsonValue& field) {
    if (TRY(field.kind()) != JsonKind::array)
      return wrong(entry.name, "data_offsets is not an array");
    std::size_t count = 0;
    auto offsets = field.elements([&](JsonValue& value) -> Result<void> {
      const std::uint64_t offset = TRY(read_size(entry, "data_offsets", value));
      (count == 0 ? entry.begin : entry.end) = offset;
      ++count;
      return {};
    });
    TRY(std::move(offsets));
    if (count != 2) return wrong(entry.name, "data_offsets is not two numbers");
    return {};
  }

  const bool is_strict_;
  bool has_metadata_ = false;
};

// Leaves the last one of each name.
void drop_replaced(std::vector<Entry>& entries) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(entries.size());
  std::vector<Entry> last;
  last.reserve(entries.size());
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (seen.insert(entry->name).second) last.push_back(*entry);
  }
  entries = std::move(last);
}

Result<void> check_names(const std::vector<Entry>& entries) {
  const auto name_of = [&](std::uint32_t number) { return entries[number].name; };
  const NameIndex names(static_cast<std::uint32_t>(entries.size()), name_of);
  const auto twice = names.twice(name_of);
  if (!twice) return {};
  return broken("DuplicateKey", "tensor {} appears in the header twice",
                shown(name_of(twice->first)));
}

// The rules for one tensor, given where the one before it ended.
Result<void> check_tensor(const Entry& entry, std::span<const std::uint64_t> shape,
                          std::uint64_t expected_begin) {
  if (entry.begin != expected_begin || entry.end < entry.begin) {
    return broken("InvalidOffset",
                  "tensor {}: data_offsets are [{}, {}), and the tensors before it end at {}; "
                  "tensors must follow each other without holes or overlaps",
                  shown(entry.name), entry.begin, entry.end, expected_begin);
  }
  const DtypeRow& dtype = dtype_row(entry.dtype);
  std::optional<std::uint64_t> elements = 1;
  for (const std::uint64_t extent : shape)
    elements = elements ? checked_multiply(*elements, extent) : elements;
  if (elements && *elements % dtype.elements != 0)
    return broken("MisalignedSlice",
                  "tensor {}: shape [{}] of {} is not a whole number of its blocks",
                  shown(entry.name), fmt::join(shape, ", "), dtype.name);
  const std::optional<std::uint64_t> bits = elements ? bits_of(dtype, *elements) : std::nullopt;
  if (!bits) {
    return broken("ValidationOverflow", "tensor {}: shape [{}] of {} has more than 2^64 bits",
                  shown(entry.name), fmt::join(shape, ", "), dtype.name);
  }
  if (*bits % 8 != 0) {
    return broken("MisalignedSlice",
                  "tensor {}: shape [{}] of {} is {} bits, which is not a whole number of bytes",
                  shown(entry.name), fmt::join(shape, ", "), dtype.name, *bits);
  }
  if (entry.end - entry.begin != *bits / 8) {
    return broken(
        "TensorInvalidInfo", "tensor {}: shape [{}] of {} is {} bytes, but data_offsets reserve {}",
        shown(entry.name), fmt::join(shape, ", "), dtype.name, *bits / 8, entry.end - entry.begin);
  }
  return {};
}

// Every rule behind the JSON's own, and the table of what passed them.
Result<void> keep(Reader& reader, std::uint64_t data_begin, std::uint64_t file_bytes,
                  HeaderRules rules, SafetensorsHeader& header) {
  std::vector<Entry>& entries = reader.entries;
  const bool is_strict = rules == HeaderRules::strict;
  if (!is_strict) drop_replaced(entries);
  TRY(check_names(entries));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (a.begin != b.begin) return a.begin < b.begin;
    return a.end != b.end ? a.end < b.end : a.name < b.name;
  });
  const auto shape = [&](const Entry& entry) {
    return std::span<const std::uint64_t>(reader.shapes).subspan(entry.shape_offset, entry.rank);
  };
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    TRY(check_tensor(entry, shape(entry), end));
    end = entry.end;
  }
  const auto file_end = checked_add(data_begin, end);
  if (!file_end || *file_end > file_bytes || (is_strict && *file_end != file_bytes)) {
    const bool is_cut = !file_end || *file_end > file_bytes;
    return broken(
        "MetadataIncompleteBuffer",
        "the header ends at byte {} and the tensors take {} bytes, but the file has {}: {}",
        data_begin, end, file_bytes,
        is_cut ? "it was truncated, or not fetched whole; fetch it again"
               : "bytes were added, or it is another file's header");
  }
  for (const Entry& entry : entries) {
    header.tensors.add({.name = entry.name,
                        .dtype = entry.dtype,
                        .shape = shape(entry),
                        .object = 0,
                        .bytes = {data_begin + entry.begin, entry.end - entry.begin}});
  }
  header.tensors.finish();  // no name is there twice: checked above
  header.metadata = std::move(reader.metadata);
  return {};
}

// Writers that align with NUL instead of spaces are common enough for a text of their own.
Error deserialization(const JsonText& text, const Error& why) {
  const std::string_view view = text.view();
  if (!view.empty() && view.back() == '\0') {
    return broken("InvalidHeaderDeserialization",
                  "the header is padded with NUL bytes instead of spaces; the program that wrote "
                  "the file must be fixed");
  }
  return broken("InvalidHeaderDeserialization", "{}", why.message());
}

}  // namespace

Result<std::uint64_t> header_length(std::span<const std::byte> first, std::uint64_t file_bytes,
                                    HeaderRules rules) {
  if (file_bytes < kHeaderLengthBytes || first.size() < kHeaderLengthBytes) {
    return broken("HeaderTooSmall", "the file has {} bytes, but the length of the header takes 8",
                  file_bytes);
  }
  std::uint64_t length = 0;
  for (std::size_t i = kHeaderLengthBytes; i-- > 0;) {
    length = length << 8U | static_cast<std::uint64_t>(first[i]);
  }
  const std::uint64_t longest =
      rules == HeaderRules::strict ? kLongestHeaderBytes : kLongestLenientHeaderBytes;
  if (length > longest) {
    return broken("HeaderTooLarge", "the header claims {} bytes but may have at most {}", length,
                  longest);
  }
  if (kHeaderLengthBytes + length > file_bytes) {
    return broken("InvalidHeaderLength",
                  "the header claims {} bytes after the first 8, but the file has only {} bytes: "
                  "it was truncated",
                  length, file_bytes);
  }
  return length;
}

Result<SafetensorsHeader> parse_header(const JsonText& text, std::uint64_t file_bytes,
                                       HeaderRules rules) {
  if (!is_valid_utf8(text.view())) {
    return broken("InvalidHeader", "the header is not valid UTF-8");
  }
  SafetensorsHeader header;
  Reader reader(rules);
  bool json_is_read = false;
  auto read = read_json(
      text, [&](JsonValue& root) { return reader.read(root); },
      [&] {
        json_is_read = true;
        return keep(reader, kHeaderLengthBytes + text.view().size(), file_bytes, rules, header);
      });
  if (read) return header;
  if (!json_is_read) return deserialization(text, read.error());
  return std::move(read).error();
}

}  // namespace streamer::core::inline checkpoint
