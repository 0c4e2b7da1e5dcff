// SPDX-License-Identifier: Apache-2.0
// streamer pull, streamer snapshot: copy selected files to a folder.
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"

namespace streamer::cli {

namespace {

// Shows how far a pull is while this thread is in it.
class Display {
 public:
  Display() {
    if (PullBar::is_wanted()) thread_ = std::thread([this] { run(); });
  }
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;
  ~Display() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  void run() {
    PullBar bar;
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return is_over_; }))
      bar.show(interrupts()->progress());
    bar.finish(interrupts()->progress());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_over_ = false;
  std::thread thread_;
};

struct Sums {
  std::uint64_t copied = 0;
  std::uint64_t skipped = 0;
  std::uint64_t bytes_copied = 0;
  std::uint64_t bytes_skipped = 0;
};

void print_text(const std::vector<PulledFile>& files, const Sums& sums) {
  for (const PulledFile& file : files) {
    write_to(stdout, "{:>12}  {}{}\n", file.bytes, escaped(file.path),
             file.was_there ? "  (unchanged)" : "");
  }
  write_to(stdout, "pulled {} files, {}", sums.copied, human_bytes(sums.bytes_copied));
  if (sums.skipped != 0) {
    write_to(stdout, "; skipped {} that were already there and unchanged, {}", sums.skipped,
             human_bytes(sums.bytes_skipped));
  }
  write_to(stdout, "\n");
}

void print_json(const std::vector<PulledFile>& files, const Sums& sums) {
  write_to(stdout,
           "{{\"copied\":{},\"bytes_copied\":{},\"skipped\":{},\"bytes_skipped\":{},"
           "\"files\":[",
           sums.copied, sums.bytes_copied, sums.skipped, sums.bytes_skipped);
  const char* separator = "";
  for (const PulledFile& file : files) {
    write_to(stdout, "{}\n{{\"path\":{},\"bytes\":{},\"etag\":{},\"skipped\":{}}}",
             std::exchange(separator, ","), json_string(file.path), file.bytes,
             json_string(file.etag), file.was_there);
  }
  write_to(stdout, "]}}\n");
}

}  // namespace

int run_pull(const PullArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  if (!arguments.max_bandwidth.empty()) {
    auto set = settings->set("max_bandwidth", arguments.max_bandwidth);
    if (!set) return report(set.error());
  }
  auto pulled = [&] {
    const Display display;
    return pull(arguments.uri, arguments.folder,
                {.allow = arguments.allow, .ignore = arguments.ignore}, *settings, interrupts());
  }();
  if (!pulled) return report(pulled.error());
  Sums sums;
  for (const PulledFile& file : *pulled) {
    ++(file.was_there ? sums.skipped : sums.copied);
    (file.was_there ? sums.bytes_skipped : sums.bytes_copied) += file.bytes;
  }
  arguments.as_json ? print_json(*pulled, sums) : print_text(*pulled, sums);
  return finish_output();
}

int run_snapshot(const PullArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  if (!arguments.folder.empty()) {
    auto set = settings->set("cache_folder", arguments.folder);
    if (!set) return report(set.error());
  }
  auto taken = snapshot(arguments.uri, {.allow = arguments.allow, .ignore = arguments.ignore},
                        *settings, interrupts());
  if (!taken) return report(taken.error());
  // For scripts: the path as it is.
  write_to(stdout, "{}\n", taken->folder);
  return finish_output();
}

}  // namespace streamer::cli
