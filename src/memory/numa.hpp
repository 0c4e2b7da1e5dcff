// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which NUMA node is near a device.

#include <cstdint>
#include <optional>
#include <string>

namespace streamer::core::inline memory {

// The node of the PCI device; nullopt if the machine has only one node or does not say. root is
// prefixed to every path, for tests.
[[nodiscard]] std::optional<int> numa_node_of(const std::string& pci_address,
                                              const std::string& root = "");

// The node of the processor that the calling thread runs on.
[[nodiscard]] int numa_node_here() noexcept;

// As the firmware tells it, relative to 10 for the same node; nullopt if it does not. Both are
// nodes that the machine has.
[[nodiscard]] std::optional<int> numa_distance(int from, int to, const std::string& root = "");

// New pages of [memory, memory + bytes) come from the node while it has any. Only advice: returns
// errno if the kernel refuses it, otherwise 0.
int prefer_numa_node(void* memory, std::uint64_t bytes, int node) noexcept;

}  // namespace streamer::core::inline memory
