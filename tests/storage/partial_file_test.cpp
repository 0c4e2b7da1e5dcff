// SPDX-License-Identifier: Apache-2.0
// Files that appear whole or not at all, while others tidy up.
#include "download/partial_file.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

using namespace streamer;
namespace fs = std::filesystem;

namespace {

core::UniqueFd open_folder(const fs::path& path) {
  return core::UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::vector<std::byte> text(std::string_view from) {
  std::vector<std::byte> bytes;
  for (const char c : from)
    bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

std::size_t entries_of(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("whoever tidies up never takes away what somebody just made", "[partial]") {
  // Both ways to make one: without a name, and with one where a file system has no other.
  for (const bool must_be_named : {false, true}) {
    INFO("named: " << must_be_named);
    const test::TemporaryFolder folder;
    const core::UniqueFd root = open_folder(folder.path());
    constexpr int kRounds = 400;
    constexpr int kMakers = 4;
    std::atomic<int> running{kMakers};
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int maker = 0; maker < kMakers; ++maker) {
      threads.emplace_back([&, maker] {
        for (int round = 0; round < kRounds; ++round) {
          auto file = must_be_named ? core::PartialFile::make_named(root.get(), 0666)
                                    : core::PartialFile::make(root.get(), 0666);
          const bool is_made = file && file->write(text("whole")) &&
                               file->become("file" + std::to_string(maker % 2));
          if (!is_made) ++failures;
        }
        --running;
      });
    }
    while (running != 0)
      core::remove_leftovers(root.get());
    for (std::thread& thread : threads)
      thread.join();
    CHECK(failures == 0);
    CHECK(entries_of(folder.path()) == 2);
    std::string found;
    std::ifstream(folder.path() / "file0") >> found;
    CHECK(found == "whole");
  }
}

TEST_CASE("leftovers go wherever they are, and nothing else does", "[partial]") {
  const test::TemporaryFolder folder;
  const fs::path deep = folder.path() / "a" / "b" / "c";
  fs::create_directories(deep);
  const test::TemporaryFolder outside;
  fs::create_directory_symlink(outside.path(), deep / "link");
  const auto put = [](const fs::path& path) { std::ofstream(path) << "x"; };
  const char* const name = ".streamer-1-0000002a.partial";
  put(deep / name);
  put(folder.path() / name);
  put(outside.path() / name);
  put(deep / ".streamer-notes");
  put(deep / "x.partial");
  fs::create_directory(deep / ".streamer-2-00000000.partial");
  put(folder.path() / "a" / ".streamer-3-00000000.partial");
  const core::UniqueFd used(
      ::open((folder.path() / "a" / ".streamer-3-00000000.partial").c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(::flock(used.get(), LOCK_EX) == 0);
  core::remove_leftovers(open_folder(folder.path()).get());
  CHECK_FALSE(fs::exists(deep / name));
  CHECK_FALSE(fs::exists(folder.path() / name));
  CHECK(fs::exists(outside.path() / name));
  CHECK(fs::exists(deep / ".streamer-notes"));
  CHECK(fs::exists(deep / "x.partial"));
  CHECK(fs::exists(deep / ".streamer-2-00000000.partial"));
  CHECK(fs::exists(folder.path() / "a" / ".streamer-3-00000000.partial"));
}

TEST_CASE("a file that never became whole leaves nothing", "[partial]") {
  const test::TemporaryFolder folder;
  const core::UniqueFd root = open_folder(folder.path());
  for (const bool must_be_named : {false, true}) {
    auto file = must_be_named ? core::PartialFile::make_named(root.get(), 0666)
                              : core::PartialFile::make(root.get(), 0666);
    REQUIRE(file);
    REQUIRE(file->write(text("half")));
    REQUIRE(file->clear());
    // In the place of a folder nothing can be put.
    fs::create_directory(folder.path() / "taken");
    CHECK_FALSE(file->become("taken"));
    fs::remove(folder.path() / "taken");
  }
  CHECK(entries_of(folder.path()) == 0);
}
