// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checkpoints for tests of the engine: files of known bytes with tensors anywhere in them, made
// without the parser, so that only the moving of bytes is under test.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "engine/plan_request.hpp"
#include "storage/file_store.hpp"

namespace streamer::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "streamer-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The same bytes for the same seed, on every machine.
inline std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<std::byte> bytes(size);
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    const std::uint64_t word = engine();
    std::memcpy(bytes.data() + at, &word, 8);
  }
  for (; at < size; ++at)
    bytes[at] = static_cast<std::byte>(engine());
  return bytes;
}

struct RawTensor {
  core::Dtype dtype = core::Dtype::u8;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset = 0;  // in the file
};

struct RawFile {
  std::vector<std::byte> bytes;
  std::vector<RawTensor> tensors;  // in the order of their offsets
};

// Writes the files into folder as 0, 1, ... and describes them. Tensors are named "file.number".
inline std::shared_ptr<const core::Checkpoint> make_raw_checkpoint(
    const std::filesystem::path& folder, const std::vector<RawFile>& files) {
  auto checkpoint = std::make_shared<core::Checkpoint>();
  checkpoint->stores = std::make_shared<core::Stores>(core::Settings());
  for (std::uint32_t f = 0; f < files.size(); ++f) {
    const std::string path = (folder / std::to_string(f)).string();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(files[f].bytes.data()),
               static_cast<std::streamsize>(files[f].bytes.size()));
    auto object = core::stat_file(core::Uri("file", path));
    if (!object) std::abort();
    checkpoint->objects.emplace_back().object = *std::move(object);
    for (std::size_t t = 0; t < files[f].tensors.size(); ++t) {
      const RawTensor& tensor = files[f].tensors[t];
      std::uint64_t bits = core::dtype_row(tensor.dtype).bits;
      for (const std::uint64_t extent : tensor.shape)
        bits *= extent;
      const std::string name = std::to_string(f) + "." + std::to_string(t);
      checkpoint->tensors.add({.name = name,
                               .dtype = tensor.dtype,
                               .shape = tensor.shape,
                               .object = f,
                               .bytes = {tensor.offset, bits / 8}});
    }
  }
  if (checkpoint->tensors.finish()) std::abort();
  return checkpoint;
}

// Tensors of random sizes, some empty, some with gaps between them, in files of random bytes.
inline std::vector<RawFile> random_files(std::uint64_t seed, std::uint32_t files,
                                         std::uint32_t tensors_per_file,
                                         std::uint64_t largest_bytes) {
  std::mt19937_64 engine(seed);
  const auto below = [&](std::uint64_t n) { return n == 0 ? 0 : engine() % n; };
  const core::Dtype dtypes[] = {core::Dtype::u8, core::Dtype::bf16, core::Dtype::f32,
                                core::Dtype::i64};
  std::vector<RawFile> made(files);
  for (RawFile& file : made) {
    std::uint64_t offset = below(5000);
    for (std::uint32_t t = 0; t < tensors_per_file; ++t) {
      RawTensor tensor;
      tensor.dtype = dtypes[below(4)];
      const std::uint64_t element = core::dtype_row(tensor.dtype).bits / 8;
      if (below(2) == 0) offset = core::round_up(offset, element);
      tensor.offset = offset;
      const std::uint64_t rows = below(12);
      const std::uint64_t most = largest_bytes / element / std::max<std::uint64_t>(rows, 1);
      const std::uint64_t columns =
          below(3) == 0 ? below(most) : below(std::min<std::uint64_t>(most, 300));
      tensor.shape = {rows, columns};
      offset += rows * columns * element;
      if (below(4) == 0) offset += below(50000);
      file.tensors.push_back(std::move(tensor));
    }
    file.bytes = random_bytes(offset + below(5000), engine());
  }
  return made;
}

// The bytes that a request must bring, gathered element by element from the file's.
inline std::vector<std::byte> expected_bytes(const RawFile& file, const RawTensor& tensor,
                                             const core::PlanRequest& request) {
  std::uint64_t element = core::dtype_row(tensor.dtype).bits / 8;
  std::uint64_t total = element;
  for (const std::uint64_t extent : tensor.shape)
    total *= extent;
  const std::byte* const base = file.bytes.data() + tensor.offset;
  if (request.part == core::Part::whole) return {base, base + total};
  if (request.part == core::Part::bytes) return {base + request.start, base + request.stop};
  std::uint64_t inner = 1;
  for (std::size_t d = request.dimension + 1; d < tensor.shape.size(); ++d)
    inner *= tensor.shape[d];
  const std::uint64_t extent = tensor.shape[request.dimension];
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i * element < total; ++i) {
    const std::uint64_t along = i / inner % extent;
    if (along < request.start || along >= request.stop) continue;
    bytes.insert(bytes.end(), base + i * element, base + (i + 1) * element);
  }
  return bytes;
}

}  // namespace streamer::test
