// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/model_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>

#include "support/catch.hpp"

using namespace streamer::core;
using Catch::Contains;

namespace {

using Names = std::vector<std::string>;

FolderContent content(Names files, Names folders = {}) {
  std::sort(files.begin(), files.end());
  return {std::move(files), std::move(folders), {}};
}

ModelFiles choose(const Names& files) {
  const auto chosen = choose_model_files(content(files));
  if (!chosen) FAIL(chosen.error().line());
  return *chosen;
}

Error refusal(const FolderContent& folder) {
  auto chosen = choose_model_files(folder);
  if (chosen)
    FAIL("chosen: " << chosen->index << " " << fmt::format("{}", fmt::join(chosen->files, ",")));
  return std::move(chosen).error();
}
Error refusal(const Names& files) {
  return refusal(content(files));
}

// "x-00002-of-00003.safetensors" and so on.
Names parts_of(const std::string& stem, int parts, int begin = 1) {
  Names names;
  for (int i = begin; i < parts + begin; ++i)
    names.push_back(fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i, parts));
  return names;
}

Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end());
  return a;
}

std::string all_notes(const ModelFiles& chosen) {
  return fmt::format("{}", fmt::join(chosen.notes, "\n"));
}

}  // namespace

TEST_CASE("a folder without an index is all its safetensors files", "[model_files]") {
  for (const Names& files :
       {Names{"model.safetensors"}, Names{"a.safetensors", "b.safetensors"},
        Names{"model.safetensors", "mtp.safetensors"}, Names{"consolidated.safetensors"},
        Names{"adapter_model.safetensors"}, Names{"A.SAFETENSORS", "b.safetensors"},
        Names{"model.fp16.safetensors"}, parts_of("model", 7), parts_of("a", 2) + parts_of("b", 3),
        parts_of("", 2), parts_of("model", 3, 0), parts_of("model.fp16", 2),
        Names{"model-00001-of-00001.safetensors"},
        Names{"x_1_of_2.safetensors", "x_2_of_2.safetensors"},
        Names{"model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"}}) {
    CAPTURE(files);
    const ModelFiles chosen = choose(files + Names{"config.json", "README.md"});
    CHECK(chosen.index.empty());
    CHECK(chosen.files == files);
    CHECK(chosen.notes.empty());
  }
}

TEST_CASE("a part that is not there is an error that numbers it", "[model_files][P2]") {
  const auto without = [](Names names, std::size_t missing) {
    names.erase(names.begin() + static_cast<std::ptrdiff_t>(missing));
    return names;
  };
  const std::vector<std::pair<Names, std::string>> cases = {
      {{"model-00001-of-00002.safetensors"}, "missing: 2"},
      {{"model-00002-of-00002.safetensors"}, "missing: 1"},
      {{"Model-00001-OF-00002.Safetensors"}, "missing: 2"},
      {without(parts_of("model", 7), 3), "missing: 4"},
      {without(parts_of("model.fp16", 3), 0), "missing: 1"},
      {parts_of("a", 2) + without(parts_of("b", 2), 1), "missing: 2"},
      {without(parts_of("model", 3, 0), 2), "missing: 2"},
      {{"model-00001-of-99999.safetensors"}, "99998 are missing: 2, 3, 4, 5, 6, ..."},
      {{"model-00001-of-00002.fp16.safetensors"}, "missing: 2"},
      {{"pytorch_model_00001-of-00002.safetensors"}, "missing: 2"},
  };
  for (const auto& [files, words] : cases) {
    CAPTURE(files);
    const Error error = refusal(files);
    CHECK(error.kind() == ErrorKind::corrupt);
    CHECK_THAT(error.message(), Catch::StartsWith("MissingPart") && Contains(words));
  }
  CHECK_THAT(refusal({"model-00005-of-00003.safetensors"}).message(), Contains("part 5 of 3"));
  CHECK_THAT(refusal({"m-1-of-2.safetensors", "m-01-of-2.safetensors"}).message(),
             Contains("twice"));
}

TEST_CASE("two models in one folder are no choice of ours", "[model_files][P4]") {
  for (const Names& files : {parts_of("model", 2) + parts_of("model", 3),
                             parts_of("model", 2) + Names{"model.safetensors"},
                             Names{"model.fp16.safetensors", "model.bf16.safetensors"}}) {
    CAPTURE(files);
    const Error error = refusal(files);
    CHECK(error.kind() == ErrorKind::invalid_argument);
    CHECK_THAT(error.message(), Contains("name the files"));
  }
}

TEST_CASE("of two layouts of a model the usual one is taken, and that is said",
          "[model_files][P4]") {
  struct Case {
    Names taken;
    Names left;
  };
  for (const Case& one : std::vector<Case>{
           {{"model.safetensors"}, {"consolidated.safetensors"}},
           {{"model.safetensors"}, {"consolidated.00.safetensors", "consolidated.01.safetensors"}},
           {parts_of("model", 2), {"consolidated.safetensors"}},
           {parts_of("model", 2), parts_of("consolidated", 4)},
           {{"model.safetensors"}, {"consolidated-00001-of-00002.safetensors"}},
           {{"model.safetensors"}, {"adapter_model.safetensors"}},
           {{"model.safetensors"}, {"optimizer.safetensors", "training_state.safetensors"}},
           {{"consolidated.safetensors"}, {"optimizer.safetensors"}},
           {{"diffusion_pytorch_model.safetensors"}, {"diffusion_pytorch_model.fp16.safetensors"}},
           {{"diffusion_pytorch_model.safetensors"},
            {"diffusion_pytorch_model.non_ema.safetensors"}},
           {parts_of("model", 2), parts_of("model.fp16", 2)},
       }) {
    CAPTURE(one.taken, one.left);
    const ModelFiles chosen = choose(one.taken + one.left);
    CHECK(chosen.files == one.taken);
    for (const std::string& name : one.left)
      CHECK_THAT(all_notes(chosen), Contains("\"" + name + "\""));
  }
}

TEST_CASE("an index of any name and variant is the folder's index", "[model_files][P6]") {
  for (const std::string name :
       {"model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json",
        "model.safetensors.fp16.index.json", "model.safetensors.index.8bit.json",
        "Model.safetensors.INDEX.json", "consolidated.safetensors.index.json"}) {
    CAPTURE(name);
    CHECK(is_shard_index(name));
    CHECK(choose({name, "a.safetensors", "config.json"}).index == name);
  }
  for (const std::string name : {"index.json", "model.safetensors.json", "model.bin.index.json",
                                 ".safetensors.index.json", "model.safetensors.indexes.json"}) {
    CAPTURE(name);
    CHECK_FALSE(is_shard_index(name));
  }
}

TEST_CASE("of several indexes the plain one is taken, or none", "[model_files][P6]") {
  const std::string plain = "model.safetensors.index.json";
  const ModelFiles chosen =
      choose({plain, "model.safetensors.index.fp16.json", "x.safetensors.index.json"});
  CHECK(chosen.index == plain);
  CHECK_THAT(all_notes(chosen), Contains("fp16") && Contains("x.safetensors"));
  CHECK(choose({"unet.safetensors.index.json", "unet.safetensors.index.fp16.json"}).index ==
        "unet.safetensors.index.json");
  CHECK(choose({plain, "consolidated.safetensors.index.json"}).index == plain);
  // model* needs no index to be taken.
  CHECK(choose({"model.safetensors", "consolidated.safetensors.index.json",
                "consolidated-00001-of-00002.safetensors"})
            .files == Names{"model.safetensors"});
  for (const Names& indexes :
       {Names{"model.safetensors.index.fp16.json", "model.safetensors.index.bf16.json"},
        Names{"model.fp16.safetensors.index.json", "model.bf16.safetensors.index.json"},
        Names{"a.safetensors.index.json", "b.safetensors.index.json"}}) {
    CAPTURE(indexes);
    const Error error = refusal(indexes);
    CHECK(error.kind() == ErrorKind::invalid_argument);
    CHECK_THAT(error.message(),
               Contains(indexes[0]) && Contains(indexes[1]) && Contains("name the one to load"));
  }
}

TEST_CASE("what an index names must stand in the listing", "[model_files][P3]") {
  const std::string index = "model.safetensors.index.json";
  ShardIndex claims{.shards = parts_of("model", 7), .weights = {}};
  FolderContent folder = content(parts_of("model", 7) + Names{index});
  CHECK(files_of_index(folder, index, claims)->files == claims.shards);
  std::erase(folder.files, "model-00004-of-00007.safetensors");
  const auto missing = files_of_index(folder, index, claims);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().kind() == ErrorKind::not_found);
  CHECK_THAT(missing.error().message(),
             Contains("model-00004-of-00007.safetensors") && Contains(index));
  folder.broken = {{"model-00004-of-00007.safetensors", "../../blobs/123", ENOENT}};
  CHECK_THAT(files_of_index(folder, index, claims).error().message(),
             Contains("../../blobs/123") && Contains("model-00004-of-00007.safetensors"));
  folder.broken.clear();
  folder.files.emplace_back("model-00004-of-00007.safetensors.incomplete");
  CHECK_THAT(files_of_index(folder, index, claims).error().message(), Contains("incomplete"));
  // No listing of this folder shows what stands in one below it.
  claims.shards = {"sub/a.safetensors"};
  CHECK(files_of_index(folder, index, claims));
  claims.shards = {};
  CHECK(files_of_index(folder, index, claims).error().kind() == ErrorKind::corrupt);
}

TEST_CASE("what an index leaves out is said, or is a choice", "[model_files][P6]") {
  const ShardIndex claims{.shards = {"a.safetensors"}, .weights = {}};
  const auto chosen = files_of_index(content({"a.safetensors", "b.safetensors"}),
                                     "model.safetensors.index.json", claims);
  REQUIRE(chosen);
  CHECK_THAT(all_notes(*chosen), Contains("\"b.safetensors\""));
  for (const std::string index :
       {"model.safetensors.index.fp16.json", "x.safetensors.index.json"}) {
    CAPTURE(index);
    const auto rival =
        files_of_index(content({"a.safetensors", "model.safetensors"}), index, claims);
    REQUIRE_FALSE(rival);
    CHECK_THAT(rival.error().message(), Contains("\"model.safetensors\"") && Contains(index));
  }
}

TEST_CASE("a link that leads nowhere is named with its target", "[model_files][P1]") {
  FolderContent folder = content({"a.safetensors"});
  folder.broken = {{"b.safetensors", "../../blobs/abc", ENOENT}};
  const Error error = refusal(folder);
  CHECK(error.kind() == ErrorKind::not_found);
  CHECK_THAT(error.message(), Contains("b.safetensors") && Contains("../../blobs/abc"));
  folder.broken[0].os_error = EACCES;
  CHECK_THAT(refusal(folder).message(), Contains("Permission denied"));
  folder.broken = {{"model.safetensors.index.json", "../../blobs/abc", ENOENT}};
  CHECK_THAT(refusal(folder).message(), Contains("../../blobs/abc"));
  folder.broken = {{"tokenizer.json", "../../blobs/abc", ENOENT}};
  CHECK(choose_model_files(folder));
  // What would not be loaded may be broken.
  folder = content({"model.safetensors"});
  folder.broken = {{"consolidated.safetensors", "../../blobs/abc", ENOENT}};
  CHECK(choose_model_files(folder)->files == Names{"model.safetensors"});
}

TEST_CASE("a download that has not ended is no file that may be missing", "[model_files][P1]") {
  for (const std::string end : {".incomplete", ".part", ".crdownload", ".aria2", ".tmp"}) {
    CAPTURE(end);
    CHECK_THAT(refusal({"a.safetensors", "b.safetensors" + end}).message(),
               Contains("b.safetensors" + end));
  }
  CHECK_THAT(refusal({"b.safetensors", "b.safetensors.aria2"}).message(), Contains("aria2"));
  CHECK_THAT(
      refusal({"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors.incomplete"})
          .message(),
      Contains("model-00002-of-00002.safetensors.incomplete"));
  CHECK(choose({"b.safetensors", "b.safetensors.part"}).files == Names{"b.safetensors"});
}

TEST_CASE("a folder without a model says what it holds instead", "[model_files][P8]") {
  CHECK(choose({"config.json"}).files.empty());
  CHECK_THAT(explain_no_model(content({}, {"unet", "vae"}), {"/m/unet/", "/m/vae/"}),
             Contains("no *.safetensors") && Contains("\"/m/unet/\", \"/m/vae/\""));
  CHECK_THAT(explain_no_model(content({"pytorch_model.bin"}), {}),
             Contains("pytorch_model.bin") && Contains("convert it"));
  CHECK_THAT(explain_no_model(content({}), {}), Contains("empty"));
  CHECK_THAT(explain_no_model(content({}, {"models--a--b"}), {}),
             Contains("hub's cache") && Contains("models--a--b"));
  CHECK(is_hub_cache(content({}, {"blobs", "refs", "snapshots"})));
  CHECK_FALSE(is_hub_cache(content({}, {"snapshots"})));
}
