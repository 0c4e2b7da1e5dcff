// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which memory of a machine with several is near a device.

#include <cstdint>
#include <optional>
#include <string>

namespace streamer::core {

// The node of the PCI device; nullopt where the machine has one node or does not say. root stands
// before every path, for tests.
[[nodiscard]] std::optional<int> numa_node_of(const std::string& pci_address,
                                              const std::string& root = "");

// Pages of [memory, memory + bytes) that are not there yet come from the node as long as it has
// any. Advice: errno where the kernel does not take it, else 0.
int prefer_numa_node(void* memory, std::uint64_t bytes, int node) noexcept;

}  // namespace streamer::core
