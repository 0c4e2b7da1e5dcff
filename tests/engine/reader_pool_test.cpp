// SPDX-License-Identifier: Apache-2.0
#include "engine/reader_pool.hpp"

#include <atomic>
#include <latch>
#include <string>

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

using Bodies = std::vector<std::function<void()>>;

// What the pool tells loads apart by.
const int kFirst = 0;
const int kSecond = 0;

}  // namespace

TEST_CASE("a load's readers begin in order, as those of earlier loads end", "[pool]") {
  ReaderPool pool;
  std::latch first_may_end(1);
  std::latch second_began(1);
  std::atomic<bool> has_first_ended{false};
  // One of two readers is done at once: the second load goes on with its thread.
  REQUIRE(pool.run(&kFirst,
                   Bodies{[&] {
                            first_may_end.wait();
                            has_first_ended = true;
                          },
                          [] {}},
                   1));
  std::atomic<bool> was_alone{true};
  REQUIRE(pool.run(&kSecond,
                   Bodies{[&] {
                            was_alone = has_first_ended.load();
                            second_began.count_down();
                          },
                          [] {}},
                   1));
  second_began.wait();
  CHECK_FALSE(was_alone);
  CHECK(pool.threads() == 2);
  first_may_end.count_down();
  pool.end(&kFirst);
  CHECK(has_first_ended);
  pool.end(&kSecond);
}

TEST_CASE("one thread runs all readers, first come, first served", "[pool]") {
  std::string order;
  ReaderPool pool;
  std::latch may_begin(1);
  REQUIRE(pool.run(&kFirst, {[&] {
    may_begin.wait();
    order += 'a';
  }},
                   1));
  for (const char reader : {'b', 'c', 'd'})
    REQUIRE(pool.run(&kSecond, {[&order, reader] { order += reader; }}, 1));
  std::latch all_done(1);
  REQUIRE(pool.run(&kFirst, {[&] { all_done.count_down(); }}, 1));
  may_begin.count_down();
  all_done.wait();
  CHECK(order == "abcd");
  CHECK(pool.threads() == 1);
}

TEST_CASE("a load that ends takes its waiting readers with it, and waits for the others",
          "[pool]") {
  ReaderPool pool;
  std::latch began(1);
  std::latch may_end(1);
  std::atomic<bool> has_ended{false};
  std::atomic<bool> has_begun{false};
  REQUIRE(pool.run(&kFirst, {[&] {
    began.count_down();
    may_end.wait();
    has_ended = true;
  }},
                   1));
  REQUIRE(pool.run(&kSecond, {[&] { has_begun = true; }}, 1));
  began.wait();
  // Returns at once, though the only thread is taken.
  pool.end(&kSecond);
  may_end.count_down();
  pool.end(&kFirst);
  CHECK(has_ended);
  std::latch last(1);
  REQUIRE(pool.run(&kFirst, {[&] { last.count_down(); }}, 1));
  last.wait();
  pool.end(&kFirst);
  CHECK_FALSE(has_begun);
}
