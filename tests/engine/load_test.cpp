// SPDX-License-Identifier: Apache-2.0
#include "engine/load.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <random>
#include <thread>

#include "support/catch.hpp"
#include "support/lab.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

bool allows_direct_reads(const std::filesystem::path& path) {
  return static_cast<bool>(UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECT)));
}

}  // namespace

TEST_CASE("every item of every load is byte for byte what was stored, whatever the settings",
          "[load]") {
  const std::uint64_t first_seed = 100;
  for (std::uint64_t seed = first_seed; seed < first_seed + 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 engine(seed);
    const Lab lab(random_files(seed, 1 + static_cast<std::uint32_t>(engine() % 4), 40, 400'000));
    for (std::size_t f = 0; f < lab.files.size(); ++f) {
      if (engine() % 2 == 0) make_cold(lab.path(f));
    }
    std::vector<PlanRequest> requests = everything(*lab.checkpoint);
    std::deque<std::vector<std::byte>> buffers;
    for (PlanRequest& request : requests) {
      const TensorView tensor = lab.checkpoint->tensors[request.tensor];
      if (engine() % 3 == 0) {
        request.part = Part::slice;
        request.dimension = static_cast<std::uint32_t>(engine() % 2);
        const std::uint64_t extent = tensor.shape[request.dimension];
        request.start = engine() % (extent + 1);
        request.stop = request.start + engine() % (extent + 1 - request.start);
      }
      // Odd addresses too: direct reads must then be bounced.
      const std::uint64_t shift = engine() % 3;
      const std::uint64_t bytes = requested_bytes(tensor, request)->total_bytes();
      if (engine() % 3 == 0) {
        request.destination = buffers.emplace_back(bytes + 4).data() + shift;
      }
    }
    const MemoryLimit::Mode modes[] = {MemoryLimit::Mode::automatic, MemoryLimit::Mode::unlimited,
                                       MemoryLimit::Mode::minimum, MemoryLimit::Mode::bytes};
    const FileIo ways[] = {FileIo::automatic, FileIo::direct, FileIo::buffered};
    LoadSettings settings;
    settings.put(setting::kMemoryLimit, {modes[engine() % 4], 400'000 + engine() % 2'000'000})
        .put(setting::kConcurrency, static_cast<std::uint32_t>(engine() % 9))
        .put(setting::kChunkBytes, engine() % 2 == 0 ? 0 : 4096 + engine() % 200'000)
        .put(setting::kCoalesceGapBytes, engine() % 2 == 0 ? 16 * kKiB : 0)
        .put(setting::kFileIo, ways[engine() % 3])
        .put(setting::kIoUring, engine() % 2 == 0);
    LoadOptions options{engine() % 2 == 0 ? Order::completion : Order::plan,
                        engine() % 2 == 0 ? ReadOrder::storage : ReadOrder::item};
    if (engine() % 2 == 0) {
      options.block_bytes = 4096 + engine() % 1'000'000;
      options.ahead_bytes = 1 + engine() % 2'000'000;
    }
    auto load = Load::start(lab.checkpoint, requests, options, settings);
    REQUIRE(load);
    take_at_random(*std::move(load), lab, requests, engine, [](const TensorLease&) {});
  }
}

TEST_CASE("cold chunks are read past the page cache and cached ones from it", "[load]") {
  const Lab lab(equal_tensors(8, 4 * kMiB));
  if (!allows_direct_reads(lab.path(0)))
    return skip("the file system of the temporary folder does not have O_DIRECT");
  make_cold(lab.path(0));
  {
    auto load = start(lab, {});
    CHECK(drain(*load, lab) == 8);
    const LoadStats stats = load->stats();
    CHECK(stats.bytes_direct == 32 * kMiB);
    CHECK(stats.bytes_page_cache == 0);
    CHECK(stats.bytes_bounced == 0);  // landed in place
  }
  {
    // Half of the file in the cache: the decision is per chunk.
    std::vector<char> half(16 * kMiB);
    const UniqueFd fd(::open(lab.path(0).c_str(), O_RDONLY));
    REQUIRE(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM) == 0);  // no reading ahead
    REQUIRE(::pread(fd.get(), half.data(), half.size(), 0) == static_cast<ssize_t>(half.size()));
    // Held there, as a machine short of memory would soon drop it again.
    void* const held = ::mmap(nullptr, half.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
    REQUIRE(held != MAP_FAILED);
    const bool holds = ::mlock(held, half.size()) == 0;
    auto load = start(lab, {});
    CHECK(drain(*load, lab) == 8);
    const LoadStats stats = load->stats();
    if (holds) CHECK(stats.bytes_page_cache >= 16 * kMiB);  // else not allowed to
    CHECK(stats.bytes_direct >= 8 * kMiB);
    CHECK(stats.bytes_direct + stats.bytes_page_cache == 32 * kMiB);
    REQUIRE(::munmap(held, half.size()) == 0);
  }
}

TEST_CASE("where io_uring is forbidden the load does without and says so", "[load][D04]") {
  const Lab lab(equal_tensors(8, kMiB));
  if (!allows_direct_reads(lab.path(0)))
    return skip("the file system of the temporary folder does not have O_DIRECT");
  struct Row {
    unsigned call;
    unsigned os_error;
  };
  const Row row = GENERATE(Row{SYS_io_uring_setup, EPERM}, Row{SYS_io_uring_enter, EPERM},
                           Row{SYS_io_uring_enter, EAGAIN}, Row{SYS_io_uring_enter, EINTR});
  CAPTURE(row.call, row.os_error);
  const int status = in_child([&] {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, row.call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | row.os_error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{4, program};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 10;
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) return 11;
    LoadSettings settings;
    settings.put(setting::kFileIo, FileIo::direct);
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, settings);
    if (!load) return 12;
    for (int i = 0; i < 8; ++i) {
      auto yielded = (*load)->next(in(30s));
      if (!yielded || yielded->outcome != Load::Outcome::tensor) return 13;
      const TensorLease& lease = *yielded->lease;
      const std::byte* const stored = lab.files[0].bytes.data() + lease.tensor().bytes.offset;
      if (std::memcmp(lease.data(), stored, kMiB) != 0) return 14;
    }
    if ((*load)->stats().bytes_direct != 8 * kMiB) return 15;
    if ((*load)->stats().uses_io_uring) return 16;
    return (*load)->notes().find("io_uring is not available") == std::string::npos ? 17 : 0;
  });
  CHECK(status == 0);
}

namespace {

// From now on reads of a file by ordinary system calls fail with os_error: all, or those of one
// descriptor. For a child process.
bool fail_reads(int os_error, std::optional<int> only_fd) {
  const auto fd = static_cast<std::uint32_t>(only_fd.value_or(0));
  const std::uint8_t skip_fd = only_fd ? 0 : 2;
  const auto answer = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(os_error);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_JUMP(BPF_JMP | BPF_JA, skip_fd, 0, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, fd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, answer),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// From now on opening with O_DIRECT fails as on a file system that does not have it.
bool fail_direct_opens() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// That of the first file that a load's only reader opens, which opens its thread's schedstat
// before.
int first_file_fd() {
  const UniqueFd first(::open("/proc/thread-self/schedstat", O_RDONLY));
  const UniqueFd second(::open("/dev/null", O_RDONLY));
  return second.get();
}

LoadSettings one_buffered_reader() {
  LoadSettings settings;
  settings.put(setting::kConcurrency, 1);
  settings.put(setting::kFileIo, FileIo::buffered);
  return settings;
}

}  // namespace

TEST_CASE("a read that fails once is tried again on the file opened anew", "[load][D01][D05]") {
  const int os_error = GENERATE(EIO, ESTALE);
  const Lab lab(equal_tensors(3, kMiB));
  const int status = in_child([&] {
    if (!fail_reads(os_error, first_file_fd())) return 10;
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, one_buffered_reader());
    if (!load) return 11;
    for (int i = 0; i < 3; ++i) {
      auto yielded = (*load)->next(in(30s));
      if (!yielded || yielded->outcome != Load::Outcome::tensor) return 12;
      const TensorLease& lease = *yielded->lease;
      const std::byte* const stored = lab.files[0].bytes.data() + lease.tensor().bytes.offset;
      if (std::memcmp(lease.data(), stored, kMiB) != 0) return 13;
    }
    return (*load)->stats().retries == (*load)->stats().chunks ? 0 : 14;
  });
  CHECK(status == 0);
}

TEST_CASE("a read that goes on failing is an error with its place and errno", "[load][D01]") {
  const Lab lab(equal_tensors(3, kMiB));
  const int status = in_child([&] {
    if (!fail_reads(EIO, std::nullopt)) return 10;
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, one_buffered_reader());
    if (!load) return 11;
    const auto failed = (*load)->next(in(30s));
    if (failed) return 12;
    const ErrorFields& fields = failed.error().fields();
    const bool is_told = fields.kind == ErrorKind::io && fields.os_error == EIO &&
                         fields.attempts == 2 && fields.uri == lab.path(0) && !fields.range.empty();
    return is_told ? 0 : 13;
  });
  CHECK(status == 0);
}

TEST_CASE("a file system without O_DIRECT is read buffered, and the notes say so", "[load][D04]") {
  const Lab lab(equal_tensors(4, kMiB));
  make_cold(lab.path(0));
  const bool at_open = GENERATE(true, false);
  const int status = in_child([&] {
    // Refused when the file is opened, or only when it is read: the descriptor after the buffered
    // one.
    const bool is_set = at_open ? fail_direct_opens() : fail_reads(EINVAL, first_file_fd() + 1);
    if (!is_set) return 10;
    LoadSettings settings = one_buffered_reader();
    settings.put(setting::kFileIo, FileIo::automatic);
    settings.put(setting::kIoUring, false);
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, settings);
    if (!load) return 11;
    for (int i = 0; i < 4; ++i) {
      auto yielded = (*load)->next(in(30s));
      if (!yielded || yielded->outcome != Load::Outcome::tensor) return 12;
      const TensorLease& lease = *yielded->lease;
      const std::byte* const stored = lab.files[0].bytes.data() + lease.tensor().bytes.offset;
      if (std::memcmp(lease.data(), stored, kMiB) != 0) return 13;
    }
    const LoadStats stats = (*load)->stats();
    if (stats.bytes_direct != 0 || stats.bytes_read != 4 * kMiB) return 14;
    return (*load)->notes().find("reading buffered") == std::string::npos ? 15 : 0;
  });
  CHECK(status == 0);
}

TEST_CASE("running out of descriptors is an error that says what to raise", "[load][D08]") {
  const Lab lab(equal_tensors(3, kMiB));
  const int status = in_child([&] {
    const int next_fd = UniqueFd(::open("/dev/null", O_RDONLY)).get();
    const rlimit limit{static_cast<rlim_t>(next_fd), static_cast<rlim_t>(next_fd)};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 10;
    auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, one_buffered_reader());
    if (!load) return 11;
    const auto failed = (*load)->next(in(30s));
    return !failed && failed.error().message().find("ulimit -n") != std::string::npos ? 0 : 12;
  });
  CHECK(status == 0);
}

TEST_CASE("a limit below the largest tensor names the tensor and both sizes", "[load]") {
  const Lab lab(equal_tensors(2, 100'000));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 99'999});
  const auto load = Load::start(lab.checkpoint, everything(*lab.checkpoint), {}, settings);
  REQUIRE_FALSE(load);
  CHECK(load.error().kind() == ErrorKind::memory_limit);
  CHECK_THAT(load.error().message(),
             Catch::Contains("\"0.0\"") && Catch::Contains("100000") && Catch::Contains("99999"));
}

TEST_CASE("a consumer that holds all the memory gets an error, and goes on once it releases",
          "[load]") {
  const Lab lab(equal_tensors(10, 100'000));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  auto load = start(lab, settings);
  for (int i = 0; i < 10; ++i) {
    TensorLease* const lease = next(*load);
    REQUIRE(lease != nullptr);
    if (i != 9) {
      const auto full = load->next(in(30s));
      REQUIRE_FALSE(full);
      CHECK(full.error().kind() == ErrorKind::memory_limit);
    }
    lease->release();
  }
  CHECK(next(*load) == nullptr);
}

TEST_CASE("a consumer that asked to wait is served when another thread releases", "[load]") {
  const Lab lab(equal_tensors(10, 100'000));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  auto load = start(lab, settings, {.when_full = WhenFull::wait});
  TensorLease* held = next(*load);
  const auto waited = load->next(in(20ms));
  REQUIRE(waited);
  CHECK(waited->outcome == Load::Outcome::not_ready);
  for (int i = 1; i < 10; ++i) {
    std::thread other([held] { held->release(); });
    held = next(*load);
    other.join();
  }
  held->release();
}

TEST_CASE("plan order yields items as they are read, completion order any way", "[load]") {
  const Lab lab(equal_tensors(200, 10'000));
  LoadSettings settings;
  settings.put(setting::kConcurrency, 8);
  settings.put(setting::kChunkBytes, 4096);
  auto load = start(lab, settings, {.order = Order::plan});
  for (std::uint32_t i = 0; i < 200; ++i) {
    TensorLease* const lease = next(*load);
    REQUIRE(lease->item() == i);
    lease->release();
  }
}

TEST_CASE("reading in item order yields the items as they were asked for", "[load]") {
  const Lab lab(equal_tensors(50, 10'000));
  auto requests = everything(*lab.checkpoint);
  std::reverse(requests.begin(), requests.end());
  auto load = Load::start(lab.checkpoint, requests, {Order::plan, ReadOrder::item}, {});
  REQUIRE(load);
  for (std::uint32_t i = 0; i < 50; ++i) {
    TensorLease* const lease = next(**load);
    CHECK(lease->item() == i);
    CHECK(lease->tensor_number() == 49 - i);
    lease->release();
  }
}

TEST_CASE("a file that was truncated since it was opened is an error that says so", "[load][D02]") {
  const Lab lab(equal_tensors(4, 100'000));
  REQUIRE(::truncate(lab.path(0).c_str(), 250'000) == 0);
  auto load = start(lab, {});
  const auto failed = load->next(in(30s));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().kind() == ErrorKind::object_changed);
  CHECK_THAT(failed.error().message(), Catch::Contains("truncated") && Catch::Contains("400000") &&
                                           Catch::Contains("250000"));
  CHECK(failed.error().fields().uri == lab.path(0));
}

TEST_CASE("a file that is cut or written to in the middle of a load fails the load",
          "[load][D02][D03]") {
  const bool cut = GENERATE(true, false);
  const Lab lab(equal_tensors(100, 100'000));
  LoadSettings settings;
  settings.put(setting::kConcurrency, 1);
  settings.put(setting::kChunkBytes, 64 * kKiB);
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  auto load = start(lab, settings);
  TensorLease* const first = next(*load);
  if (cut) {
    REQUIRE(::truncate(lab.path(0).c_str(), 5'000'000) == 0);
  } else {
    const UniqueFd fd(::open(lab.path(0).c_str(), O_WRONLY));
    REQUIRE(::pwrite(fd.get(), "x", 1, 9'000'000) == 1);
  }
  first->release();
  std::optional<Error> failure;
  for (int i = 1; i < 100 && !failure; ++i) {
    auto yielded = load->next(in(30s));
    if (!yielded) {
      failure = std::move(yielded).error();
    } else {
      yielded->lease->release();
    }
  }
  REQUIRE(failure);
  CHECK(failure->kind() == ErrorKind::object_changed);
  // The first failure is the load's for good.
  CHECK(load->next(in(1s)).error().kind() == ErrorKind::object_changed);
}

TEST_CASE("a file that was replaced or removed before the load is an error", "[load][D03][D06]") {
  const Lab lab(equal_tensors(2, 10'000));
  SECTION("replaced") {
    std::filesystem::copy(lab.path(0), lab.folder.path() / "other");
    std::filesystem::rename(lab.folder.path() / "other", lab.path(0));
    auto load = start(lab, {});
    CHECK(load->next(in(30s)).error().kind() == ErrorKind::object_changed);
  }
  SECTION("removed") {
    std::filesystem::remove(lab.path(0));
    auto load = start(lab, {});
    CHECK(load->next(in(30s)).error().kind() == ErrorKind::not_found);
  }
}

TEST_CASE(
    "cancelling and destroying is safe at any moment, and waits for no more than reads under way",
    "[load][L01]") {
  const Lab lab(equal_tensors(64, kMiB));
  // What a whole load takes, so that one that is cut off can be told from one that went on.
  constexpr std::uint64_t kSecondsLeft = 60;
  std::mt19937_64 engine(7);
  for (int round = 0; round < 60; ++round) {
    if (round % 3 == 0) make_cold(lab.path(0));
    LoadSettings settings;
    settings.put(setting::kConcurrency, 4);
    if (round % 2 == 0) settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
    if (round % 10 == 1) settings.put(setting::kMaxBandwidth, 64 * kMiB / kSecondsLeft);
    auto load = start(lab, settings);
    std::vector<TensorLease*> held;
    for (std::uint64_t i = round % 10 == 1 ? 0 : engine() % 20; i > 0; --i) {
      auto yielded = load->next(in(30s));
      if (!yielded) break;  // the window is full of what this test holds
      held.push_back(yielded->lease);
    }
    const auto began = std::chrono::steady_clock::now();
    if (round % 4 == 0) load->cancel();
    load.reset();
    const auto took = std::chrono::steady_clock::now() - began;
    CHECK(took < std::chrono::seconds(kSecondsLeft) / 2);
    for (TensorLease* const lease : held) {
      const std::byte* const stored = lab.files[0].bytes.data() + lease->tensor().bytes.offset;
      CHECK(std::memcmp(lease->data(), stored, lease->bytes()) == 0);
      lease->release();
    }
  }
}

TEST_CASE("a cancelled load says that it was cancelled, also to who waits for it", "[load][L01]") {
  const Lab lab(equal_tensors(4, kMiB));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  auto load = start(lab, settings, {.when_full = WhenFull::wait});
  TensorLease* const held = next(*load);
  std::thread other([&] { load->cancel(); });
  const auto waited = load->next(std::nullopt);
  other.join();
  REQUIRE_FALSE(waited);
  CHECK(waited.error().kind() == ErrorKind::cancelled);
  held->release();
}

TEST_CASE("several loads of one checkpoint run at once", "[load][L12]") {
  const Lab lab(equal_tensors(100, 50'000));
  std::vector<std::thread> threads;
  std::atomic<std::uint32_t> loaded{0};
  std::vector<std::unique_ptr<Load>> loads;
  for (int i = 0; i < 4; ++i)
    loads.push_back(start(lab, {}));
  for (auto& load : loads) {
    threads.emplace_back([&lab, &loaded, load = load.get()] {
      for (;;) {
        auto yielded = load->next(in(30s));
        if (!yielded || yielded->outcome != Load::Outcome::tensor) return;
        const TensorLease& lease = *yielded->lease;
        const std::byte* const stored = lab.files[0].bytes.data() + lease.tensor().bytes.offset;
        if (std::memcmp(lease.data(), stored, lease.bytes()) == 0) ++loaded;
        yielded->lease->release();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK(loaded == 400);
}

TEST_CASE("the bandwidth cap holds", "[load]") {
  const Lab lab(equal_tensors(4, kMiB));
  LoadSettings settings;
  settings.put(setting::kMaxBandwidth, 4 * kMiB);
  auto load = start(lab, settings);
  CHECK(drain(*load, lab) == 4);
  const LoadStats stats = load->stats();
  // The first step is free; nothing else is.
  CHECK(stats.elapsed_ns > 500'000'000);
  CHECK(stats.bandwidth_wait_ns > 0);
  CHECK(judge(stats) == HeldBackBy::bandwidth_cap);
}

TEST_CASE("a load from before fork() says so in the child and leaves the parent's alone",
          "[load][L04]") {
  const Lab lab(equal_tensors(20, kMiB));
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  auto load = start(lab, settings);
  const int status = in_child([&] {
    const auto refused = load->next(in(1s));
    if (refused || refused.error().kind() != ErrorKind::unsupported) return 1;
    if (load->fd() || load->fd().error().kind() != ErrorKind::unsupported) return 2;
    load.reset();  // does not hang
    return 0;
  });
  CHECK(status == 0);
  CHECK(drain(*load, lab) == 20);
}

TEST_CASE("a load of nothing ends at once", "[load]") {
  const Lab lab(equal_tensors(1, 10));
  auto load = Load::start(lab.checkpoint, {}, {}, {});
  REQUIRE(load);
  CHECK(next(**load) == nullptr);
}
