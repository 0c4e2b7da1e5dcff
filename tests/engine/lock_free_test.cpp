// SPDX-License-Identifier: Apache-2.0
// Every lock-free part under every order of its operations, for cases small enough to list them
// all.
#include <memory>
#include <set>
#include <vector>

#include "base/event_count.hpp"
#include "base/throttle.hpp"
#include "engine/chunk_cursor.hpp"
#include "engine/ready_queue.hpp"
#include "engine/ready_signal.hpp"
#include "engine/tensor_countdown.hpp"
#include "engine/window.hpp"
#include "support/catch.hpp"
#include "support/interleave.hpp"

using namespace streamer::core;
using namespace streamer::test;

using Bodies = std::vector<std::function<void()>>;

TEST_CASE("every chunk is claimed exactly once", "[lock-free]") {
  std::unique_ptr<BasicChunkCursor<StepAtomic>> cursor;
  std::multiset<std::uint32_t> claimed;
  const auto reader = [&] {
    while (const auto chunk = cursor->claim())
      claimed.insert(*chunk);
  };
  const auto orders = every_order(
      [&] {
        cursor = std::make_unique<BasicChunkCursor<StepAtomic>>(3);
        claimed.clear();
        return Bodies{reader, reader};
      },
      [&] {
        CHECK(claimed == std::multiset<std::uint32_t>{0, 1, 2});
      });
  CHECK(orders > 10);
}

TEST_CASE("a tensor becomes ready exactly once, by whoever lands its last chunk", "[lock-free]") {
  std::unique_ptr<BasicTensorCountdown<StepAtomic>> countdown;
  int ready = 0;
  const auto reader = [&] {
    for (int chunk = 0; chunk < 2; ++chunk)
      ready += countdown->chunk_landed(6) ? 1 : 0;
  };
  const auto orders = every_order(
      [&] {
        countdown = std::make_unique<BasicTensorCountdown<StepAtomic>>();
        countdown->start(6);
        ready = 0;
        return Bodies{reader, reader, reader};
      },
      [&] {
        CHECK(ready == 1);
        CHECK(countdown->is_complete());
      });
  CHECK(orders >= 90);  // 6! / (2! 2! 2!)
}

namespace {

// What a countdown in two steps would be: proves that the search above can fail.
struct TwoStepCountdown {
  StepAtomic<std::uint32_t> left{2};
  bool chunk_landed() {
    left.fetch_sub(1, std::memory_order_seq_cst);
    return left.load(std::memory_order_seq_cst) == 0;
  }
};

}  // namespace

TEST_CASE("the search finds the flaw of a countdown in two steps", "[lock-free]") {
  std::unique_ptr<TwoStepCountdown> countdown;
  int ready = 0;
  bool went_wrong = false;
  const auto reader = [&] { ready += countdown->chunk_landed() ? 1 : 0; };
  every_order(
      [&] {
        countdown = std::make_unique<TwoStepCountdown>();
        ready = 0;
        return Bodies{reader, reader};
      },
      [&] { went_wrong = went_wrong || ready != 1; });
  CHECK(went_wrong);
}

TEST_CASE("every pushed item is popped once, and none before it was pushed", "[lock-free]") {
  std::unique_ptr<BasicReadyQueue<StepAtomic>> queue;
  std::vector<bool> pushed;
  std::multiset<std::uint32_t> popped;
  const auto reader = [&](std::uint32_t first) {
    const std::uint32_t items[] = {first, first + 1};
    pushed[first] = pushed[first + 1] = true;
    queue->push(items);
  };
  const auto pop = [&] {
    while (const auto item = queue->pop()) {
      CHECK(pushed[*item]);
      popped.insert(*item);
    }
  };
  const auto orders = every_order(
      [&] {
        queue = std::make_unique<BasicReadyQueue<StepAtomic>>(4);
        pushed.assign(4, false);
        popped.clear();
        return Bodies{[&] { reader(0); }, [&] { reader(2); }, pop};
      },
      [&] {
        pop();
        CHECK(popped == std::multiset<std::uint32_t>{0, 1, 2, 3});
        CHECK_FALSE(queue->has_ready());
      });
  CHECK(orders > 100);
}

TEST_CASE("the window opens to where the first held item begins, however releases fall",
          "[lock-free]") {
  // Three items of 10 bytes in a ring of 20.
  std::unique_ptr<BasicWindow<StepAtomic>> window;
  const auto orders = every_order(
      [&] {
        window =
            std::make_unique<BasicWindow<StepAtomic>>(20, std::vector<std::uint64_t>{0, 10, 20});
        return Bodies{[&] { window->release(1); }, [&] { window->release(0); }};
      },
      [&] {
        CHECK(window->admits(40));
        CHECK_FALSE(window->admits(41));
        window->release(2);
        CHECK(window->admits(UINT64_MAX));
      });
  CHECK(orders > 100);
}

TEST_CASE("the window never opens over an item that is still held", "[lock-free]") {
  std::unique_ptr<BasicWindow<StepAtomic>> window;
  bool first_is_released = false;
  every_order(
      [&] {
        window = std::make_unique<BasicWindow<StepAtomic>>(20, std::vector<std::uint64_t>{0, 10});
        first_is_released = false;
        return Bodies{[&] { window->release(1); },
                      [&] {
                        first_is_released = true;
                        window->release(0);
                      },
                      [&] {
                        if (window->admits(21)) CHECK(first_is_released);
                      }};
      },
      [&] { CHECK(window->admits(100)); });
}

TEST_CASE("no wake-up is lost between a look at a condition and the sleep", "[lock-free]") {
  std::unique_ptr<BasicEventCount<StepAtomic>> event;
  StepAtomic<bool> condition;
  bool would_sleep = false;
  std::uint32_t ticket = 0;
  const auto orders = every_order(
      [&] {
        event = std::make_unique<BasicEventCount<StepAtomic>>();
        condition.store(false, std::memory_order_relaxed);
        would_sleep = false;
        return Bodies{[&] {
                        ticket = event->prepare();
                        would_sleep = !condition.load(std::memory_order_relaxed);
                      },
                      [&] {
                        condition.store(true, std::memory_order_relaxed);
                        event->advance();
                      }};
      },
      [&] {
        // A futex sleeps only while the epoch is still the ticket.
        if (would_sleep) CHECK(event->epoch() != ticket);
      });
  CHECK(orders >= 6);
}

TEST_CASE("a consumer that goes back to its event loop with nothing is told of what came meanwhile",
          "[lock-free]") {
  std::unique_ptr<BasicExpectation<StepAtomic>> expectation;
  StepAtomic<bool> condition;
  bool would_sleep = false;
  bool is_readable = false;
  const auto change = [&] {
    condition.store(true, std::memory_order_relaxed);
    if (expectation->meet()) is_readable = true;
  };
  const auto orders = every_order(
      [&] {
        expectation = std::make_unique<BasicExpectation<StepAtomic>>();
        condition.store(false, std::memory_order_relaxed);
        would_sleep = is_readable = false;
        return Bodies{[&] {
                        is_readable = false;  // drains
                        expectation->expect();
                        would_sleep = !condition.load(std::memory_order_relaxed);
                      },
                      change, change};
      },
      [&] {
        if (would_sleep) CHECK(is_readable);
      });
  CHECK(orders >= 100);
}

TEST_CASE("readers that share a bandwidth cap never get more than the cap together",
          "[lock-free]") {
  const SteadyTime zero{};
  std::unique_ptr<BasicThrottle<StepAtomic>> throttle;
  std::multiset<std::int64_t> starts;
  const auto reader = [&] {
    for (int i = 0; i < 2; ++i) {
      starts.insert((throttle->reserve(1000, zero) - zero).count());
    }
  };
  every_order(
      [&] {
        throttle = std::make_unique<BasicThrottle<StepAtomic>>(1'000'000'000);  // 1 byte per ns
        starts.clear();
        return Bodies{reader, reader};
      },
      [&] {
        CHECK(starts == std::multiset<std::int64_t>{0, 1000, 2000, 3000});
      },
      2000);
}
