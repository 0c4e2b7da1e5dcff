// SPDX-License-Identifier: Apache-2.0
#include "kit_measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "base/json.hpp"

namespace streamer::test {

namespace {

std::string number(std::optional<double> value, const char* none) {
  return value ? fmt::format("{:.10g}", *value) : none;
}

std::string cell(std::string text) {
  std::replace(text.begin(), text.end(), '|', '/');
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

void KitReport::add(std::string group, std::string name, std::optional<double> value,
                    std::string unit, std::string note) {
  fmt::print("{:<10} {:<50} {:>14} {} {}\n", group, name,
             value ? fmt::format("{:.3f}", *value) : "-", unit, note);
  std::fflush(stdout);
  rows_.push_back({std::move(group), std::move(name), value, std::move(unit), std::move(note)});
  static_cast<void>(write());  // again at the end, where a failure is told
}

void KitReport::measure(const std::string& group, const std::string& name, const std::string& unit,
                        const std::function<core::Result<double>()>& body) {
  if (is_over()) return add(group, name, {}, unit, "not measured: the time was over");
  auto outcome = body();
  if (outcome) return add(group, name, *outcome, unit);
  add(group, name, {}, unit, "not measured: " + outcome.error().line());
}

void KitReport::prove(const std::string& group, const std::string& name,
                      const std::function<core::Result<std::uint64_t>()>& body) {
  auto outcome = body();
  if (outcome)
    return add(group, name, static_cast<double>(*outcome), "bytes", "every one compared");
  fail(group, name, outcome.error().line());
}

void KitReport::fail(std::string group, std::string name, const std::string& why) {
  has_failed_ = true;
  add(std::move(group), std::move(name), {}, "", "FAILED: " + why);
}

bool KitReport::write() const {
  std::ofstream json(prefix_ + ".json");
  json << "{\"passed\":" << (has_failed_ ? "false" : "true") << ",\"rows\":[";
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const KitRow& row = rows_[i];
    json << (i == 0 ? "\n" : ",\n")
         << fmt::format("{{\"group\":{},\"name\":{},\"value\":{},\"unit\":{},\"note\":{}}}",
                        core::quote_json(row.group), core::quote_json(row.name),
                        number(row.value, "null"), core::quote_json(row.unit),
                        core::quote_json(row.note));
  }
  json << "\n]}\n";
  std::ofstream page(prefix_ + ".md");
  std::string group;
  for (const KitRow& row : rows_) {
    if (row.group != group) {
      group = row.group;
      page << fmt::format("\n## {}\n| what | | | |\n|---|---:|---|---|\n", group);
    }
    page << fmt::format("| {} | {} | {} | {} |\n", cell(row.name), number(row.value, ""), row.unit,
                        cell(row.note));
  }
  json.close();
  page.close();
  return json.good() && page.good();
}

core::Result<double> best_rate(std::uint64_t bytes,
                               const std::function<core::Result<void>()>& body) {
  double best = 0;
  for (int round = 0; round < 2; ++round) {
    const auto began = std::chrono::steady_clock::now();
    TRY(body());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    best = std::max(best, static_cast<double>(bytes) / 1e9 / took.count());
  }
  return best;
}

}  // namespace streamer::test
