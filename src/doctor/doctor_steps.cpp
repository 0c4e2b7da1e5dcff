// SPDX-License-Identifier: Apache-2.0
#include "doctor/doctor_steps.hpp"

#include <utility>

#include "base/clean_text.hpp"

namespace streamer::core::inline doctor {

bool DoctorSteps::run(std::string name, const std::function<Result<std::string>()>& work) {
  const auto began = std::chrono::steady_clock::now();
  auto outcome = work();
  DoctorStep step;
  step.name = std::move(name);
  step.elapsed = std::chrono::steady_clock::now() - began;
  if (outcome) {
    step.detail = clean_text(*outcome);
  } else {
    failure_ = std::move(outcome).error();
    step.failure = &*failure_;
  }
  report_(step);
  return step.failure == nullptr;
}

}  // namespace streamer::core::inline doctor
