// SPDX-License-Identifier: Apache-2.0
#include "storage/file_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/lab.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("a folder lists what is directly in it, sorted, links followed", "[file_store]") {
  const TemporaryFolder folder;
  write_text(folder.path() / "b", "12345");
  write_text(folder.path() / "a", "");
  write_text(folder.path() / "sub/inner", "x");
  std::filesystem::create_symlink("b", folder.path() / "link");
  std::filesystem::create_symlink("nowhere", folder.path() / "dangling");
  FileStore store;
  const auto entries = store.list({"file", folder.path().string()}, ListDepth::children);
  REQUIRE(entries);
  REQUIRE(entries->size() == 4);
  CHECK((*entries)[0].uri.path() == folder.path() / "a");
  CHECK((*entries)[1].size == 5);
  CHECK((*entries)[2].size == 5);
  CHECK((*entries)[3].is_folder);
  CHECK((*entries)[3].uri.path() == (folder.path() / "sub").string() + "/");
  CHECK(store.list({"file", (folder.path() / "b").string()}, ListDepth::children)->size() == 1);
  CHECK(store.list({"file", "/nowhere"}, ListDepth::children).error().kind() ==
        ErrorKind::not_found);
}

TEST_CASE("a read brings its range, or says that the file changed", "[file_store]") {
  const TemporaryFolder folder;
  const auto path = write_text(folder.path() / "f", "0123456789");
  FileStore store;
  const auto object = stat_file({"file", path.string()});
  REQUIRE(object);
  std::string text(4, ' ');
  const auto to = std::as_writable_bytes(std::span<char>(text));
  REQUIRE(store.read(*object, {3, 4}, to));
  CHECK(text == "3456");
  REQUIRE(::truncate(path.c_str(), 5) == 0);
  const auto changed = store.read(*object, {3, 4}, to);
  REQUIRE_FALSE(changed);
  CHECK(changed.error().kind() == ErrorKind::object_changed);
  CHECK_THAT(changed.error().message(), Catch::Contains("truncated") &&
                                            Catch::Contains("10 bytes") &&
                                            Catch::Contains("has 5"));
}

TEST_CASE("a pinned file is open for reads that wait", "[file_store]") {
  const TemporaryFolder folder;
  const auto path = write_text(folder.path() / "f", "0123456789");
  const auto object = stat_file({"file", path.string()});
  REQUIRE(object);
  const auto plain = open_pinned(*object);
  REQUIRE(plain);
  CHECK((::fcntl(plain->get(), F_GETFL) & O_NONBLOCK) == 0);
  const auto direct = open_pinned(*object, O_DIRECT);
  if (!direct) return skip("the file system of the temporary folder does not have O_DIRECT");
  CHECK((::fcntl(direct->get(), F_GETFL) & (O_NONBLOCK | O_DIRECT)) == O_DIRECT);
}

TEST_CASE("a file that may not be read is permission_denied", "[file_store][D06]") {
  const TemporaryFolder folder;
  const auto path = write_text(folder.path() / "f", "x");
  REQUIRE(::chmod(path.c_str(), 0) == 0);
  const auto look = [&] {
    const auto found = stat_file({"file", path.string()});
    if (found) return 10;
    return found.error().kind() == ErrorKind::permission_denied ? 0 : 11;
  };
  if (::geteuid() != 0) {
    CHECK(look() == 0);
    return;
  }
  // Root may read everything: another user looks.
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  const int status = in_child([&] {
    constexpr uid_t kNobody = 65534;
    if (::setresgid(kNobody, kNobody, kNobody) != 0) return 12;
    if (::setresuid(kNobody, kNobody, kNobody) != 0) return 13;
    return look();
  });
  CHECK(status == 0);
}

TEST_CASE("paths that lead nowhere are errors with their kind", "[file_store][D06]") {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("loop", folder.path() / "loop");
  FileStore store;
  CHECK(stat_file({"file", (folder.path() / "loop").string()}).error().kind() ==
        ErrorKind::not_found);
  CHECK(stat_file({"file", "/" + std::string(300, 'x')}).error().kind() ==
        ErrorKind::invalid_argument);
  CHECK(stat_file({"file", folder.path().string()}).error().kind() == ErrorKind::invalid_argument);
}
