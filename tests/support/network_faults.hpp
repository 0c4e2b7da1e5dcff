// SPDX-License-Identifier: Apache-2.0
#pragma once
// Faults of a store, when they strike, and what a load must make of them.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "support/store_lab.hpp"

namespace streamer::test {

using Range = StoreWorld::Range;

// What was logged as a warning while this lives.
class Warnings {
 public:
  Warnings() {
    core::set_log_sink(core::LogLevel::warning, [this](core::LogLevel, std::string_view line) {
      const std::lock_guard lock(mutex_);
      lines_.emplace_back(line);
    });
  }
  ~Warnings() { core::set_log_sink(core::LogLevel::off, {}); }

  std::size_t count(std::string_view text) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(
        lines_.begin(), lines_.end(),
        [&](const std::string& line) { return line.find(text) != std::string::npos; }));
  }

  // All of them, a line each.
  std::string text() {
    const std::lock_guard lock(mutex_);
    std::string joined;
    for (const std::string& line : lines_)
      joined += line + "\n";
    return joined;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

// A fault that hits the first `hits` requests for ranges, every third one.
inline StoreWorld::Fault first_hits(std::uint32_t hits,
                                    std::function<void(const WireRequest&, Wire&)> what) {
  auto left = std::make_shared<std::atomic<std::int32_t>>(static_cast<std::int32_t>(hits));
  return
      [left, what = std::move(what)](const WireRequest& request, Wire& wire, std::uint32_t turn) {
        if (turn % 3 != 1 || left->fetch_sub(1) <= 0) return false;
        what(request, wire);
        return true;
      };
}

inline StoreWorld::Fault always(std::function<void(const WireRequest&, Wire&)> what) {
  return [what = std::move(what)](const WireRequest& request, Wire& wire, std::uint32_t) {
    what(request, wire);
    return true;
  };
}

// How many connections each fault is met with.
inline std::vector<std::string> connection_counts() {
  return {"1", "64"};
}

// The load must come through, with every byte right and at least one retry.
inline void recovers(std::function<void(StoreLab&, const WireRequest&, Wire&)> what,
                     std::uint32_t hits = 4) {
  for (const std::string& connections : connection_counts()) {
    INFO("connections: " << connections);
    StoreLab lab;
    lab.world.set_fault(first_hits(
        hits, [&](const WireRequest& request, Wire& wire) { what(lab, request, wire); }));
    const NetworkOutcome outcome = lab.load(lab.settings(connections));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.retries >= 1);
    CHECK(lab.world.bad_signatures() == 0);
  }
}

// The load must fail with this kind; what it said.
inline core::ErrorFields fails(core::ErrorKind kind,
                               std::function<void(StoreLab&, const WireRequest&, Wire&)> what) {
  core::ErrorFields last;
  for (const std::string& connections : connection_counts()) {
    INFO("connections: " << connections);
    StoreLab lab;
    lab.world.set_fault(
        always([&](const WireRequest& request, Wire& wire) { what(lab, request, wire); }));
    NetworkOutcome outcome = lab.load(lab.settings(connections));
    REQUIRE(outcome.error);
    INFO(outcome.error->line());
    CHECK(outcome.error->kind() == kind);
    CHECK(outcome.error->fields().uri == lab.uri());
    last = outcome.error->fields();
  }
  return last;
}

// How an answer ends that something else was written into, where the object's bytes should go on.
enum class Framing {
  length_close,  // its length is not reached, and the connection ends
  length_reset,
  length_stall,   // or goes silent
  until_close,    // HTTP/1.0, whose answers end when their connection does
  chunked_close,  // in chunks, without the last one
  chunked_ended,  // in chunks, and in order
  too_long,       // its length is reached, and more comes
};
inline constexpr Framing kFramings[] = {
    Framing::length_close,  Framing::length_reset,  Framing::length_stall, Framing::until_close,
    Framing::chunked_close, Framing::chunked_ended, Framing::too_long};

enum class Junk { page, noise, zeros };
inline constexpr Junk kJunks[] = {Junk::page, Junk::noise, Junk::zeros};

inline std::string make_junk(Junk kind, std::size_t size, std::uint32_t seed) {
  if (kind == Junk::zeros) return std::string(size, '\0');
  if (kind == Junk::noise) {
    const auto bytes = random_bytes(size, seed);
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }
  const std::string line = "<html><body><h1>502 Bad Gateway</h1><hr>proxy</body></html>\r\n";
  std::string page;
  while (page.size() < size)
    page += line;
  page.resize(size);
  return page;
}

// Answers with the first `good` bytes of the range, then with the junk, cut so that the range is
// not filled; with too_long, the junk ends behind the range.
inline void answer_with_junk(StoreLab& lab, const WireRequest& request, Wire& wire, Framing framing,
                             std::size_t good, const std::string& junk) {
  const Range range = lab.world.range_of(request);
  const std::size_t size = range.bytes.size();
  good = framing == Framing::too_long ? size - std::min(size, (junk.size() + 1) / 2)
                                      : std::min(good, size - 1);
  std::string body = range.bytes.substr(0, good) + junk;
  const bool says_length = framing == Framing::length_close || framing == Framing::length_reset ||
                           framing == Framing::length_stall;
  if (says_length) body.resize(std::min(body.size(), size - 1));
  // What would be an answer of the right length is none of these.
  if (body.size() == size) body += '!';
  std::string head = lab.world.head_206(range);
  const auto replace_length = [&](const std::string& by) {
    const std::string length = fmt::format("Content-Length: {}\r\n", size);
    head.replace(head.find(length), length.size(), by);
  };
  switch (framing) {
    case Framing::too_long: {
      // In one piece around the range's end: what comes later is no longer seen.
      const std::size_t last = size - std::min<std::size_t>(size, 8'000);
      wire.send(head + body.substr(0, last));
      wire.flush();
      wire.send(body.substr(last, 8'001 + std::min<std::size_t>(junk.size() / 2, 40'000)));
      return wire.close();
    }
    case Framing::length_close:
      wire.send(head + body);
      return wire.close();
    case Framing::length_reset:
      wire.send(head + body);
      return wire.close_after_read();
    case Framing::length_stall:
      wire.send(head + body);
      return wire.stall();
    case Framing::until_close:
      replace_length("Connection: close\r\n");
      head.replace(0, 8, "HTTP/1.0");
      wire.send(head + body);
      return wire.close();
    case Framing::chunked_close:
    case Framing::chunked_ended:
      replace_length("Transfer-Encoding: chunked\r\n");
      wire.send(head);
      for (std::size_t at = 0; at < body.size(); at += 10'000) {
        const std::string piece = body.substr(at, 10'000);
        wire.send(fmt::format("{:x}\r\n{}\r\n", piece.size(), piece));
      }
      if (framing == Framing::chunked_ended) return wire.send("0\r\n\r\n");
      return wire.close();
  }
}

inline void send_with_head(Wire& wire, const Range& range, const std::string& head) {
  wire.send(head + range.bytes);
}

}  // namespace streamer::test
