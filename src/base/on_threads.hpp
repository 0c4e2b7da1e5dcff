// SPDX-License-Identifier: Apache-2.0
#pragma once
// The same work for many items, on a few threads.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fits_in_memory.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"
#include "base/result.hpp"
#include "base/thread.hpp"

namespace streamer::core::inline base {

// Calls work(0) .. work(count - 1), each once, on up to `threads` threads, including this one, and
// returns their results in order. The first failure, by number, is returned for all; calls that
// have not begun by then are skipped. work must be safe to call on several threads at once. All
// threads work for the caller's current work; once that is over, no further call begins.
template <typename T, typename Body>
Result<std::vector<T>> on_threads(const std::string& name, std::size_t threads, std::size_t count,
                                  const Body& work) {
  std::vector<std::optional<Result<T>>> outcomes(count);  // each written by who claimed it
  std::atomic<std::size_t> next{0};
  std::atomic<bool> has_failed{false};
  const Work* const for_whom = current_work();
  const auto do_some = [&] {
    const WorkScope scope(for_whom);
    for (;;) {
      if (has_failed.load(std::memory_order_relaxed)) return;
      // What is claimed is done. relaxed: only shares out the numbers; joining the threads
      // publishes what they did.
      const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= count) return;
      const bool fits = fits_in_memory([&] {
        auto wanted = still_wanted("about to begin the next part of it");
        if (wanted) {
          outcomes[i] = work(i);
        } else {
          outcomes[i] = std::move(wanted).error();
        }
      });
      if (!fits) outcomes[i] = Error(ErrorKind::out_of_memory, "not enough memory for it");
      if (!*outcomes[i]) has_failed.store(true, std::memory_order_relaxed);
    }
  };
  {
    std::vector<Thread> helpers;
    for (std::size_t i = 1; i < std::min(count, threads); ++i) {
      auto helper = Thread::start(name, do_some);
      if (!helper) {
        // One thread is enough, if slower.
        log_line(LogLevel::warning, helper.error().message() + ": going on without it");
        break;
      }
      helpers.push_back(*std::move(helper));
    }
    do_some();
  }
  std::vector<T> all;
  all.reserve(count);
  for (std::optional<Result<T>>& outcome : outcomes) {
    // Numbers are claimed in order, and claimed ones are done: none before a failed one is left
    // out.
    if (!*outcome) return std::move(*outcome).error();
    all.push_back(**std::move(outcome));
  }
  return all;
}

}  // namespace streamer::core::inline base
