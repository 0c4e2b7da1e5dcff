// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why does this URI not load? Tries everything on the way to its bytes, one step after the other.

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core {

struct DoctorStep {
  std::string name;    // "endpoint", "credentials", "list"
  std::string detail;  // what was found; never a secret
  std::chrono::nanoseconds elapsed{0};
  const Error* failure = nullptr;  // of a step that failed, with what to do
};
using DoctorReport = std::function<void(const DoctorStep& step)>;

// Calls report for each step, in order, on the calling thread. The first failure ends it, unless
// later steps do not need what failed; it is what is returned.
Result<void> diagnose(Stores& stores, const Uri& uri, const DoctorReport& report);

// Runs steps and reports each.
class DoctorSteps {
 public:
  explicit DoctorSteps(const DoctorReport& report) : report_(report) {}

  // work returns what was found. False if the step failed.
  bool run(std::string name, const std::function<Result<std::string>()>& work);
  // Of the last step that failed.
  [[nodiscard]] Error failure() const { return failure_->copy(); }

 private:
  const DoctorReport& report_;
  std::optional<Error> failure_;
};

}  // namespace streamer::core
