// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finds things by their names, which somebody else keeps. In the order of a hash, because comparing
// the names is most of what sorting 100,000 of them takes; names of one hash are in their own
// order, so that names chosen for it cost no more than that.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace streamer::core::inline checkpoint {

// NameOf, everywhere: the name of each number below count, always the same.
class NameIndex {
 public:
  NameIndex() = default;
  template <typename NameOf>
  NameIndex(std::uint32_t count, NameOf name_of) {
    entries_.reserve(count);
    for (std::uint32_t number = 0; number < count; ++number)
      entries_.push_back(hash_of(name_of(number)) | number);
    std::sort(entries_.begin(), entries_.end());
    for (auto begin = entries_.begin(); begin != entries_.end();) {
      const auto end = std::find_if(begin + 1, entries_.end(), [&](std::uint64_t entry) {
        return !is_same_hash(*begin, entry);
      });
      std::stable_sort(begin, end, [&](std::uint64_t a, std::uint64_t b) {
        return name_of(number_of(a)) < name_of(number_of(b));
      });
      begin = end;
    }
  }

  // The lowest number that shares its name with another, and the lowest of the others.
  template <typename NameOf>
  [[nodiscard]] std::optional<std::pair<std::uint32_t, std::uint32_t>> twice(NameOf name_of) const {
    std::optional<std::pair<std::uint32_t, std::uint32_t>> found;
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      if (!is_same_hash(entries_[i - 1], entries_[i])) continue;
      const std::pair both(number_of(entries_[i - 1]), number_of(entries_[i]));
      if ((!found || both < *found) && name_of(both.first) == name_of(both.second)) found = both;
    }
    return found;
  }

  // The lowest number of that name.
  template <typename NameOf>
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view name, NameOf name_of) const {
    const std::uint64_t hash = hash_of(name);
    const auto found = std::lower_bound(entries_.begin(), entries_.end(), hash,
                                        [&](std::uint64_t entry, std::uint64_t wanted) {
                                          if (!is_same_hash(entry, wanted)) return entry < wanted;
                                          return name_of(number_of(entry)) < name;
                                        });
    if (found == entries_.end() || name_of(number_of(*found)) != name) return std::nullopt;
    return number_of(*found);
  }

 private:
  static std::uint64_t hash_of(std::string_view name) noexcept {
    return static_cast<std::uint64_t>(std::hash<std::string_view>()(name)) << 32;
  }
  static bool is_same_hash(std::uint64_t a, std::uint64_t b) noexcept { return a >> 32 == b >> 32; }
  static std::uint32_t number_of(std::uint64_t entry) noexcept {
    return static_cast<std::uint32_t>(entry);
  }

  std::vector<std::uint64_t> entries_;  // a hash, and behind it the number
};

}  // namespace streamer::core::inline checkpoint
