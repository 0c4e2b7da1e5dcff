// SPDX-License-Identifier: Apache-2.0
#include "memory/host_memory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/bytes.hpp"
#include "base/text.hpp"

namespace streamer::core::inline memory {

namespace {

// What differs between the two versions of control groups.
struct GroupFiles {
  const char* mount;
  const char* limits[2];
  const char* usage;
  const char* reclaimable[2];  // lines of memory.stat
};

constexpr GroupFiles kVersion2 = {"/sys/fs/cgroup",
                                  {"memory.max", "memory.high"},
                                  "memory.current",
                                  {"inactive_file", "active_file"}};
constexpr GroupFiles kVersion1 = {"/sys/fs/cgroup/memory",
                                  {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
                                  "memory.usage_in_bytes",
                                  {"total_inactive_file", "total_active_file"}};

std::optional<std::uint64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  return parse_unsigned(trim(text));  // "max" is no number: no limit
}

// The number after "name" at the start of a line.
std::optional<std::uint64_t> read_line(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string key;
  std::uint64_t value = 0;
  std::string rest;
  while (file >> key >> value) {
    std::getline(file, rest);
    if (key == name) return value;
  }
  return std::nullopt;
}

// How much one group can still allocate; UINT64_MAX if it has no limit.
std::uint64_t group_headroom(const std::string& folder, const GroupFiles& files) {
  std::uint64_t limit = UINT64_MAX;
  for (const char* name : files.limits) {
    limit = std::min(limit, read_number(folder + "/" + name).value_or(UINT64_MAX));
  }
  const auto usage = read_number(folder + "/" + files.usage);
  if (limit == UINT64_MAX || !usage) return UINT64_MAX;
  std::uint64_t reclaimable = 0;
  for (const char* name : files.reclaimable) {
    reclaimable += read_line(folder + "/memory.stat", name).value_or(0);
  }
  const std::uint64_t held = *usage - std::min(*usage, reclaimable);
  return limit - std::min(limit, held);
}

// The least headroom of the group at path below the mount and of every group above it.
std::uint64_t tree_headroom(const std::string& root, const GroupFiles& files, std::string path) {
  std::uint64_t least = UINT64_MAX;
  for (;;) {
    least = std::min(least, group_headroom(root + files.mount + path, files));
    const std::size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) return least;
    path.resize(slash);
  }
}

// What the limits of the process (ulimit -v, ulimit -d) leave; UINT64_MAX if it has none.
std::uint64_t process_headroom(const std::string& root) {
  // In pages: all addresses, five other numbers, and those that are private and may be written to.
  std::ifstream statm(root + "/proc/self/statm");
  std::array<std::uint64_t, 6> pages{};
  for (std::uint64_t& number : pages) {
    if (!(statm >> number)) return UINT64_MAX;
  }
  std::uint64_t least = UINT64_MAX;
  const auto count = [&](auto resource, std::uint64_t used_pages) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    least = std::min(least, limit.rlim_cur - std::min(limit.rlim_cur, used_pages * kPageBytes));
  };
  count(RLIMIT_AS, pages[0]);
  count(RLIMIT_DATA, pages[5]);
  return least;
}

}  // namespace

std::uint64_t available_host_memory(const std::string& root) {
  std::uint64_t least = UINT64_MAX;
  if (const auto kib = read_line(root + "/proc/meminfo", "MemAvailable:")) least = *kib * kKiB;
  least = std::min(least, process_headroom(root));

  // Lines "id:controllers:path"; id 0 with no controllers is version 2. Inside a container the path
  // may not exist below the mount, which then is the container's own group: the walk up reaches it.
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) least = std::min(least, tree_headroom(root, kVersion2, path));
    if (controllers.find("memory") != std::string::npos) {
      least = std::min(least, tree_headroom(root, kVersion1, path));
    }
  }
  return least;
}

}  // namespace streamer::core::inline memory
