// SPDX-License-Identifier: Apache-2.0
#include "memory/numa.hpp"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <climits>
#include <fstream>

namespace streamer::core::inline memory {

namespace {

constexpr std::size_t kBitsPerWord = sizeof(unsigned long) * CHAR_BIT;
constexpr std::size_t kMostNodes = 1024;

}  // namespace

std::optional<int> numa_node_of(const std::string& pci_address, const std::string& root) {
  std::string folder = pci_address;
  for (char& c : folder)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  // A second node is what makes the first worth asking for.
  if (!std::ifstream(root + "/sys/devices/system/node/node1/meminfo")) return std::nullopt;
  std::ifstream file(root + "/sys/bus/pci/devices/" + folder + "/numa_node");
  int node = -1;
  if (!(file >> node) || node < 0 || node >= static_cast<int>(kMostNodes)) return std::nullopt;
  return node;
}

int numa_node_here() noexcept {
  // glibc has a function for it since 2.29 only.
  unsigned int node = 0;
  return ::syscall(SYS_getcpu, nullptr, &node, nullptr) == 0 ? static_cast<int>(node) : 0;
}

std::optional<int> numa_distance(int from, int to, const std::string& root) {
  const std::string nodes = root + "/sys/devices/system/node/node";
  std::ifstream file(nodes + std::to_string(from) + "/distance");
  // One for each node that there is, in the order of their numbers, which may have gaps.
  int distance = 0;
  for (int node = 0; node <= to; ++node) {
    if (!std::ifstream(nodes + std::to_string(node) + "/distance")) continue;
    if (!(file >> distance)) return std::nullopt;
  }
  return distance == 0 ? std::nullopt : std::optional<int>(distance);
}

int prefer_numa_node(void* memory, std::uint64_t bytes, int node) noexcept {
  std::array<unsigned long, kMostNodes / kBitsPerWord> nodes{};
  const auto bit = static_cast<std::size_t>(node);
  nodes[bit / kBitsPerWord] = 1UL << (bit % kBitsPerWord);
  // The kernel takes one bit less than it is told (mbind(2), notes).
  const long failed =
      ::syscall(SYS_mbind, memory, bytes, MPOL_PREFERRED, nodes.data(), kMostNodes + 1, 0);
  return failed == 0 ? 0 : errno;
}

}  // namespace streamer::core::inline memory
