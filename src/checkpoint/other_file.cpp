// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/other_file.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/text.hpp"

namespace streamer::core::inline checkpoint {

namespace {

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view meaning;
};

constexpr std::string_view kLfsPointer =
    "this is a Git LFS pointer, not the file itself; fetch the file (git lfs pull)";
constexpr std::string_view kHtml =
    "this is an HTML page; the download got an error or a login page";
constexpr std::string_view kXml = "this is an XML document, such as a store's error message";
constexpr std::string_view kPickle =
    "this is a Python pickle, such as old versions of torch.save() write; convert it to "
    "safetensors";

using namespace std::string_view_literals;

constexpr std::array kMagics = {
    Magic{0, "version https://git-lfs"sv, kLfsPointer},
    Magic{0, "version https://hawser"sv, kLfsPointer},
    Magic{0, "/annex/objects/"sv,
          "this is a git-annex pointer, not the file itself; fetch the file (git annex get)"},
    Magic{0, "\x93NUMPY"sv, "this is a NumPy file (.npy); convert it to safetensors"},
    Magic{0, "PK\x03\x04"sv,
          "this is a zip file, such as torch.save() (.pt, .bin) and numpy.savez() (.npz) write; "
          "convert it to safetensors"},
    Magic{0, "PK\x05\x06"sv, "this is an empty zip file"},
    Magic{0, "\x89HDF\r\n\x1a\n"sv,
          "this is an HDF5 file, such as Keras writes (.h5); convert it to safetensors"},
    Magic{0, "GGUF"sv, "this is a GGUF file, not safetensors; use a program that reads GGUF"},
    Magic{0, "lmgg"sv, "this is a GGML file, not safetensors"},
    Magic{0, "tjgg"sv, "this is a GGML file, not safetensors"},
    Magic{4, "TFL3"sv, "this is a TensorFlow Lite model, not safetensors"},
    Magic{257, "ustar"sv, "this is a tar archive; unpack it first"},
    Magic{0, "\x1f\x8b"sv, "this is a gzip file; unpack it first"},
    Magic{0, "\x28\xb5\x2f\xfd"sv, "this is a zstd file; unpack it first"},
    Magic{0,
          "\xfd"
          "7zXZ"sv,
          "this is an xz file; unpack it first"},
    Magic{0, "BZh"sv, "this is a bzip2 file; unpack it first"},
    Magic{0, "\x04\x22\x4d\x18"sv, "this is an lz4 file; unpack it first"},
    Magic{0, "7z\xbc\xaf\x27\x1c"sv, "this is a 7z archive; unpack it first"},
    Magic{0,
          "\x7f"
          "ELF"sv,
          "this is a program or a library, not safetensors"},
    Magic{0, "%PDF"sv, "this is a PDF document, not safetensors"},
    Magic{0, "\x89PNG"sv, "this is a PNG image, not safetensors"},
    Magic{0, "PAR1"sv, "this is a Parquet file, not safetensors"},
    Magic{0, "ARROW1"sv, "this is an Arrow file, not safetensors"},
};

bool is_plain_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7F) || c == '\n' || c == '\r' || c == '\t';
  });
}

// What follows white space and a byte order mark, of a file that is text.
std::string_view recognise_text(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text = trim(text);
  for (const std::string_view start : {"<!doctype html", "<html", "<head", "<body", "<!--"}) {
    if (equal_ignoring_case(text.substr(0, start.size()), start)) return kHtml;
  }
  if (text.starts_with("<")) return kXml;
  if (text.starts_with("{") || text.starts_with("[")) {
    return "this is JSON, such as a configuration, an index or a server's error message; a "
           "safetensors file begins with the length of its header";
  }
  return "this is text, such as a server's error message; a safetensors file begins with the "
         "length of its header";
}

// Protocol buffers have no magic: ModelProto begins with its ir_version (field 1, a small number)
// and then a string (producer_name, field 2), its opsets (8) or the graph (7). onnx.proto
bool is_onnx(std::string_view text) {
  if (text.size() < 3 || text[0] != 0x08) return false;
  const auto version = static_cast<unsigned char>(text[1]);
  return version >= 1 && version < 32 && (text[2] == 0x12 || text[2] == 0x3A || text[2] == 0x42);
}

}  // namespace

std::string_view recognise_other_file(std::span<const std::byte> first) noexcept {
  const std::string_view text(reinterpret_cast<const char*>(first.data()),
                              std::min<std::size_t>(first.size(), 512));
  if (text.empty()) {
    return "the file is empty: whatever wrote or downloaded it failed early; fetch it again";
  }
  // A length below 2^40, and JSON.
  if (text.size() > 8 && text.substr(5, 3) == std::string_view("\0\0\0", 3) && text[8] == '{')
    return {};
  for (const Magic& magic : kMagics) {
    if (text.size() > magic.offset &&
        text.substr(magic.offset, magic.bytes.size()) == magic.bytes) {
      return magic.meaning;
    }
  }
  if (text[0] == '\x80' && text.size() > 2 && text[1] >= 2 && text[1] <= 5) return kPickle;
  if (is_onnx(text)) return "this looks like an ONNX model; convert it to safetensors";
  if (std::all_of(text.begin(), text.end(), [](char c) { return c == '\0'; })) {
    return "it begins with zeros only, like a file whose download reserved its space and has not "
           "finished; fetch it again";
  }
  if (is_plain_text(text)) return recognise_text(text);
  return {};
}

}  // namespace streamer::core::inline checkpoint
