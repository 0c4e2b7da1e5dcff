// SPDX-License-Identifier: Apache-2.0
// Another format, as one would come: beside safetensors, without anything behind the header
// knowing.
#include "checkpoint/format.hpp"

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/slice.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// "TOY", one digit with the number of tensors, "t0", "t1" and so on, and then 8 bytes of each.
bool recognises_toy(std::span<const std::byte> first, std::uint64_t) {
  constexpr std::string_view kMagic = "TOY";
  return first.size() >= kMagic.size() &&
         std::memcmp(first.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<FileHeader> read_toy(const OpeningFile& file, HeaderRules) {
  char digit = 0;
  TRY(file.read(3, std::span(&digit, 1)));
  FileHeader header{
      .tensors = {}, .metadata = {{"format", "toy"}}, .text_bytes = 4, .head_bytes = 4};
  const auto tensors = static_cast<std::uint64_t>(digit - '0');
  if (file.bytes != 4 + 8 * tensors)
    return Error(ErrorKind::corrupt, "ToySize: a toy has another size").at("", {3, 1});
  const std::uint64_t shape[] = {2};
  for (std::uint64_t t = 0; t < tensors; ++t)
    header.tensors.add({.name = "t" + std::to_string(t),
                        .dtype = Dtype::f32,
                        .shape = shape,
                        .object = 0,
                        .bytes = {4 + 8 * t, 8}});
  static_cast<void>(header.tensors.finish());
  return header;
}

constexpr Format kToyFirst[] = {
    {"toy", ".toy", recognises_toy, read_toy},
    {"safetensors", ".safetensors", [](std::span<const std::byte>, std::uint64_t) { return true; },
     [](const OpeningFile& file, HeaderRules rules) {
       return formats().back().read_header(file, rules);
     }}};

auto open_with_toys(const std::vector<std::string>& uris) {
  return open_checkpoint(uris, std::make_shared<Stores>(Settings()), {.formats = kToyFirst});
}

}  // namespace

TEST_CASE("files of another format stand beside safetensors in one checkpoint", "[format]") {
  const TemporaryFolder folder;
  const std::string toy =
      write_text(folder.path() / "a.toy", "TOY2" + std::string(16, 'x')).string();
  const std::string usual =
      write_text(folder.path() / "b.safetensors",
                 safetensors_file(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1))
          .string();
  const auto checkpoint = open_with_toys({toy, usual});
  REQUIRE(checkpoint);
  const TensorTable& tensors = (*checkpoint)->tensors;
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[1].name == "t1");
  CHECK(tensors[1].bytes.offset == 12);
  CHECK(tensors[2].name == "w");
  CHECK((*checkpoint)->objects[0].metadata.front().second == "toy");
  CHECK(slice_bytes(tensors[1], {0, 1, 2})->offset == 16);
  // What is wrong is said with its place, as of every format.
  const std::string wrong =
      write_text(folder.path() / "c.toy", "TOY3" + std::string(16, 'x')).string();
  const Error error = open_with_toys({wrong}).error();
  CHECK(error.line().starts_with(wrong + " bytes 3-3: ToySize: a toy has another size"));
  // A file of no format is safetensors' to judge.
  const std::string none = write_text(folder.path() / "d", "TO").string();
  CHECK_THAT(open_with_toys({none}).error().line(), Catch::Contains("HeaderTooSmall"));
}

TEST_CASE("names of a format's suffix are its files", "[format]") {
  CHECK(has_format_suffix("model.safetensors"));
  CHECK(has_format_suffix("MODEL.SafeTensors"));
  CHECK_FALSE(has_format_suffix(".safetensors"));
  CHECK_FALSE(has_format_suffix("model.toy"));
}

TEST_CASE("dtypes of blocks have whole blocks", "[format]") {
  // 32 elements of 4 bits and a scale of 16.
  const DtypeRow blocks{Dtype::f4, "Q4_0", 144, 32, std::nullopt};
  CHECK(bits_of(blocks, 0) == 0U);
  CHECK(bits_of(blocks, 64) == 288U);
  CHECK_FALSE(bits_of(blocks, 33));
  CHECK_FALSE(bits_of(blocks, UINT64_MAX - 31));
  CHECK(bits_of(dtype_row(Dtype::bf16), 3) == 48U);
}
