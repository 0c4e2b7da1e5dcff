// SPDX-License-Identifier: Apache-2.0
// Loads around which things change: the file, or what the process may do.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "support/lab.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

struct WayToRead {
  const char* name;
  FileIo file_io;
  bool is_cold;
  bool io_uring;
  bool is_mapped = false;
};

constexpr WayToRead kWaysToRead[] = {{"page cache", FileIo::automatic, false, true},
                                     {"buffered", FileIo::buffered, true, true},
                                     {"direct", FileIo::direct, true, true},
                                     {"direct, no io_uring", FileIo::direct, true, false},
                                     {"mapped", FileIo::automatic, false, true, true}};

// A load of one reader whose first tensor was taken and not released: most of the file is not read
// yet.
struct HalfDone {
  HalfDone(const Lab& of, const WayToRead& way) : lab(of) {
    LoadSettings settings;
    settings.put(setting::kConcurrency, 1);
    settings.put(setting::kChunkBytes, 64 * kKiB);
    if (!way.is_mapped) settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
    settings.put(setting::kFileIo, way.file_io);
    settings.put(setting::kIoUring, way.io_uring);
    if (way.is_cold) make_cold(lab.path(0));
    load = start(lab, settings);
    REQUIRE((load->stats().bytes_mapped != 0) == way.is_mapped);
    first = next(*load);
  }
  // The error that ends it, or nullopt: then every byte was what the file held in the beginning.
  std::optional<Error> finish() {
    const auto requests = everything(*lab.checkpoint);
    lab.check(*first, requests);
    first->release();
    for (;;) {
      auto yielded = load->next(in(30s));
      if (!yielded) return std::move(yielded).error();
      REQUIRE(yielded->outcome != Load::Outcome::not_ready);
      if (yielded->outcome == Load::Outcome::end) return std::nullopt;
      lab.check(*yielded->lease, requests);
      yielded->lease->release();
    }
  }

  const Lab& lab;
  std::unique_ptr<Load> load;
  TensorLease* first = nullptr;
};

struct stat status_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status;
}

// Other bytes of the same size, and the modification time put back.
void rewrite_in_place(const std::filesystem::path& path) {
  const struct stat before = status_of(path);
  const std::vector<std::byte> bytes = random_bytes(static_cast<std::size_t>(before.st_size), 77);
  const UniqueFd fd(::open(path.c_str(), O_WRONLY));
  REQUIRE(fd);
  const timespec times[] = {before.st_atim, before.st_mtim};
  const auto changed = [&] {
    const struct stat now = status_of(path);
    return now.st_ctim.tv_sec != before.st_ctim.tv_sec ||
           now.st_ctim.tv_nsec != before.st_ctim.tv_nsec;
  };
  // The kernel's clock for files may tick as seldom as every 10 ms.
  do {
    REQUIRE(::pwrite(fd.get(), bytes.data(), bytes.size(), 0) ==
            static_cast<ssize_t>(bytes.size()));
    REQUIRE(::futimens(fd.get(), times) == 0);
  } while (!changed());
  REQUIRE(status_of(path).st_mtim.tv_nsec == before.st_mtim.tv_nsec);
}

}  // namespace

TEST_CASE("W2 a file rewritten in place is found out although its time was put back", "[load]") {
  const WayToRead& way = kWaysToRead[GENERATE(0, 1, 2, 3, 4)];
  CAPTURE(way.name);
  const Lab lab(equal_tensors(100, 100'000));
  SECTION("during the load") {
    HalfDone half(lab, way);
    rewrite_in_place(lab.path(0));
    const auto failure = half.finish();
    REQUIRE(failure);
    CHECK(failure->kind() == ErrorKind::object_changed);
    CHECK_THAT(failure->message(), Catch::Contains("ctime"));
  }
  SECTION("between opening and loading") {
    rewrite_in_place(lab.path(0));
    LoadSettings settings;
    settings.put(setting::kFileIo, way.file_io);
    auto load = start(lab, settings);
    CHECK(load->next(in(30s)).error().kind() == ErrorKind::object_changed);
  }
  SECTION("after its mode had changed, which is no reason for the second change") {
    HalfDone half(lab, way);
    REQUIRE(::chmod(lab.path(0).c_str(), 0640) == 0);
    const auto requests = everything(*lab.checkpoint);
    half.first->release();
    half.first = next(*half.load);  // the reader looked in between
    lab.check(*half.first, requests);
    half.first->release();
    half.first = next(*half.load);
    lab.check(*half.first, requests);
    rewrite_in_place(lab.path(0));
    const auto failure = half.finish();
    REQUIRE(failure);
    CHECK(failure->kind() == ErrorKind::object_changed);
  }
}

TEST_CASE("W13 what leaves an open file's bytes alone leaves its load alone", "[load]") {
  const WayToRead& way = kWaysToRead[GENERATE(0, 1, 2, 3, 4)];
  CAPTURE(way.name);
  const Lab lab(equal_tensors(100, 100'000));
  const auto path = lab.path(0);
  const auto other = lab.folder.path() / "other";
  HalfDone half(lab, way);
  SECTION("another file is renamed over it") {
    std::ofstream(other) << std::string(10'000'000, 'x');
    std::filesystem::rename(other, path);
  }
  SECTION("it is unlinked") {
    std::filesystem::remove(path);
  }
  SECTION("it is moved away, and another one put in its place") {
    std::filesystem::rename(path, other);
    std::ofstream(path) << std::string(10'000'000, 'x');
  }
  SECTION("it gets a second name") {
    std::filesystem::create_hard_link(path, other);
  }
  SECTION("its mode changes") {
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
  }
  SECTION("it is read by others") {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes(1'000'000);
    REQUIRE(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())));
  }
  const auto failure = half.finish();
  if (failure) FAIL(failure->line());
}

TEST_CASE("N13 a load goes on with the readers that could be started, and says so", "[load]") {
  const Lab lab(equal_tensors(64, 100'000));
  if (::geteuid() != 0) return skip("only root can become a user who has no other process");
  REQUIRE(::chmod(lab.folder.path().c_str(), 0755) == 0);
  const std::uint32_t allowed = GENERATE(0U, 1U, 3U);
  const int status = in_child([&] {
    // Nobody else's: the limit counts all of a user's threads. The one that calls is one of them,
    // and a sanitizer may have another.
    const auto user = static_cast<uid_t>(0x70000000 + ::getpid());
    const auto mine = static_cast<rlim_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
    const rlimit limit{mine + allowed, mine + allowed};
    if (::setrlimit(RLIMIT_NPROC, &limit) != 0) return 10;
    if (::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) return 11;
    LoadSettings settings;
    settings.put(setting::kConcurrency, 8);
    settings.put(setting::kChunkBytes, 64 * kKiB);
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, settings);
    if (allowed == 0) {
      if (load) return 12;
      return load.error().message().find("ulimit -u") == std::string::npos ? 13 : 0;
    }
    if (!load) return 14;
    for (int i = 0; i < 64; ++i) {
      auto yielded = (*load)->next(in(30s));
      if (!yielded || yielded->outcome != Load::Outcome::tensor) return 15;
      const TensorLease& lease = *yielded->lease;
      const std::byte* const stored = lab.files[0].bytes.data() + lease.tensor().bytes.offset;
      if (std::memcmp(lease.data(), stored, 100'000) != 0) return 16;
    }
    auto end = (*load)->next(in(30s));
    if (!end || end->outcome != Load::Outcome::end) return 17;
    // More, if one of the first was done before the last was started.
    const auto readers = (*load)->stats().readers;
    if (readers < allowed) return 18;
    if (readers == 8) return 0;
    const std::string says = fmt::format("only {} of 8 readers", readers);
    return (*load)->notes().find(says) == std::string::npos ? 19 : 0;
  });
  CHECK(status == 0);
}
