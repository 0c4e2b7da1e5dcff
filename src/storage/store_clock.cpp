// SPDX-License-Identifier: Apache-2.0
#include "storage/store_clock.hpp"

#include <fmt/format.h>

#include "base/log.hpp"

namespace streamer::core::inline storage {

namespace {

// The stores tolerate 15 minutes. Below 4 the clock is not what is wrong.
constexpr std::chrono::minutes kSkewThatMatters{4};

}  // namespace

SystemTime StoreClock::now() {
  return said_.with([&](const std::optional<Said>& said) -> SystemTime {
    if (!said) return now_();
    return said->time + std::chrono::duration_cast<SystemTime::duration>(
                            std::chrono::steady_clock::now() - said->at);
  });
}

bool StoreClock::correct(SystemTime signed_at, const ResponseHead& head) {
  const auto time = parse_http_date(head.header_or_empty("date"));
  if (!time) return false;
  const auto off = *time > signed_at ? *time - signed_at : signed_at - *time;
  if (off < kSkewThatMatters) return false;
  log_line(LogLevel::warning,
           fmt::format("this machine's clock is {} s off the store's; requests are signed with the "
                       "store's time",
                       std::chrono::duration_cast<std::chrono::seconds>(off).count()));
  said_.with([&](std::optional<Said>& said) {
    said = Said{*time, std::chrono::steady_clock::now()};
  });
  return true;
}

}  // namespace streamer::core::inline storage
