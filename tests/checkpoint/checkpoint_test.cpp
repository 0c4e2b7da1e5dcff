// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// A file with one tensor of 4 bytes for each name.
std::string file_of(const std::vector<std::string>& names, std::string_view padding = "") {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += fmt::format(R"({}"{}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}})",
                          i == 0 ? "" : ",", names[i], 4 * i, 4 * i + 4);
  }
  return safetensors_file(header + "}" + std::string(padding), 4 * names.size());
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& weights) {
  std::string text = R"({"metadata":{"total_size":1},"weight_map":{)";
  const char* separator = "";
  for (const auto& [tensor, shard] : weights) {
    text += fmt::format(R"({}"{}":"{}")", separator, tensor, shard);
    separator = ",";
  }
  return text + "}}";
}

Result<std::shared_ptr<const Checkpoint>> open(const std::vector<std::string>& uris) {
  return open_checkpoint(uris, std::make_shared<Stores>(Settings()));
}

struct Folder : TemporaryFolder {
  std::string write(const std::string& name, std::string_view text) const {
    return write_text(path() / name, text).string();
  }
};

}  // namespace

TEST_CASE("files are opened in the order given, and their tensors in the files' order",
          "[checkpoint]") {
  const Folder folder;
  const std::string b = folder.write("b.safetensors", file_of({"x", "y"}));
  const std::string a = folder.write("a.safetensors", file_of({"z"}));
  const auto checkpoint = open({b, "file://" + a});
  REQUIRE(checkpoint);
  REQUIRE((*checkpoint)->objects.size() == 2);
  CHECK((*checkpoint)->objects[0].object.uri.path() == b);
  CHECK((*checkpoint)->tensors.size() == 3);
  CHECK((*checkpoint)->tensors[2].name == "z");
  CHECK((*checkpoint)->tensors[2].object == 1);
  CHECK((*checkpoint)->tensors.total_bytes() == 12);
}

TEST_CASE("a folder is all its safetensors files, sorted, without hidden ones", "[checkpoint]") {
  const Folder folder;
  folder.write("2.safetensors", file_of({"b"}));
  folder.write("1.safetensors", file_of({"a"}));
  folder.write(".3.safetensors", "nonsense");
  folder.write("notes.txt", "nonsense");
  folder.write("sub/4.safetensors", "nonsense");
  for (const std::string& uri : {folder.path().string(), folder.path().string() + "/"}) {
    const auto checkpoint = open({uri});
    REQUIRE(checkpoint);
    REQUIRE((*checkpoint)->objects.size() == 2);
    CHECK((*checkpoint)->tensors[0].name == "a");
  }
}

TEST_CASE("a folder with an index is the shards that the index names", "[checkpoint]") {
  const Folder folder;
  folder.write("one.safetensors", file_of({"a"}));
  folder.write("sub/two.safetensors", file_of({"b"}));
  folder.write("consolidated.safetensors", file_of({"a", "b"}));
  const std::string index =
      folder.write("model.safetensors.index.json",
                   index_of({{"a", "one.safetensors"}, {"b", "sub/two.safetensors"}}));
  for (const std::string& uri : {folder.path().string(), index}) {
    const auto checkpoint = open({uri});
    REQUIRE(checkpoint);
    CHECK((*checkpoint)->objects.size() == 2);
    CHECK((*checkpoint)->tensors.size() == 2);
  }
}

TEST_CASE("what an index claims must hold", "[checkpoint]") {
  const Folder folder;
  folder.write("one.safetensors", file_of({"a"}));
  const auto with_index = [&](std::string_view text) {
    folder.write("model.safetensors.index.json", text);
    auto checkpoint = open({folder.path().string()});
    REQUIRE_FALSE(checkpoint);
    return std::move(checkpoint).error();
  };
  const Error missing = with_index(index_of({{"a", "one.safetensors"}, {"b", "two.safetensors"}}));
  CHECK(missing.kind() == ErrorKind::not_found);
  CHECK_THAT(missing.line(), Catch::Contains("two.safetensors") && Catch::Contains("index.json"));
  const Error mismatch = with_index(index_of({{"a", "one.safetensors"}, {"b", "one.safetensors"}}));
  CHECK(mismatch.kind() == ErrorKind::corrupt);
  CHECK_THAT(mismatch.message(), Catch::StartsWith("IndexMismatch") && Catch::Contains("\"b\""));
  for (const char* shard :
       {"../one.safetensors", "/etc/passwd", "a//b", ".", "", "a/../b", "./a"}) {
    CAPTURE(shard);
    CHECK(with_index(index_of({{"a", shard}})).kind() == ErrorKind::corrupt);
  }
  for (const char* text : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
                           R"({"weight_map":{},"weight_map":{}})", R"({"weight_map":{}}x)"}) {
    CAPTURE(text);
    CHECK(with_index(text).kind() == ErrorKind::corrupt);
  }
}

TEST_CASE("the same tensor in two files is an error that names both", "[checkpoint]") {
  const Folder folder;
  const std::string one = folder.write("1.safetensors", file_of({"a", "same"}));
  const std::string two = folder.write("2.safetensors", file_of({"same"}));
  const auto checkpoint = open({one, two});
  REQUIRE_FALSE(checkpoint);
  CHECK(checkpoint.error().kind() == ErrorKind::corrupt);
  CHECK_THAT(checkpoint.error().line(), Catch::Contains("DuplicateKey") &&
                                            Catch::Contains("\"same\"") && Catch::Contains(one) &&
                                            Catch::Contains(two));
}

TEST_CASE("the same file twice, an empty folder and nothing at all are refused", "[checkpoint]") {
  const Folder folder;
  const std::string one = folder.write("sub/1.safetensors", file_of({"a"}));
  CHECK(open({one, one}).error().kind() == ErrorKind::invalid_argument);
  CHECK(open({}).error().kind() == ErrorKind::invalid_argument);
  CHECK(open({folder.path().string()}).error().kind() == ErrorKind::not_found);
  CHECK(open({folder.path().string() + "/none"}).error().kind() == ErrorKind::not_found);
}

TEST_CASE("what is no regular file is refused without waiting for it", "[checkpoint][D06]") {
  const Folder folder;
  const std::string fifo = (folder.path() / "fifo.safetensors").string();
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(open({fifo}).error().kind() == ErrorKind::invalid_argument);
  CHECK(open({"/dev/null"}).error().kind() == ErrorKind::invalid_argument);
  const auto empty = open({folder.write("empty.safetensors", "")});
  CHECK_THAT(empty.error().message(), Catch::StartsWith("HeaderTooSmall"));
}

TEST_CASE("headers of any length around the first read are read whole", "[checkpoint]") {
  const Folder folder;
  const std::string plain = file_of({"a"});
  // The first read is 256 KiB: the header's end falls before, on and behind it.
  for (std::uint64_t end = 256 * kKiB - 9; end <= 256 * kKiB + 9; ++end) {
    const std::uint64_t without = plain.size() - 4;
    const std::string file = file_of({"a"}, std::string(end - without, ' '));
    CAPTURE(end);
    const auto checkpoint = open({folder.write("a.safetensors", file)});
    REQUIRE(checkpoint);
    CHECK((*checkpoint)->objects[0].header_bytes == end - 8);
  }
}

TEST_CASE("many files are opened, and the first broken one is the error", "[checkpoint]") {
  const Folder folder;
  for (int i = 0; i < 200; ++i) {
    folder.write(fmt::format("{:03}.safetensors", i), file_of({fmt::format("t{}", i)}));
  }
  REQUIRE(open({folder.path().string()}));
  folder.write("150.safetensors", "broken");
  folder.write("050.safetensors", "broken as well");
  const auto checkpoint = open({folder.path().string()});
  REQUIRE_FALSE(checkpoint);
  CHECK_THAT(checkpoint.error().fields().uri, Catch::Contains("050.safetensors"));
}

TEST_CASE("files that are something else say what they are", "[checkpoint]") {
  const Folder folder;
  const std::vector<std::pair<std::string, std::string>> others = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"},
      {"<!DOCTYPE html><html></html>", "HTML page"},
      {std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 10), "gzip"},
      {std::string("PK\x03\x04\x14\x00\x00\x00\x08\x00", 10), "zip"},
      {std::string("\x80\x02}q\x00X\x00\x00\x00\x00", 10), "pickle"},
  };
  for (const auto& [text, word] : others) {
    CAPTURE(word);
    const auto checkpoint = open({folder.write("x.safetensors", text)});
    REQUIRE_FALSE(checkpoint);
    CHECK(checkpoint.error().kind() == ErrorKind::corrupt);
    CHECK_THAT(checkpoint.error().message(), Catch::Contains(word));
  }
}
