// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>

#include "checkpoint/model_sources.hpp"
#include "checkpoint/rank_parts.hpp"
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

TEST_CASE("files of several ranks in one model are told how they are opened", "[checkpoint]") {
  const Folder folder;
  const auto error_of = [&](const std::string& first, const std::string& second) {
    const auto checkpoint =
        open({folder.write(first, file_of({"a"})), folder.write(second, file_of({"a"}))});
    REQUIRE_FALSE(checkpoint);
    return checkpoint.error().line();
  };
  CHECK_THAT(error_of("model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"),
             Catch::Contains("streamer_checkpoint_open_rank"));
  CHECK_THAT(error_of("bge-reranker-1.safetensors", "bge-reranker-2.safetensors"),
             !Catch::Contains("streamer_checkpoint_open_rank"));
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

TEST_CASE("what is not a regular file is refused without waiting for it", "[checkpoint][D06]") {
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

TEST_CASE("files that are something else say what they are", "[checkpoint][P9]") {
  const Folder folder;
  const std::vector<std::pair<std::string, std::string>> others = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"},
      {"<!DOCTYPE html><html></html>", "HTML page"},
      {std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 10), "gzip"},
      {std::string("PK\x03\x04\x14\x00\x00\x00\x08\x00", 10), "zip"},
      {std::string("\x80\x02}q\x00X\x00\x00\x00\x00", 10), "pickle"},
      {std::string("\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00", 10), "pickle"},
      {std::string("\x93NUMPY\x01\x00v\x00{'descr': '<f4'", 25), "NumPy file (.npy)"},
      {std::string("\x08\x07\x12\x07pytorch\x1a\x05", 13), "ONNX"},
      {std::string("\x08\x0a:\xc0\x01\x0a\x20\x0a\x01x\x12", 11), "ONNX"},
      {"\x89HDF\r\n\x1a\n\x02\x08\x08", "HDF5"},
      {"GGUF\x03\x01\x01\x01\x01\x01\x01", "GGUF"},
      {std::string("\x28\xb5\x2f\xfd\x04\x58\x01\x01\x01", 9), "zstd"},
      {"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>", "XML"},
      {"  <Error><Code>AccessDenied</Code></Error>", "XML"},
      {"\n\n<HTML><BODY>Not found</BODY></HTML>", "HTML"},
      {R"({"error": "Repository not found"})", "JSON"},
      {R"([1, 2, 3, 4])", "JSON"},
      {"Entry not found", "text"},
      {"Invalid username or password.", "text"},
      {std::string(4096, '\0'), "zeros"},
      {"", "empty"},
  };
  for (const auto& [text, word] : others) {
    CAPTURE(word);
    const auto checkpoint = open({folder.write("x.safetensors", text)});
    REQUIRE_FALSE(checkpoint);
    CHECK(checkpoint.error().kind() == ErrorKind::corrupt);
    CHECK_THAT(checkpoint.error().message(), Catch::Contains(word));
  }
}

TEST_CASE("an index that is something else says what it is", "[checkpoint][P5]") {
  const Folder folder;
  folder.write("model.safetensors", file_of({"a"}));
  const std::vector<std::pair<std::string, std::string>> others = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"},
      {"<!DOCTYPE html><html></html>", "HTML page"},
      {"Entry not found", "text"},
      {"", "empty"},
  };
  for (const auto& [text, word] : others) {
    CAPTURE(word);
    const std::string index = folder.write("model.safetensors.index.json", text);
    for (const std::string& uri : {folder.path().string(), index}) {
      const auto checkpoint = open({uri});
      REQUIRE_FALSE(checkpoint);
      CHECK(checkpoint.error().kind() == ErrorKind::corrupt);
      CHECK_THAT(checkpoint.error().line(), Catch::Contains(word) && Catch::Contains(index));
    }
  }
}

TEST_CASE("a link to nothing is no smaller model", "[checkpoint][P1]") {
  const Folder folder;
  folder.write("a.safetensors", file_of({"a"}));
  const auto link = folder.path() / "b.safetensors";
  std::filesystem::create_symlink("../../blobs/0123", link);
  const auto broken = open({folder.path().string()});
  REQUIRE_FALSE(broken);
  CHECK(broken.error().kind() == ErrorKind::not_found);
  CHECK_THAT(broken.error().line(), Catch::Contains("b.safetensors") &&
                                        Catch::Contains("../../blobs/0123") &&
                                        Catch::Contains(folder.path().string()));
  std::filesystem::remove(link);
  std::filesystem::create_symlink("b.safetensors", link);
  CHECK_THAT(open({folder.path().string()}).error().message(),
             Catch::Contains("symbolic links") && Catch::Contains("b.safetensors"));
  std::filesystem::remove(link);
  const Folder blobs;
  std::filesystem::create_symlink(blobs.write("blob", file_of({"b"})), link);
  CHECK((*open({folder.path().string()}))->tensors.size() == 2);
}

TEST_CASE("a set of parts is whole, or an error", "[checkpoint][P2]") {
  const Folder folder;
  const std::string first = folder.write("model-00001-of-00002.safetensors", file_of({"a"}));
  const auto half = open({folder.path().string()});
  REQUIRE_FALSE(half);
  CHECK(half.error().kind() == ErrorKind::corrupt);
  CHECK_THAT(half.error().line(), Catch::Contains("missing: 2"));
  // Who names a file means that one.
  CHECK(open({first}));
  folder.write("model-00002-of-00002.safetensors", file_of({"b"}));
  CHECK((*open({folder.path().string()}))->tensors.size() == 2);
}

TEST_CASE("of two layouts one is opened, and both if both are named", "[checkpoint][P4]") {
  const Folder folder;
  const std::string model = folder.write("model.safetensors", file_of({"a"}));
  const std::string other = folder.write("consolidated.safetensors", file_of({"layers.a"}));
  const auto one = open({folder.path().string()});
  REQUIRE(one);
  CHECK((*one)->objects.size() == 1);
  CHECK((*one)->objects[0].object.uri.path() == model);
  REQUIRE((*one)->notes.size() == 1);
  CHECK_THAT((*one)->notes[0], Catch::Contains("consolidated.safetensors") &&
                                   Catch::Contains(folder.path().string()));
  const auto both = open({model, other});
  REQUIRE(both);
  CHECK((*both)->tensors.size() == 2);
  CHECK((*both)->notes.empty());
}

TEST_CASE("the index of a variant is an index", "[checkpoint][P6]") {
  const Folder folder;
  folder.write("x.fp16-00001-of-00002.safetensors", file_of({"a"}));
  folder.write("x.fp16-00002-of-00002.safetensors", file_of({"b"}));
  folder.write("stray.safetensors", file_of({"a"}));
  const std::string text = index_of(
      {{"a", "x.fp16-00001-of-00002.safetensors"}, {"b", "x.fp16-00002-of-00002.safetensors"}});
  const std::string index = folder.write("model.safetensors.index.fp16.json", text);
  for (const std::string& uri : {folder.path().string(), index}) {
    const auto checkpoint = open({uri});
    REQUIRE(checkpoint);
    CHECK((*checkpoint)->tensors.size() == 2);
  }
  folder.write("model.safetensors.index.bf16.json", text);
  const auto several = open({folder.path().string()});
  REQUIRE_FALSE(several);
  CHECK(several.error().kind() == ErrorKind::invalid_argument);
  CHECK_THAT(several.error().message(), Catch::Contains("model.safetensors.index.fp16.json") &&
                                            Catch::Contains("model.safetensors.index.bf16.json"));
  CHECK(open({index}));
}

TEST_CASE("a hub's cache is the snapshot that refs/main names", "[checkpoint][P7]") {
  const Folder folder;
  const std::string cache = (folder.path() / "models--org--name").string();
  folder.write("models--org--name/snapshots/abc1/model.safetensors", file_of({"old"}));
  const std::string blob = folder.write("models--org--name/blobs/77", file_of({"new"}));
  std::filesystem::create_directories(cache + "/snapshots/abc2");
  std::filesystem::create_symlink("../../blobs/77", cache + "/snapshots/abc2/model.safetensors");
  const auto without = open({cache});
  REQUIRE_FALSE(without);
  CHECK(without.error().kind() == ErrorKind::not_found);
  CHECK_THAT(without.error().message(), Catch::Contains("abc1") && Catch::Contains("abc2"));
  folder.write("models--org--name/refs/main", "abc2\n");
  const auto checkpoint = open({cache});
  REQUIRE(checkpoint);
  CHECK((*checkpoint)->tensors[0].name == "new");
  CHECK_THAT((*checkpoint)->notes.at(0), Catch::Contains("abc2"));
  folder.write("models--org--name/refs/main", "../../../etc");
  CHECK_THAT(open({cache}).error().message(), Catch::Contains("abc1"));
  std::filesystem::remove(blob);
  folder.write("models--org--name/refs/main", "abc2");
  CHECK_THAT(open({cache}).error().message(), Catch::Contains("../../blobs/77"));
}

TEST_CASE("a folder of models names those that hold some", "[checkpoint][P8]") {
  const Folder folder;
  folder.write("model_index.json", "{}");
  folder.write("scheduler/config.json", "{}");
  folder.write("unet/model.safetensors", file_of({"a"}));
  folder.write("vae/model.safetensors", file_of({"b"}));
  const auto root = open({folder.path().string()});
  REQUIRE_FALSE(root);
  CHECK(root.error().kind() == ErrorKind::not_found);
  CHECK_THAT(root.error().message(),
             Catch::Contains("unet") && Catch::Contains("vae") && !Catch::Contains("scheduler"));
}

TEST_CASE("a model is listed as it is opened", "[checkpoint][P3]") {
  const Folder folder;
  Stores stores{Settings()};
  folder.write("one.safetensors", file_of({"a"}));
  const std::string two = folder.write("sub/two.safetensors", file_of({"b"}));
  const std::string index =
      folder.write("model.safetensors.index.json",
                   index_of({{"a", "one.safetensors"}, {"b", "sub/two.safetensors"}}));
  for (const std::string& uri : {folder.path().string(), index}) {
    const auto model = list_model(stores, uri);
    REQUIRE(model);
    REQUIRE(model->objects.size() == 2);
    CHECK(model->objects[1].uri.path() == two);
    CHECK(model->objects[1].size == file_of({"b"}).size());
  }
  for (const std::string name : {"sub/two.safetensors", "one.safetensors"}) {
    std::filesystem::remove(folder.path() / name);
    for (const std::string& uri : {folder.path().string(), index}) {
      const auto model = list_model(stores, uri);
      REQUIRE_FALSE(model);
      CHECK(model.error().kind() == ErrorKind::not_found);
      CHECK_THAT(model.error().line(),
                 Catch::Contains(name) && Catch::Contains("model.safetensors.index.json"));
    }
    folder.write(name, file_of({name == "one.safetensors" ? "a" : "b"}));
  }
  std::filesystem::remove(index);
  const auto empty = list_model(stores, (folder.path() / "sub").string());
  CHECK(empty->objects.size() == 1);
  std::filesystem::remove(folder.path() / "one.safetensors");
  const auto none = list_model(stores, folder.path().string());
  REQUIRE(none);
  CHECK(none->objects.empty());
  CHECK_THAT(none->notes.at(0), Catch::Contains("sub"));
}

TEST_CASE("a rank's last part may not be a link to nothing", "[checkpoint][P1]") {
  const Folder folder;
  folder.write("model-rank-0-part-0.safetensors", file_of({"a"}));
  std::filesystem::create_symlink("gone", folder.path() / "model-rank-0-part-1.safetensors");
  Stores stores{Settings()};
  const std::string pattern = "model-rank-{rank}-part-{part}.safetensors";
  const auto parts = find_rank_parts(stores, folder.path().string(), pattern, 0);
  REQUIRE_FALSE(parts);
  CHECK_THAT(parts.error().message(), Catch::Contains("gone"));
}
