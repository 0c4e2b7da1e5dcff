// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/name_index.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

// As of a large model.
std::vector<std::string> many_names(std::uint32_t count) {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; ++i)
    names.push_back("model.layers." + std::to_string(i / 1000) + ".mlp.experts." +
                    std::to_string(i % 1000) + ".weight");
  return names;
}

}  // namespace

TEST_CASE("names are found, also those of one hash", "[name_index]") {
  const auto names = many_names(300'000);
  std::unordered_map<std::uint32_t, int> hashes;
  for (const std::string& name : names)
    ++hashes[static_cast<std::uint32_t>(std::hash<std::string_view>()(name))];
  // So many names have the same 32 bits by chance.
  REQUIRE(hashes.size() < names.size());

  const auto name_of = [&](std::uint32_t number) -> std::string_view { return names[number]; };
  const NameIndex index(static_cast<std::uint32_t>(names.size()), name_of);
  CHECK_FALSE(index.twice(name_of));
  bool all_found = true;
  for (std::uint32_t i = 0; i < names.size(); ++i)
    all_found = all_found && index.find(names[i], name_of) == i;
  CHECK(all_found);
  CHECK_FALSE(index.find("model.layers.0", name_of));
  CHECK_FALSE(index.find("", name_of));
}

TEST_CASE("of several of one name, the first is found, and the first two are told",
          "[name_index]") {
  auto names = many_names(1000);
  names[900] = names[7];
  names[800] = names[7];
  names[300] = names[9];
  const auto name_of = [&](std::uint32_t number) -> std::string_view { return names[number]; };
  const NameIndex index(static_cast<std::uint32_t>(names.size()), name_of);
  CHECK(index.twice(name_of) == std::pair(7U, 800U));
  CHECK(index.find(names[7], name_of) == 7U);
  CHECK(index.find(names[9], name_of) == 9U);
  CHECK(index.find(names[10], name_of) == 10U);
}

TEST_CASE("an index of nothing finds nothing", "[name_index]") {
  const auto name_of = [](std::uint32_t) { return std::string_view("w"); };
  for (const NameIndex& index : {NameIndex(), NameIndex(0, name_of)}) {
    CHECK_FALSE(index.twice(name_of));
    CHECK_FALSE(index.find("w", name_of));
  }
  CHECK(NameIndex(1, name_of).find("w", name_of) == 0U);
  CHECK_FALSE(NameIndex(1, name_of).twice(name_of));
}
