// SPDX-License-Identifier: Apache-2.0
#include "memory/host_memory.hpp"

#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/bytes.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;

namespace {

// A root folder with files of the test's choice, removed at the end.
class FakeRoot {
 public:
  explicit FakeRoot(const std::map<std::string, std::string>& files) {
    std::string name = (std::filesystem::temp_directory_path() / "streamer-root-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    for (const auto& [file, text] : files) {
      const auto full = std::filesystem::path(path_ + file);
      std::filesystem::create_directories(full.parent_path());
      std::ofstream(full) << text;
    }
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A function, since a global string would have a destructor to run.
std::string meminfo() {
  return "MemTotal: 999 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n";
}

}  // namespace

TEST_CASE("without control groups what the machine has available counts", "[host_memory]") {
  const FakeRoot root({{"/proc/meminfo", meminfo()}});
  CHECK(available_host_memory(root.path()) == 1000 * kKiB);
}

TEST_CASE("limits of the process count, by what they leave", "[host_memory]") {
  if (streamer::test::kIsSanitized)
    return streamer::test::skip("sanitizers reserve more addresses than such limits allow");
  const FakeRoot root({{"/proc/meminfo", "MemAvailable: 999999999999 kB\n"},
                       {"/proc/self/statm", "1000 1 1 1 0 600 0\n"}});
  const std::uint64_t unlimited = available_host_memory(root.path());
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    const std::uint64_t used = (resource == RLIMIT_AS ? 1000 : 600) * kPageBytes;
    rlimit before{};
    REQUIRE(::getrlimit(resource, &before) == 0);
    const rlimit limit{64 * kGiB, before.rlim_max};
    REQUIRE(::setrlimit(resource, &limit) == 0);
    CHECK(available_host_memory(root.path()) == 64 * kGiB - used);
    REQUIRE(::setrlimit(resource, &before) == 0);
    CHECK(available_host_memory(root.path()) == unlimited);
  }
}

TEST_CASE("the tightest group from ours to the root counts, page cache left out", "[host_memory]") {
  const FakeRoot root({
      {"/proc/meminfo", meminfo()},
      {"/proc/self/cgroup", "0::/pod/box\n"},
      {"/sys/fs/cgroup/pod/box/memory.max", "max\n"},
      {"/sys/fs/cgroup/pod/box/memory.high", "900000\n"},
      {"/sys/fs/cgroup/pod/box/memory.current", "500000\n"},
      {"/sys/fs/cgroup/pod/box/memory.stat", "anon 5\ninactive_file 90000\nactive_file 10000\n"},
      {"/sys/fs/cgroup/pod/memory.max", "600000\n"},
      {"/sys/fs/cgroup/pod/memory.current", "590000\n"},
  });
  CHECK(available_host_memory(root.path()) == 10000);
}

TEST_CASE("inside a container the mount itself is the group", "[host_memory]") {
  const FakeRoot root({
      {"/proc/meminfo", meminfo()},
      {"/proc/self/cgroup", "0::/a/path/of/the/host\n"},
      {"/sys/fs/cgroup/memory.max", "300000\n"},
      {"/sys/fs/cgroup/memory.current", "100000\n"},
  });
  CHECK(available_host_memory(root.path()) == 200000);
}

TEST_CASE("groups of version 1 are understood", "[host_memory]") {
  const FakeRoot root({
      {"/proc/meminfo", meminfo()},
      {"/proc/self/cgroup", "4:cpuacct,memory:/box\n0::/\n"},
      {"/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "400000\n"},
      {"/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "150000\n"},
      {"/sys/fs/cgroup/memory/box/memory.stat", "cache 1\ntotal_inactive_file 50000\n"},
  });
  CHECK(available_host_memory(root.path()) == 300000);
}

TEST_CASE("a group that is over its limit leaves nothing, not a huge number", "[host_memory]") {
  const FakeRoot root({
      {"/proc/meminfo", meminfo()},
      {"/proc/self/cgroup", "0::/box\n"},
      {"/sys/fs/cgroup/box/memory.max", "1000\n"},
      {"/sys/fs/cgroup/box/memory.current", "2000\n"},
  });
  CHECK(available_host_memory(root.path()) == 0);
}

TEST_CASE("where nothing can be read there is no limit", "[host_memory]") {
  const FakeRoot root({});
  CHECK(available_host_memory(root.path()) == UINT64_MAX);
}

TEST_CASE("this machine says something sensible", "[host_memory]") {
  const std::uint64_t available = available_host_memory();
  CHECK(available > 16 * kMiB);
  CHECK(available < (1ULL << 50));
}
