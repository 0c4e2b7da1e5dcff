// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the GPU kit finds: rows of numbers in groups, as JSON and as Markdown, and how long it may
// take.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace streamer::test {

struct KitRow {
  std::string group;
  std::string name;
  std::optional<double> value;  // none: not measured
  std::string unit;
  std::string note;  // why there is no value, or what else was said
};

class KitReport {
 public:
  // Of the files PREFIX.json and PREFIX.md.
  KitReport(std::string prefix, std::chrono::seconds time)
      : prefix_(std::move(prefix)), until_(std::chrono::steady_clock::now() + time) {}

  // Written at once: what was found stays if the next thing hangs or crashes.
  void add(std::string group, std::string name, std::optional<double> value, std::string unit,
           std::string note = "");
  // Something that must hold does not: the kit fails.
  void fail(std::string group, std::string name, const std::string& why);
  // Runs one measurement and adds its row. Nothing is measured once the time is over.
  void measure(const std::string& group, const std::string& name, const std::string& unit,
               const std::function<core::Result<double>()>& body);
  // A claim that must hold, and of how many bytes it does.
  void prove(const std::string& group, const std::string& name,
             const std::function<core::Result<std::uint64_t>()>& body);

  [[nodiscard]] bool has_failed() const { return has_failed_; }
  [[nodiscard]] bool is_over() const { return std::chrono::steady_clock::now() > until_; }
  // False if the files cannot be written.
  [[nodiscard]] bool write() const;

 private:
  const std::string prefix_;
  const std::chrono::steady_clock::time_point until_;
  std::vector<KitRow> rows_;
  bool has_failed_ = false;
};

// GB/s of a body that moves so many bytes: the better of two rounds.
core::Result<double> best_rate(std::uint64_t bytes,
                               const std::function<core::Result<void>()>& body);

}  // namespace streamer::test
