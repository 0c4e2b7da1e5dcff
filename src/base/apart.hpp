// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs calls that cannot be interrupted, such as getaddrinfo(), on a separate thread, which is
// abandoned once the result is no longer wanted.

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "base/fits_in_memory.hpp"
#include "base/guarded.hpp"
#include "base/operation.hpp"
#include "base/thread.hpp"

namespace streamer::core::inline base {

// Returns what call() returns. call must own everything it uses, because it may outlive this
// function. If nothing can interrupt the current thread, call is simply called.
template <typename T>
Result<T> call_apart(std::function<T()> call, std::string_view doing) {
  if (work_fd() < 0 && work_deadline() == SteadyTime::max()) return call();
  TRY(still_wanted(doing));
  struct Shared {
    UniqueFd done;
    Guarded<std::optional<T>> value;
  };
  const auto shared = std::make_shared<Shared>();
  shared->done = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shared->done) return os_failure("create an eventfd", errno);
  auto thread = Thread::start("streamer-apart", [shared, call = std::move(call)] {
    static_cast<void>(fits_in_memory([&] {
      T made = call();
      shared->value.with([&](std::optional<T>& value) { value = std::move(made); });
    }));
    const std::uint64_t once = 1;
    static_cast<void>(!::write(shared->done.get(), &once, sizeof once));
  });
  if (!thread) return std::move(thread).error();
  const auto is_done = wait_readable(shared->done.get(), SteadyTime::max(), doing);
  if (!is_done) {
    thread->detach();
    return is_done.error().copy();
  }
  thread->join();
  auto value = shared->value.with([](std::optional<T>& made) { return std::move(made); });
  if (!value) return Error(ErrorKind::out_of_memory, "not enough memory for it");
  return *std::move(value);
}

}  // namespace streamer::core::inline base
