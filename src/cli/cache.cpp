// SPDX-License-Identifier: Apache-2.0
// streamer cache: what the local cache of remote weights holds.
#include <fmt/format.h>

#include <ctime>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

struct Sum {
  CacheTask task = CacheTask::list;
  std::uint64_t versions = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t bad_bytes = 0;
};

// "2026-01-31 12:00", in UTC.
std::string minute_of(std::int64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min);
}

extern "C" void print_version(const streamer_cached_info* version, void* user) {
  Sum& sum = *static_cast<Sum*>(user);
  ++sum.versions;
  sum.disk_bytes += version->disk_bytes;
  sum.bad_bytes += version->bad_bytes;
  if (prints_json()) {
    write_to(
        stdout,
        "{{\"uri\":{},\"etag\":{},\"object_bytes\":{},\"cached_bytes\":{},\"disk_bytes\":{},"
        "\"last_used_ns\":{}{}}}\n",
        json_string(version->uri), json_string(version->etag), version->object_bytes,
        version->cached_bytes, version->disk_bytes, version->last_used_ns,
        sum.task == CacheTask::verify ? fmt::format(",\"bad_bytes\":{}", version->bad_bytes) : "");
    return;
  }
  const std::uint64_t percent =
      version->object_bytes == 0 ? 0 : version->cached_bytes * 100 / version->object_bytes;
  const std::string state =
      sum.task == CacheTask::remove ? std::string("removed")
      : version->bad_bytes != 0
          ? painted(stdout, Colour::red, fmt::format("{} bad", human_bytes(version->bad_bytes)))
          : fmt::format("{:>3} %", percent);
  write_to(stdout, "{:>10}  {}  {}  {}\n", human_bytes(version->disk_bytes), state,
           minute_of(version->last_used_ns), escaped(version->uri));
}

}  // namespace

int run_cache(const std::string& action, const std::string& uri, bool is_all,
              const std::vector<std::string>& settings_given) {
  Sum sum;
  if (action == "verify") sum.task = CacheTask::verify;
  if (action == "rm") sum.task = CacheTask::remove;
  if (sum.task == CacheTask::remove && uri.empty() != is_all)
    return report_misuse("cache rm takes a URI, or --all");
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto walked = walk_cache(sum.task, uri, print_version, &sum, *settings, interrupts());
  if (!walked) return report(walked.error());
  if (!prints_json())
    write_to(stdout, "{:>10}  in {} version{}\n", human_bytes(sum.disk_bytes), sum.versions,
             sum.versions == 1 ? "" : "s");
  if (sum.bad_bytes != 0) {
    return report(make_error(
        ErrorKind::corrupt, fmt::format("{} were not what was written; they are dropped, and loads "
                                        "fetch them again",
                                        human_bytes(sum.bad_bytes))));
  }
  return finish_output();
}

}  // namespace streamer::cli
