// SPDX-License-Identifier: Apache-2.0
#pragma once
// The processes that mpirun started, which share a load with --distributed.

#include <optional>

#include "cli/command.hpp"

namespace streamer::cli {

class Ranks {
 public:
  // Alone, unless the arguments say --distributed. Collective then.
  static Result<Ranks> open(const LoadArguments& arguments);

  bool is_alone() const noexcept { return !communicator_; }
  // Whether this one speaks for all.
  bool is_first() const noexcept { return is_alone() || communicator_->rank() == 0; }

  // Collective. As make_request(), for all ranks: what fails on one of them fails on all.
  Result<LoadRequest> make_request(const LoadArguments& arguments);
  // Collective. The stats of all ranks, by rank.
  Result<std::vector<LoadStats>> gather(const LoadStats& mine) const;

 private:
  Ranks() = default;

  Settings settings_;
  std::optional<Communicator> communicator_;  // nullopt: alone
  std::optional<Communicator> devices_;       // made of it, for loads to devices
};

}  // namespace streamer::cli
