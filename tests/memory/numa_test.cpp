// SPDX-License-Identifier: Apache-2.0
#include "memory/numa.hpp"

#include <filesystem>
#include <fstream>

#include "base/bytes.hpp"
#include "memory/arena.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

using namespace streamer::core;
using streamer::test::TemporaryFolder;

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("a device's node is found where the machine has several", "[numa]") {
  const TemporaryFolder folder;
  const std::string root = folder.path().string();
  write(root + "/sys/bus/pci/devices/0000:c1:00.0/numa_node", "1\n");
  write(root + "/sys/bus/pci/devices/0000:c2:00.0/numa_node", "-1\n");
  // One node: there is nothing to choose.
  CHECK(numa_node_of("0000:C1:00.0", root) == std::nullopt);
  write(root + "/sys/devices/system/node/node1/meminfo", "x\n");
  CHECK(numa_node_of("0000:C1:00.0", root) == 1);
  CHECK(numa_node_of("0000:C2:00.0", root) == std::nullopt);  // not known
  CHECK(numa_node_of("0000:c3:00.0", root) == std::nullopt);
}

TEST_CASE("distances between nodes are those of the firmware, whose nodes may have gaps",
          "[numa]") {
  const TemporaryFolder folder;
  const std::string root = folder.path().string();
  write(root + "/sys/devices/system/node/node0/distance", "10 21 32\n");
  write(root + "/sys/devices/system/node/node2/distance", "21 10 25\n");
  write(root + "/sys/devices/system/node/node3/distance", "32 25 10\n");
  CHECK(numa_distance(0, 0, root) == 10);
  CHECK(numa_distance(0, 2, root) == 21);
  CHECK(numa_distance(2, 3, root) == 25);
  CHECK(numa_distance(3, 0, root) == 32);
  CHECK(numa_distance(1, 0, root) == std::nullopt);
  CHECK(numa_node_here() >= 0);
}

TEST_CASE("the kernel takes the wish for a node", "[numa]") {
  auto memory = Arena::reserve(4 * kMiB);
  REQUIRE(memory);
  // EPERM and ENOSYS: a sandbox that does not let it through.
  const int refused = prefer_numa_node(memory->data(), memory->bytes(), 0);
  CHECK((refused == 0 || refused == EPERM || refused == ENOSYS));
  CHECK(prefer_numa_node(memory->data(), memory->bytes(), 1023) != 0);
}
