// SPDX-License-Identifier: Apache-2.0
#pragma once
// The processes that mpirun started, which share a load with --distributed.

#include <optional>

#include "cli/command.hpp"

namespace streamer::cli {

// What a load counted: the struct, and all numbers by all_stats().
struct LoadFigures {
  LoadStats stats;
  std::vector<std::uint64_t> values;

  static LoadFigures of(const Load& load) { return {load.stats(), load.stat_values()}; }
  [[nodiscard]] std::uint64_t operator[](std::string_view name) const;
};

class Ranks {
 public:
  // Alone, unless the arguments say --distributed. Collective then.
  static Result<Ranks> open(const LoadArguments& arguments);

  bool is_alone() const noexcept { return !communicator_; }
  // Whether this one speaks for all.
  bool is_first() const noexcept { return is_alone() || communicator_->rank() == 0; }

  // Collective. As make_request(), for all ranks: what fails on one of them fails on all.
  Result<LoadRequest> make_request(const LoadArguments& arguments);
  // Collective. The figures of all ranks, by rank.
  Result<std::vector<LoadFigures>> gather(const LoadFigures& mine) const;

 private:
  Ranks() = default;

  // Collective. `bytes` of each rank, to all + rank * bytes.
  Result<void> gather_bytes(const void* mine, void* all, std::size_t bytes) const;

  Settings settings_;
  std::optional<Communicator> communicator_;  // nullopt: alone
  std::optional<Communicator> devices_;       // made of it, for loads to devices
};

}  // namespace streamer::cli
