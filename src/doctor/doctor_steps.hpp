// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs and reports the doctor's steps.

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace streamer::core::inline doctor {

struct DoctorStep {
  std::string name;    // "endpoint", "credentials", "list"
  std::string detail;  // what was found; never a secret
  std::chrono::nanoseconds elapsed{0};
  const Error* failure = nullptr;  // of a step that failed, with what to do
};
using DoctorReport = std::function<void(const DoctorStep& step)>;

// Runs steps and reports each.
class DoctorSteps {
 public:
  explicit DoctorSteps(const DoctorReport& report) : report_(report) {}

  // work returns what was found. Returns false if the step failed.
  bool run(std::string name, const std::function<Result<std::string>()>& work);
  // Of the last step that failed.
  [[nodiscard]] Error failure() const { return failure_->copy(); }

 private:
  const DoctorReport& report_;
  std::optional<Error> failure_;
};

}  // namespace streamer::core::inline doctor
