// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnccl.so.2 whose ranks are threads of one process: what is passed on is copied
// in the streams, as NCCL does it, once both sides are there. Calls can be made to fail.
#include "support/fake_nccl.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

using streamer::test::FakeNcclEnqueue;

constexpr int kSuccess = 0;
constexpr int kInternalError = 3;

struct Message {
  const void* from;
  std::size_t bytes;
  bool is_taken = false;
};

// All ranks that have the same id.
struct Group {
  int joined = 0;
  bool is_aborted = false;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> messages;  // from, to
};

struct Comm {
  Group* group;
  int rank;
};

struct Operation {
  Comm* comm;
  bool is_send;
  const void* from;
  void* to;
  std::size_t bytes;
  int peer;
  void* stream;
};

struct UniqueId {
  std::array<char, 128> internal;
};

struct World {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, Group> groups;
  int ids = 0;
  int alive = 0;
  std::vector<Comm*> aborted;
  FakeNcclEnqueue enqueue = nullptr;
  std::string failing;
  int fails_at = 0;
  std::map<std::string, int> calls;
};

World& world() {
  // Never gone: streams may use it until the process is.
  static auto* const the_world = new World;
  return *the_world;
}

thread_local std::vector<Operation> operations;

int call(const std::string& function) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  const bool fails = ++all.calls[function] == all.fails_at && function == all.failing;
  return fails ? kInternalError : kSuccess;
}

// On a thread of the stream.
void perform(void* argument) {
  const std::unique_ptr<std::vector<Operation>> work(
      static_cast<std::vector<Operation>*>(argument));
  World& all = world();
  std::unique_lock lock(all.mutex);
  std::vector<std::shared_ptr<Message>> sent;
  for (const Operation& one : *work) {
    if (!one.is_send) continue;
    sent.push_back(std::make_shared<Message>(Message{one.from, one.bytes}));
    one.comm->group->messages[{one.comm->rank, one.peer}].push_back(sent.back());
  }
  all.changed.notify_all();
  for (const Operation& one : *work) {
    if (one.is_send) continue;
    Group& group = *one.comm->group;
    auto& queue = group.messages[{one.peer, one.comm->rank}];
    all.changed.wait(lock, [&] { return group.is_aborted || !queue.empty(); });
    if (group.is_aborted) return;
    if (queue.front()->bytes == one.bytes) std::memcpy(one.to, queue.front()->from, one.bytes);
    queue.front()->is_taken = true;
    queue.pop_front();
    all.changed.notify_all();
  }
  for (const auto& message : sent) {
    all.changed.wait(lock,
                     [&] { return work->front().comm->group->is_aborted || message->is_taken; });
  }
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void fake_nccl_use(FakeNcclEnqueue enqueue) {
  world().enqueue = enqueue;
}
EXPORT void fake_nccl_fail(const char* function, int n) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  all.failing = function;
  all.fails_at = n;
  all.calls.clear();
}
EXPORT int fake_nccl_alive() {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  return all.alive;
}

EXPORT const char* ncclGetErrorString(int) {
  return "failed because the test wants it";
}
EXPORT int ncclGetUniqueId(UniqueId* id) {
  if (const int failed = call("ncclGetUniqueId")) return failed;
  World& all = world();
  const std::lock_guard lock(all.mutex);
  const int number = ++all.ids;
  std::memcpy(id->internal.data(), &number, sizeof number);
  return kSuccess;
}
EXPORT int ncclCommInitRank(void** comm, int ranks, UniqueId id, int rank) {
  const int failed = call("ncclCommInitRank");
  int number = 0;
  std::memcpy(&number, id.internal.data(), sizeof number);
  World& all = world();
  std::unique_lock lock(all.mutex);
  Group& group = all.groups[number];
  ++group.joined;
  all.changed.notify_all();
  all.changed.wait(lock, [&] { return group.joined == ranks; });
  if (failed) return failed;
  ++all.alive;
  *comm = new Comm{&group, rank};
  return kSuccess;
}
EXPORT int ncclCommGetAsyncError(void* comm, int* state) {
  if (const int failed = call("ncclCommGetAsyncError")) return failed;
  World& all = world();
  const std::lock_guard lock(all.mutex);
  *state = static_cast<Comm*>(comm)->group->is_aborted ? kInternalError : kSuccess;
  return kSuccess;
}
EXPORT int ncclCommAbort(void* comm) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  static_cast<Comm*>(comm)->group->is_aborted = true;
  all.changed.notify_all();
  --all.alive;
  all.aborted.push_back(static_cast<Comm*>(comm));  // what streams still do with it goes on
  return kSuccess;
}
EXPORT int ncclCommDestroy(void* comm) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  --all.alive;
  delete static_cast<Comm*>(comm);
  return kSuccess;
}
EXPORT int ncclGroupStart() {
  operations.clear();
  return call("ncclGroupStart");
}
EXPORT int ncclSend(const void* from, std::size_t count, int, int peer, void* comm, void* stream) {
  if (const int failed = call("ncclSend")) return failed;
  operations.push_back({static_cast<Comm*>(comm), true, from, nullptr, count, peer, stream});
  return kSuccess;
}
EXPORT int ncclRecv(void* to, std::size_t count, int, int peer, void* comm, void* stream) {
  if (const int failed = call("ncclRecv")) return failed;
  operations.push_back({static_cast<Comm*>(comm), false, nullptr, to, count, peer, stream});
  return kSuccess;
}
EXPORT int ncclGroupEnd() {
  if (const int failed = call("ncclGroupEnd")) return failed;
  if (operations.empty()) return kSuccess;
  void* const stream = operations.front().stream;
  world().enqueue(stream, perform, new std::vector<Operation>(std::exchange(operations, {})));
  return kSuccess;
}
