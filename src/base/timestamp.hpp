// SPDX-License-Identifier: Apache-2.0
#pragma once
// Points in time as the services write them. Never through the locale.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace streamer::core::inline base {

using SystemTime = std::chrono::system_clock::time_point;

// "20130524T000000Z", as AWS signs it.
[[nodiscard]] std::string format_basic_iso(SystemTime time);
// "2013-05-24T00:00:00Z".
[[nodiscard]] std::string format_iso(SystemTime time);
// "Fri, 24 May 2013 00:00:00 GMT" (RFC 9110 5.6.7).
[[nodiscard]] std::string format_http_date(SystemTime time);

// What stands for every time after the year 2200.
[[nodiscard]] SystemTime latest_time() noexcept;

// "2013-05-24T00:00:00Z", "2013-05-24T00:00:00.123+02:00" and the basic form "20130524T000000Z"; a
// missing zone is UTC. nullopt for anything else and for times before 1970.
[[nodiscard]] std::optional<SystemTime> parse_iso(std::string_view text) noexcept;
// nullopt for anything but the preferred form of RFC 9110.
[[nodiscard]] std::optional<SystemTime> parse_http_date(std::string_view text) noexcept;

}  // namespace streamer::core::inline base
