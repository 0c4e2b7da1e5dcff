// SPDX-License-Identifier: Apache-2.0
#include "base/timestamp.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "base/text.hpp"

namespace streamer::core::inline base {

namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct Fields {
  int year = 0;
  unsigned month = 0;
  unsigned day = 0;
  unsigned weekday = 0;
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
};

Fields fields_of(SystemTime time) {
  const auto second = floor<seconds>(time);
  const auto day = floor<days>(second);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(second - day);
  return {.year = static_cast<int>(date.year()),
          .month = static_cast<unsigned>(date.month()),
          .day = static_cast<unsigned>(date.day()),
          .weekday = std::chrono::weekday(day).c_encoding(),
          .hour = static_cast<unsigned>(clock.hours().count()),
          .minute = static_cast<unsigned>(clock.minutes().count()),
          .second = static_cast<unsigned>(clock.seconds().count())};
}

constexpr int kLastYear = 2200;

std::optional<SystemTime> time_of(const Fields& fields) {
  const std::chrono::year_month_day date{std::chrono::year(fields.year),
                                         std::chrono::month(fields.month),
                                         std::chrono::day(fields.day)};
  // 60: a leap second, which counts as the next one.
  if (!date.ok() || fields.hour > 23 || fields.minute > 59 || fields.second > 60)
    return std::nullopt;
  // Nanoseconds since 1970 end in 2262. Later times (some services send 9999) count as never; no
  // service sends times before 1970.
  if (fields.year < 1970) return std::nullopt;
  if (fields.year > kLastYear) return latest_time();
  return SystemTime(std::chrono::sys_days(date) + hours(fields.hour) + minutes(fields.minute) +
                    seconds(fields.second));
}

// Parses text from front to back; once a step fails, all later ones do.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  unsigned number(std::size_t digits) {
    const auto value = parse_unsigned(rest_.substr(0, digits));
    if (rest_.size() < digits || !value) return fail();
    rest_.remove_prefix(digits);
    return static_cast<unsigned>(*value);
  }
  bool accept(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  void expect(std::string_view text) {
    if (!accept(text)) fail();
  }
  template <std::size_t N>
  unsigned one_of(const std::array<std::string_view, N>& words) {
    for (unsigned i = 0; i < N; ++i) {
      if (accept(words[i])) return i;
    }
    return fail();
  }
  void skip_fraction() {
    if (!accept(".") && !accept(",")) return;
    const std::size_t digits = rest_.find_first_not_of("0123456789");
    if (digits == 0) fail();
    rest_.remove_prefix(std::min(digits, rest_.size()));
  }
  bool at_end() const { return rest_.empty(); }
  bool is_bad() const { return bad_; }

 private:
  unsigned fail() {
    bad_ = true;
    return 0;
  }

  std::string_view rest_;
  bool bad_ = false;
};

// "Z", "+02:00", "+0200", "-05", nothing.
minutes read_zone(Reader& reader) {
  if (reader.at_end() || reader.accept("Z") || reader.accept("z")) return minutes(0);
  const bool is_west = reader.accept("-");
  if (!is_west) reader.expect("+");
  unsigned offset = reader.number(2) * 60;
  reader.accept(":");
  if (!reader.at_end()) offset += reader.number(2);
  return is_west ? -minutes(offset) : minutes(offset);
}

}  // namespace

SystemTime latest_time() noexcept {
  return SystemTime(std::chrono::sys_days(std::chrono::year(2200) / 12 / 31));
}

std::string format_basic_iso(SystemTime time) {
  const Fields f = fields_of(time);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", f.year, f.month, f.day, f.hour, f.minute,
                     f.second);
}

std::string format_iso(SystemTime time) {
  const Fields f = fields_of(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", f.year, f.month, f.day, f.hour,
                     f.minute, f.second);
}

std::string format_http_date(SystemTime time) {
  const Fields f = fields_of(time);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[f.weekday], f.day,
                     kMonths[f.month - 1], f.year, f.hour, f.minute, f.second);
}

std::optional<SystemTime> parse_iso(std::string_view text) noexcept {
  Reader reader(trim(text));
  Fields fields;
  fields.year = static_cast<int>(reader.number(4));
  const bool is_basic = !reader.accept("-");
  const auto between = [&](std::string_view mark) {
    if (!is_basic) reader.expect(mark);
  };
  fields.month = reader.number(2);
  between("-");
  fields.day = reader.number(2);
  if (!reader.accept("T") && !reader.accept("t")) reader.expect(" ");
  fields.hour = reader.number(2);
  between(":");
  fields.minute = reader.number(2);
  between(":");
  fields.second = reader.number(2);
  reader.skip_fraction();
  const minutes east = read_zone(reader);
  if (reader.is_bad() || !reader.at_end()) return std::nullopt;
  const auto local = time_of(fields);
  if (!local) return std::nullopt;
  return *local - east;
}

std::optional<SystemTime> parse_http_date(std::string_view text) noexcept {
  Reader reader(trim(text));
  Fields fields;
  reader.one_of(kDays);
  reader.expect(", ");
  fields.day = reader.number(2);
  reader.expect(" ");
  fields.month = reader.one_of(kMonths) + 1;
  reader.expect(" ");
  fields.year = static_cast<int>(reader.number(4));
  reader.expect(" ");
  fields.hour = reader.number(2);
  reader.expect(":");
  fields.minute = reader.number(2);
  reader.expect(":");
  fields.second = reader.number(2);
  reader.expect(" GMT");
  if (reader.is_bad() || !reader.at_end()) return std::nullopt;
  return time_of(fields);
}

}  // namespace streamer::core::inline base
