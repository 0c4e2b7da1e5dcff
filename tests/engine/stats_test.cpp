// SPDX-License-Identifier: Apache-2.0
#include "engine/stats.hpp"

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/reader_clock.hpp"
#include "support/catch.hpp"
#include "support/lab.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("stats add up", "[load]") {
  const Lab lab(random_files(5, 3, 50, 300'000));
  auto load = start(lab, {});
  const std::uint32_t count = drain(*load, lab);
  const LoadStats stats = load->stats();
  CHECK(stats.items_total == count);
  CHECK(stats.items_ready == count);
  CHECK(stats.bytes_total == lab.checkpoint->tensors.total_bytes());
  CHECK(stats.bytes_ready == stats.bytes_total);
  CHECK(stats.bytes_read >= stats.bytes_total);
  CHECK(stats.elapsed_ns > 0);
  CHECK(stats.readers >= 1);
}

namespace {

// Threads that keep one processor busy, which the thread that made it shares with them until the
// end, and so do the threads that it starts.
class BusyProcessor {
 public:
  BusyProcessor() {
    REQUIRE(::sched_getaffinity(0, sizeof all_, &all_) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    for (int i = 0; i < 3; ++i) {
      others_.emplace_back([&] {
        while (!is_over_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~BusyProcessor() {
    is_over_ = true;
    for (std::thread& other : others_)
      other.join();
    ::sched_setaffinity(0, sizeof all_, &all_);
  }

 private:
  cpu_set_t all_{};
  std::atomic<bool> is_over_{false};
  std::vector<std::thread> others_;
};

}  // namespace

TEST_CASE("a reader that waits for a processor does not wait for storage", "[load][stats]") {
  if (::access("/proc/thread-self/schedstat", R_OK) != 0)
    return skip("this kernel does not count how long threads wait for a processor");
  ReaderCounters mine;
  {
    const BusyProcessor busy;
    const ReaderClock clock;
    const std::uint64_t begun = thread_cpu_ns();
    while (thread_cpu_ns() - begun < 100'000'000) {
    }
    clock.count(mine);
  }
  // Four threads of one process share that processor evenly.
  CHECK(mine.cpu_wait_ns.load() > mine.reader_cpu_ns.load());
  CHECK(mine.cpu_wait_ns.load() + mine.reader_cpu_ns.load() <= mine.wall_ns.load());

  // A load adds it up.
  const Lab lab(equal_tensors(16, 4 * kMiB));
  LoadSettings settings;
  settings.put(setting::kFileIo, FileIo::buffered);
  const BusyProcessor busy;
  const auto load = start(lab, settings);
  drain(*load, lab);
  CHECK(load->stats().cpu_wait_ns > 0);
}

TEST_CASE("the verdict names where the time went", "[stats]") {
  LoadStats stats;
  CHECK(judge(stats) == HeldBackBy::nothing);
  stats.elapsed_ns = 100;
  stats.storage_wait_ns = 60;
  stats.reader_cpu_ns = 30;
  CHECK(judge(stats) == HeldBackBy::storage);
  stats.cpu_wait_ns = 40;  // a reader that waits for a processor is not held back by storage
  CHECK(judge(stats) == HeldBackBy::cpu);
  stats.cpu_wait_ns = 0;
  stats.reader_cpu_ns = 70;
  CHECK(judge(stats) == HeldBackBy::cpu);
  stats.bandwidth_wait_ns = 80;
  CHECK(judge(stats) == HeldBackBy::bandwidth_cap);
  // Readers stood before a shut window: the consumer's doing, unless it was waiting itself.
  stats.window_wait_ns = 90;
  CHECK(judge(stats) == HeldBackBy::consumer);
  stats.consumer_wait_ns = 51;
  CHECK(judge(stats) == HeldBackBy::memory_limit);
}
