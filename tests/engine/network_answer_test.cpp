// SPDX-License-Identifier: Apache-2.0
// Answers that are not what was asked for: understood, asked for again, or refused.
#include "engine/process_share.hpp"
#include "engine/reader_pool.hpp"
#include "support/network_faults.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("N10 a head may have lines that are none", "[network]") {
  for (const char* const line :
       {"HTTP/x:1", "HTTP/", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 2", ":", "x"}) {
    INFO(line);
    recovers([&](StoreLab& lab, const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      wire.send(fmt::format("HTTP/1.1 206 Partial Content\r\n{}\r\nContent-Length: {}\r\n\r\n",
                            line, range.bytes.size()) +
                range.bytes);
      wire.close();
    });
  }
}

TEST_CASE("N10 an error's body may be huge, endless, binary or compressed", "[network]") {
  for (const char* const kind : {"huge", "endless", "binary", "gzip"}) {
    INFO(kind);
    const std::string_view what = kind;
    const ErrorFields error =
        fails(ErrorKind::permission_denied, [&](StoreLab&, const WireRequest&, Wire& wire) {
          if (what == "huge") {
            wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 10000000\r\n\r\n");
            wire.send(std::string(10'000'000, 'x'));
          } else if (what == "endless") {
            wire.send("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n");
            while (wire.is_open())
              wire.send("400\r\n" + std::string(1024, 'x') + "\r\n");
          } else if (what == "binary") {
            wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n");
            wire.send(std::string_view("\0\x01\xff\xfe<E", 6));
            wire.close();
          } else {
            wire.send(
                "HTTP/1.1 403 Forbidden\r\nContent-Encoding: gzip\r\nContent-Length: "
                "4\r\n\r\n\x1f\x8b\x08x");
          }
        });
    CHECK(error.message.size() < 4096);
  }
}

TEST_CASE("N16 a range that the object no longer has is a change", "[network]") {
  fails(ErrorKind::object_changed, [](StoreLab&, const WireRequest&, Wire& wire) {
    wire.send(
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: "
        "0\r\n\r\n");
  });
}

TEST_CASE("N17 a wrong Content-Range is asked for again, and then an error", "[network]") {
  const std::vector<std::function<std::string(const Range&)>> wrong = {
      [](const Range& r) {
        return fmt::format("Content-Range: bytes {}-{}/{}\r\n", r.first + 1, r.last + 1,
                           r.total + 5);
      },
      [](const Range& r) {
        return fmt::format("Content-Range: bytes {}-{}/{}\r\n", r.first, r.last - 1, r.total);
      },
      [](const Range&) { return std::string(); },
      [](const Range& r) { return fmt::format("Content-Range: bytes */{}\r\n", r.total); },
      [](const Range&) { return std::string("Content-Range: pages 1-2/3\r\n"); },
      [](const Range& r) {
        return fmt::format(
            "Content-Range: bytes {0}-{1}/{2}\r\nContent-Range: bytes {0}-{1}/{2}\r\n", r.first,
            r.last, r.total);
      },
  };
  for (std::size_t i = 1; i < wrong.size(); ++i) {
    INFO(i);
    const auto answer = [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      send_with_head(
          wire, range,
          fmt::format("HTTP/1.1 206 Partial Content\r\nETag: {}\r\n{}Content-Length: {}\r\n\r\n",
                      range.etag, wrong[i](range), range.bytes.size()));
      wire.close();
    };
    recovers(answer, 2);
    fails(ErrorKind::io, answer);
  }
  // Another total is another object.
  fails(ErrorKind::object_changed, [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
    const Range range = lab.world.range_of(request);
    send_with_head(
        wire, range,
        fmt::format("HTTP/1.1 206 Partial Content\r\nETag: {}\r\n{}Content-Length: {}\r\n\r\n",
                    range.etag, wrong[0](range), range.bytes.size()));
  });
}

TEST_CASE("W10 one machine that does not know the object's end, or no ranges, is asked again",
          "[network]") {
  for (const bool is_416 : {true, false}) {
    INFO(is_416);
    recovers(
        [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
          const Range range = lab.world.range_of(request);
          if (is_416) return lab.world.answer_error(wire, 416, "InvalidRange");
          wire.send(fmt::format("HTTP/1.1 200 OK\r\nETag: {}\r\nContent-Length: {}\r\n\r\n",
                                range.etag, range.total));
          wire.send(std::string(range.total, 'x'));
        },
        1);
  }
  const ErrorFields error =
      fails(ErrorKind::object_changed, [](StoreLab& lab, const WireRequest&, Wire& wire) {
        lab.world.answer_error(wire, 416, "InvalidRange");
      });
  CHECK_THAT(error.message, Catch::Contains("no longer has these bytes"));
  CHECK(error.attempts >= 2);
}

TEST_CASE("N18 the whole object instead of a range is not taken", "[network]") {
  const ErrorFields error =
      fails(ErrorKind::unsupported, [](StoreLab& lab, const WireRequest& request, Wire& wire) {
        const Range range = lab.world.range_of(request);
        wire.send(fmt::format("HTTP/1.1 200 OK\r\nETag: {}\r\nContent-Length: {}\r\n\r\n",
                              range.etag, range.total));
        while (wire.is_open())
          wire.send(std::string(65536, 'x'));
      });
  CHECK_THAT(error.message, Catch::Contains("200"));
}

TEST_CASE("N20 compressed objects are refused in clear words", "[network]") {
  const ErrorFields error =
      fails(ErrorKind::unsupported, [](StoreLab& lab, const WireRequest& request, Wire& wire) {
        const Range range = lab.world.range_of(request);
        send_with_head(wire, range, lab.world.head_206(range, "Content-Encoding: gzip\r\n"));
      });
  CHECK_THAT(error.message, Catch::Contains("Content-Encoding"));
}

TEST_CASE("N7 a Content-Encoding that stands for plain bytes is read, any other is not",
          "[network]") {
  for (const char* const plain :
       {"Content-Encoding: aws-chunked\r\n", "Content-Encoding: AWS-Chunked, identity\r\n",
        "Content-Encoding: identity,aws-chunked,\r\n",
        "Content-Encoding: aws-chunked\r\nContent-Encoding: identity\r\n",
        "Content-Encoding:\r\n"}) {
    INFO(plain);
    StoreLab lab;
    lab.world.set_fault(always([&](const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      send_with_head(wire, range, lab.world.head_206(range, plain));
    }));
    const NetworkOutcome outcome = lab.load(lab.settings("4"));
    if (outcome.error) FAIL(outcome.error->line());
  }
  for (const char* const encoded :
       {"Content-Encoding: aws-chunked,gzip\r\n", "Content-Encoding: zstd, aws-chunked\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: br\r\n"}) {
    INFO(encoded);
    fails(ErrorKind::unsupported, [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      send_with_head(wire, range, lab.world.head_206(range, encoded));
    });
  }
}

TEST_CASE("N21 chunked answers, however they are cut", "[network]") {
  for (const std::size_t step : {std::size_t{100'000}, std::size_t{1000}, std::size_t{1}}) {
    StoreLab lab("127.0.0.1", 4);
    lab.world.set_fault(always([&](const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      std::string answer = fmt::format(
          "HTTP/1.1 206 Partial Content\r\nETag: {}\r\nTransfer-Encoding: chunked\r\n"
          "Content-Range: bytes {}-{}/{}\r\n\r\n",
          range.etag, range.first, range.last, range.total);
      for (std::size_t at = 0; at < range.bytes.size(); at += step) {
        const std::string piece = range.bytes.substr(at, step);
        answer += fmt::format("{:x};extension=\"x\"\r\n{}\r\n", piece.size(), piece);
      }
      wire.send(answer + "0\r\nX-Trailer: etag\r\n\r\n");
    }));
    const NetworkOutcome outcome = lab.load(lab.settings("4"));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.retries == 0);
  }
}

TEST_CASE("N22 odd heads are understood or refused, never half of each", "[network]") {
  const auto with_prefix = [](const std::string& prefix) {
    return [prefix](StoreLab& lab, const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      send_with_head(wire, range, prefix + lab.world.head_206(range));
    };
  };
  for (const std::string prefix :
       {"HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nETag: \"no\"\r\n\r\n"}) {
    StoreLab lab;
    lab.world.set_fault(always(
        [&](const WireRequest& request, Wire& wire) { with_prefix(prefix)(lab, request, wire); }));
    const NetworkOutcome outcome = lab.load(lab.settings("4"));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.retries == 0);
  }
  const std::vector<std::string> bad = {"X-Folded: a\r\n b\r\n",
                                        "X-Long: " + std::string(200'000, 'x') + "\r\n", [] {
                                          std::string many;
                                          for (int i = 0; i < 10'000; ++i)
                                            many += "X-N: 1\r\n";
                                          return many;
                                        }()};
  for (const std::string& headers : bad) {
    fails(ErrorKind::io, [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
      const Range range = lab.world.range_of(request);
      send_with_head(wire, range, lab.world.head_206(range, headers));
    });
  }
  fails(ErrorKind::io, [](StoreLab&, const WireRequest&, Wire& wire) {
    wire.send("SSH-2.0-OpenSSH_9.2\r\n");
    wire.close();
  });
  // 1.0 closes after each answer.
  StoreLab lab;
  lab.world.set_fault(always([&](const WireRequest& request, Wire& wire) {
    const Range range = lab.world.range_of(request);
    std::string head = lab.world.head_206(range);
    head.replace(0, 8, "HTTP/1.0");
    send_with_head(wire, range, head);
    wire.close();
  }));
  const NetworkOutcome outcome = lab.load(lab.settings("4"));
  if (outcome.error) FAIL(outcome.error->line());
}

TEST_CASE("a cap on bandwidth holds over a network, and the wait is counted", "[network]") {
  constexpr std::uint64_t kBytesPerSecond = kIsSanitized ? 256 * kKiB : 2 * kMiB;
  for (const std::string& connections : connection_counts()) {
    StoreLab lab;
    Settings settings = lab.settings(connections);
    REQUIRE(settings.set(setting::kMaxBandwidth, std::to_string(kBytesPerSecond)));
    const auto began = std::chrono::steady_clock::now();
    const NetworkOutcome outcome = lab.load(settings);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (outcome.error) FAIL(outcome.error->line());
    // A load may only be slower than its cap; the first chunk goes out at once.
    const auto capped = static_cast<double>(lab.data.size() - 64 * kKiB);
    CHECK(took.count() >= capped / static_cast<double>(kBytesPerSecond));
    CHECK(outcome.stats.bandwidth_wait_ns > 0);
    CHECK(outcome.stats.retries == 0);
  }
}

TEST_CASE("a load uses no more connections than the process may", "[network]") {
  const auto most_of_eight = [] {
    StoreLab lab;
    const NetworkOutcome outcome = lab.load(lab.settings("8"));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.bytes_network == lab.data.size());
    return outcome.stats.most_connections;
  };
  CHECK(most_of_eight() > 2);
  ProcessShare::mine().set_limits({.connections = 2});
  const std::uint64_t most = most_of_eight();
  ProcessShare::mine().set_limits({});
  CHECK(most <= 2);
}

TEST_CASE("loads on one pool of readers go on with the connections of those before", "[network]") {
  StoreLab lab;
  const Settings settings = lab.settings("4");
  const auto checkpoint = *lab.open(settings);
  LoadOptions options;
  const auto load_once = [&] {
    const NetworkOutcome outcome = lab.load_with(checkpoint, settings, options);
    if (outcome.error) FAIL(outcome.error->line());
  };
  ReaderPool pool;
  options.pool = &pool;
  load_once();
  const std::uint32_t before = lab.world.server().connections();
  for (int i = 0; i < 5; ++i)
    load_once();
  // Readers take the loops as they come, and one may want a connection more than the one before.
  CHECK(lab.world.server().connections() < before + 4);
  CHECK(pool.loops().count() != 0);

  ReaderPool impatient(std::chrono::milliseconds(10));
  options.pool = &impatient;
  load_once();
  const SteadyTime until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (impatient.loops().count() != 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(impatient.loops().count() == 0);
  load_once();
}
