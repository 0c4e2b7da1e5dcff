// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.hpp"

#include <signal.h>

#include <atomic>

#include "cli/exit_code.hpp"

namespace streamer::cli {

namespace {

constinit std::atomic<const Operation*> current{nullptr};
constinit std::atomic<int> caught{0};
static_assert(std::atomic<const Operation*>::is_always_lock_free &&
              std::atomic<int>::is_always_lock_free);

extern "C" void on_interrupt(int number) {
  caught.store(number, std::memory_order_relaxed);
  const Operation* const operation = current.load(std::memory_order_acquire);
  if (operation != nullptr) operation->cancel();
  ::signal(number, SIG_DFL);
}

}  // namespace

Result<void> catch_interrupts() {
  auto made = Operation::make();
  if (!made) return std::move(made).error();
  // Never ended: a signal may come as long as the process lives.
  current.store(new Operation(*std::move(made)), std::memory_order_release);
  ::signal(SIGINT, on_interrupt);
  ::signal(SIGTERM, on_interrupt);
  return {};
}

const Operation* interrupts() noexcept {
  return current.load(std::memory_order_acquire);
}

bool was_interrupted() noexcept {
  return caught.load(std::memory_order_relaxed) != 0;
}

int interrupted_exit_code() noexcept {
  const int number = caught.load(std::memory_order_relaxed);
  return number == SIGTERM ? kExitTerminated : kExitInterrupted;
}

}  // namespace streamer::cli
