// SPDX-License-Identifier: Apache-2.0
#include "base/thread.hpp"

#include <signal.h>

#include <memory>

namespace streamer::core::inline base {

namespace {

struct Start {
  std::string name;
  std::function<void()> body;
};

void* run(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  pthread_setname_np(pthread_self(), start->name.substr(0, 15).c_str());
  start->body();
  return nullptr;
}

}  // namespace

Result<Thread> Thread::start(std::string name, std::function<void()> body) {
  auto start = std::make_unique<Start>(Start{std::move(name), std::move(body)});
  // Signals belong to the host's threads. They are blocked before the thread exists, so that it can
  // never receive one.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t id{};
  const int os_error = pthread_create(&id, nullptr, run, start.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (os_error != 0) {
    return os_failure("start the thread " + start->name +
                          " (its limits: ulimit -u, and pids.max of the control group)",
                      os_error);
  }
  start.release();  // run() owns it now
  Thread thread;
  thread.id_ = id;
  return thread;
}

}  // namespace streamer::core::inline base
