// SPDX-License-Identifier: Apache-2.0
// Answers that go on behind their announced end, over plain connections.
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdio>

#include "http/event_loop.hpp"
#include "support/catch.hpp"
#include "support/wire_server.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// More than libcurl reads at once: what is behind the last piece stays in the socket.
constexpr std::size_t kAnnounced = 100'000;

class Noticing final : public TransferSink {
 public:
  BodyUse on_head(const ResponseHead&) override { return BodyUse::to_sink; }
  bool on_body(std::string_view bytes) override {
    size += bytes.size();
    return true;
  }
  void on_excess() override { had_excess = true; }
  bool has_all() const noexcept override { return size >= kAnnounced; }

  std::size_t size = 0;
  bool had_excess = false;
};

bool has_excess(EventLoop& loop, const HttpRequest& request) {
  Noticing sink;
  TransferOptions options;
  options.receive_buffer_bytes = 16 * kKiB;
  Transfer transfer(request, sink, options);
  REQUIRE(loop.add(transfer));
  std::vector<Transfer*> finished;
  while (finished.empty())
    loop.turn(SteadyTime::max(), finished);
  INFO(transfer.fault_text());
  CHECK(sink.size == kAnnounced);
  return sink.had_excess;
}

HttpRequest request_to(const WireServer& server) {
  HttpRequest request;
  request.origin = fmt::format("http://127.0.0.1:{}", server.port());
  return request;
}

std::string answer_of(std::size_t bytes) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", kAnnounced,
                     std::string(bytes, 'x'));
}

// The calling thread.
bool stay_on(int core) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  return ::sched_setaffinity(0, sizeof only, &only) == 0;
}
bool come_first() {
  const sched_param priority{1};
  return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &priority) == 0;
}

}  // namespace

TEST_CASE("bytes behind an answer are noticed", "[http]") {
  WireServer server([](const WireRequest&, Wire& wire) {
    wire.send(answer_of(kAnnounced + 50));
    wire.close();
  });
  const auto loop = *EventLoop::make(4);
  const HttpRequest request = request_to(server);
  CHECK(has_excess(*loop, request));
  CHECK(has_excess(*loop, request));
}

// On a connection that was used before, libcurl looks for the answer right after it has asked, and
// if that is there, never says which socket it waits for. Here the server answers at once: it has
// the client's core whenever it wants it.
TEST_CASE("bytes behind an answer that was there at once are noticed", "[http]") {
  cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  const int core = ::sched_getcpu();
  std::atomic<bool> comes_first{false};
  std::atomic<int> answers{0};
  WireServer server([&](const WireRequest&, Wire& wire) {
    if (answers == 0) comes_first = stay_on(core) && come_first();
    // The connection goes on as long as nothing is wrong.
    wire.send(answer_of(answers++ == 0 ? kAnnounced : kAnnounced + 50));
  });
  const auto loop = *EventLoop::make(4);
  const HttpRequest request = request_to(server);
  REQUIRE(stay_on(core));
  const bool was_good = !has_excess(*loop, request);
  const bool is_noticed = has_excess(*loop, request);
  ::sched_setaffinity(0, sizeof before, &before);
  CHECK(was_good);
  CHECK(is_noticed);
  if (!comes_first) std::puts("SKIPPED: threads may not be given priority here (CAP_SYS_NICE)");
}
