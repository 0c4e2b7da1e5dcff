// SPDX-License-Identifier: Apache-2.0
// streamer pull, streamer snapshot: copy selected files to a folder.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/counted.hpp"
#include "cli/command.hpp"
#include "cli/globs.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"

namespace streamer::cli {

namespace {

// Shows on a terminal how far a pull is while this thread is in it.
class Display {
 public:
  Display() {
    if (::isatty(STDERR_FILENO) != 0) thread_ = std::thread([this] { run(); });
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
    ProgressDisplay display;
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return is_over_; })) {
      // Until the listing is there.
      if (state().items_total != 0) display.show(state());
    }
    if (state().items_total != 0) display.finish(state());
  }

  ProgressState state() const {
    const Progress now = interrupts()->progress();
    const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - began_;
    return {now.bytes_done,
            now.bytes_total,
            now.bytes_done - std::min(now.bytes_skipped, now.bytes_done),
            static_cast<std::uint64_t>(elapsed.count()),
            now.files_done,
            now.files_total,
            "files"};
  }

  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();

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
  write_to(stdout, "pulled {}, {}", core::counted(sums.copied, "file"),
           human_bytes(sums.bytes_copied));
  if (sums.skipped != 0) {
    write_to(stdout, "; skipped {} that were already there and unchanged, {}", sums.skipped,
             human_bytes(sums.bytes_skipped));
  }
  write_to(stdout, "\n");
}

// The elements of a JSON array.
void print_files(const std::vector<PulledFile>& files) {
  const char* separator = "";
  for (const PulledFile& file : files) {
    write_to(stdout, "{}\n{{\"path\":{},\"bytes\":{},\"etag\":{},\"skipped\":{}}}",
             std::exchange(separator, ","), json_string(file.path), file.bytes,
             json_string(file.etag), file.was_there);
  }
}

void print_json(const std::vector<PulledFile>& files, const Sums& sums) {
  write_to(stdout,
           "{{\"copied\":{},\"bytes_copied\":{},\"skipped\":{},\"bytes_skipped\":{},"
           "\"files\":[",
           sums.copied, sums.bytes_copied, sums.skipped, sums.bytes_skipped);
  print_files(files);
  write_to(stdout, "]}}\n");
}

// An fnmatch() pattern of exactly that text.
std::string literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') pattern += '\\';
    pattern += c;
  }
  return pattern;
}

struct Selection {
  std::string uri;
  PullOptions options;
};

// A pattern in the URI is its folder, and from there what it matches; of folders, everything.
Result<Selection> select(const PullArguments& arguments, const Settings& settings) {
  Selection selection{arguments.uri, {.allow = arguments.allow, .ignore = arguments.ignore}};
  auto matches = match_glob(arguments.uri, settings);
  if (!matches) return std::move(matches).error();
  if (!*matches) return selection;
  if (!arguments.allow.empty())
    return make_error(ErrorKind::invalid_argument,
                      "give either a pattern in the URI or --allow, not both");
  selection.uri = folder_before_glob(arguments.uri);
  for (const Entry& entry : **matches) {
    selection.options.allow.push_back(
        literal(std::string_view(entry.uri).substr(selection.uri.size())) +
        (entry.is_folder ? "*" : ""));
  }
  return selection;
}

}  // namespace

int run_pull(const PullArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  if (!arguments.max_bandwidth.empty()) {
    auto set = settings->set("max_bandwidth", arguments.max_bandwidth);
    if (!set) return report(set.error());
  }
  auto selection = select(arguments, *settings);
  if (!selection) return report(selection.error());
  auto pulled = [&] {
    const Display display;
    return pull(selection->uri, arguments.folder, selection->options, *settings, interrupts());
  }();
  if (!pulled) return report(pulled.error());
  if (pulled->empty() && !arguments.allow.empty()) {
    return report(make_error(
        ErrorKind::not_found,
        fmt::format(
            "{}: none of its files is one that --allow {}{} chooses; streamer ls -r {} lists "
            "them",
            escaped(arguments.uri), escaped(fmt::format("{}", fmt::join(arguments.allow, " "))),
            arguments.ignore.empty() ? "" : " and --ignore", escaped(arguments.uri))));
  }
  Sums sums;
  for (const PulledFile& file : *pulled) {
    ++(file.was_there ? sums.skipped : sums.copied);
    (file.was_there ? sums.bytes_skipped : sums.bytes_copied) += file.bytes;
  }
  prints_json() ? print_json(*pulled, sums) : print_text(*pulled, sums);
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
  if (prints_json()) {
    write_to(stdout, "{{\"folder\":{},\"files\":[", json_string(taken->folder));
    print_files(taken->files);
    write_to(stdout, "]}}\n");
  } else {
    // For scripts: the path as it is.
    write_to(stdout, "{}\n", taken->folder);
  }
  return finish_output();
}

}  // namespace streamer::cli
