// SPDX-License-Identifier: Apache-2.0
// Every way in which a store or the network can fail, one test each, with one connection and
// with 64.
#include <set>

#include "http/host_addresses.hpp"
#include "support/network_faults.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("a healthy store: every byte, every signature, no retry", "[network]") {
  for (const std::string& connections : connection_counts()) {
    StoreLab lab;
    const NetworkOutcome outcome = lab.load(lab.settings(connections));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.retries == 0);
    CHECK(outcome.stats.bytes_network == lab.data.size());
    CHECK(lab.world.bad_signatures() == 0);
    CHECK(outcome.stats.most_connections <= std::stoul(connections));
  }
}

TEST_CASE("N01 a connection reset before the answer is made anew", "[network]") {
  for (const std::string& connections : connection_counts()) {
    StoreLab lab;
    lab.world.set_fault(first_hits(4, [](const WireRequest&, Wire& wire) { wire.reset(); }));
    const NetworkOutcome outcome = lab.load(lab.settings(connections));
    // On a connection that was used before, libcurl itself tries once more.
    if (outcome.error) FAIL(outcome.error->line());
  }
}

TEST_CASE("N02 a reset in the body resumes before it, by no more than is held back", "[network]") {
  for (const double part : {0.0, 0.5, 1.0}) {
    std::mutex mutex;
    std::set<std::uint64_t> asked_from;
    std::set<std::uint64_t> cut_at;
    std::uint32_t without_condition = 0;
    for (const std::string& connections : connection_counts()) {
      StoreLab lab;
      const StoreWorld::Fault cut = first_hits(4, [&](const WireRequest& request, Wire& wire) {
        const Range range = lab.world.range_of(request);
        // All but the last byte for 1.0.
        const auto size =
            static_cast<std::size_t>(part * static_cast<double>(range.bytes.size() - 1));
        wire.send(lab.world.head_206(range) + range.bytes.substr(0, size));
        wire.close_after_read();
        const std::lock_guard lock(mutex);
        cut_at.insert(range.first + size);
      });
      lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t turn) {
        {
          const std::lock_guard lock(mutex);
          asked_from.insert(lab.world.range_of(request).first);
          if (request.header("if-match").empty()) ++without_condition;
        }
        return cut(request, wire, turn);
      });
      const NetworkOutcome outcome = lab.load(lab.settings(connections));
      if (outcome.error) FAIL(outcome.error->line());
    }
    // A hub's commit pins the bytes.
    CHECK((without_condition == 0 || dialect_under_test() == Dialect::hub));
    for (const std::uint64_t offset : cut_at) {
      const auto next = asked_from.lower_bound(offset - std::min(offset, 96 * kKiB));
      CHECK((next != asked_from.end() && *next <= offset));
    }
  }
}

TEST_CASE("N03 an end in the body, with a length", "[network]") {
  recovers([](StoreLab& lab, const WireRequest& request, Wire& wire) {
    const Range range = lab.world.range_of(request);
    wire.send(lab.world.head_206(range) + range.bytes.substr(0, range.bytes.size() / 2));
    wire.close();
  });
}

TEST_CASE("N04 an end in the body, without a length", "[network]") {
  recovers([](StoreLab& lab, const WireRequest& request, Wire& wire) {
    const Range range = lab.world.range_of(request);
    wire.send(
        fmt::format("HTTP/1.1 206 Partial Content\r\nETag: {}\r\nConnection: close\r\n"
                    "Content-Range: bytes {}-{}/{}\r\n\r\n",
                    range.etag, range.first, range.last, range.total));
    wire.send(std::string_view(range.bytes).substr(0, range.bytes.size() / 2));
    wire.close();
  });
}

TEST_CASE("N05 contradicting or impossible lengths never give short data", "[network]") {
  for (const char* const length :
       {"Content-Length: 5\r\n", "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: -1\r\n"}) {
    INFO(length);
    recovers(
        [&](StoreLab& lab, const WireRequest& request, Wire& wire) {
          const Range range = lab.world.range_of(request);
          send_with_head(wire, range, lab.world.head_206(range, length));
          wire.close();
        },
        1);
  }
}

TEST_CASE("N06 a server that goes silent is left and asked again", "[network]") {
  enum class When { before_head, after_head, in_body, after_all };
  for (const When when : {When::before_head, When::after_head, When::in_body, When::after_all}) {
    for (const std::string& connections : connection_counts()) {
      StoreLab lab;
      lab.world.set_fault(first_hits(2, [&](const WireRequest& request, Wire& wire) {
        const Range range = lab.world.range_of(request);
        const std::string head =
            when == When::after_all
                ? fmt::format(
                      "HTTP/1.1 206 Partial Content\r\nETag: {}\r\nConnection: close\r\n"
                      "Content-Range: bytes {}-{}/{}\r\n\r\n",
                      range.etag, range.first, range.last, range.total)
                : lab.world.head_206(range);
        if (when != When::before_head) wire.send(head);
        if (when == When::in_body) wire.send(range.bytes.substr(0, range.bytes.size() / 2));
        if (when == When::after_all) wire.send(range.bytes);
        wire.stall();
      }));
      Settings settings = lab.settings(connections);
      // A server that sent everything must not be taken for a silent one because cores are busy.
      REQUIRE(settings.set(setting::kStallTimeoutMs, when == When::after_all ? "5000" : "400"));
      const NetworkOutcome outcome = lab.load(settings);
      if (outcome.error) FAIL(outcome.error->line());
      // What came whole is not asked for again, whatever the server forgot.
      CHECK((outcome.stats.retries >= 1) == (when != When::after_all));
    }
  }
}

TEST_CASE("N12 each attempt at a silent store is a warning with its number", "[network]") {
  StoreLab lab;
  lab.world.set_fault(always([](const WireRequest&, Wire& wire) { wire.stall(); }));
  Settings settings = lab.settings("1");
  REQUIRE(settings.set(setting::kStallTimeoutMs, "200"));
  REQUIRE(settings.set(setting::kMaxAttempts, "3"));
  Warnings warnings;
  const NetworkOutcome outcome = lab.load(settings);
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::timed_out);
  for (const char* const attempt : {"attempt 1: ", "attempt 2: ", "attempt 3: "})
    CHECK(warnings.count(attempt) >= 1);
  CHECK(warnings.count("no byte arrived for 200 ms") >= 3);
}

TEST_CASE("N12 an attempt that fails in another way, but after long, is a warning too",
          "[network]") {
  StoreLab lab;
  lab.world.set_fault(always([](const WireRequest&, Wire& wire) {
    wire.pause(std::chrono::milliseconds(2'100));
    wire.reset();
  }));
  Settings settings = lab.settings("1");
  REQUIRE(settings.set(setting::kMaxAttempts, "2"));
  Warnings warnings;
  const NetworkOutcome outcome = lab.load(settings);
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::io);
  for (const char* const attempt : {"attempt 1: ", "attempt 2: "})
    CHECK(warnings.count(attempt) >= 1);
}

TEST_CASE("N6 an endpoint's other machine is followed, and signed for", "[network]") {
  if (dialect_under_test() != Dialect::s3) return skip("only S3-compatible stores redirect so");
  StoreLab lab;
  std::atomic<std::uint32_t> sent_on{0};
  WireServer gateway([&](const WireRequest& request, Wire& wire) {
    ++sent_on;
    wire.send(
        fmt::format("HTTP/1.1 {} Redirect\r\nLocation: {}{}{}pid=p%2F1&utm=7\r\n"
                    "Content-Length: 0\r\n\r\n",
                    sent_on % 2 == 0 ? 307 : 308, lab.world.server().url(), request.target,
                    request.query.empty() ? "?" : "&"));
  });
  for (const std::string& connections : connection_counts()) {
    Settings settings = lab.settings(connections);
    REQUIRE(settings.set(setting::kS3Endpoint, gateway.url()));
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
  }
  CHECK(lab.world.bad_signatures() == 0);
  CHECK(sent_on > 2);
}

TEST_CASE("N6 a machine that another one names gets no credential, and loops end", "[network]") {
  if (dialect_under_test() != Dialect::s3) return skip("only S3-compatible stores redirect so");
  for (const char* const what : {"third", "loop", "key", "nowhere"}) {
    INFO(what);
    const std::string_view to = what;
    StoreLab lab;
    std::atomic<std::uint32_t> leaked{0};
    std::atomic<std::uint32_t> asked{0};
    WireServer third([&](const WireRequest& request, Wire& wire) {
      for (const char* const secret :
           {"authorization", "x-amz-server-side-encryption-customer-key"})
        if (!request.header(secret).empty()) ++leaked;
      wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    std::string second_url;
    const auto send_to = [&](Wire& wire, const std::string& url) {
      wire.send(fmt::format("HTTP/1.1 307 Redirect\r\n{}Content-Length: 0\r\n\r\n",
                            url.empty() ? "" : "Location: " + url + "\r\n"));
    };
    WireServer second([&](const WireRequest& request, Wire& wire) {
      ++asked;
      send_to(wire, (to == "third" ? third.url() : second_url) + request.target);
    });
    second_url = second.url();
    WireServer gateway([&](const WireRequest& request, Wire& wire) {
      ++asked;
      if (to == "nowhere") return send_to(wire, "");
      send_to(wire, second.url() + (to == "key" ? "/bucket/other" : request.target));
    });
    Settings settings = lab.settings("1");
    REQUIRE(settings.set(setting::kS3Endpoint, gateway.url()));
    REQUIRE(settings.set(setting::kS3SseCustomerKey, base64_encode(std::string(32, 'k'))));
    const NetworkOutcome outcome = lab.load(settings);
    REQUIRE(outcome.error);
    CHECK(leaked == 0);
    CHECK(asked <= 7);
  }
}

TEST_CASE("N07 a trickling connection is overtaken by a second request", "[network]") {
  StoreLab lab;
  auto hit = std::make_shared<std::atomic<bool>>(false);
  lab.world.set_fault([&, hit](const WireRequest& request, Wire& wire, std::uint32_t turn) {
    if (turn < 40 || hit->exchange(true)) return false;
    const Range range = lab.world.range_of(request);
    wire.send(lab.world.head_206(range));
    for (const char byte : range.bytes) {
      if (!wire.is_open()) break;
      wire.send(std::string_view(&byte, 1));
      wire.pause(std::chrono::milliseconds(100));
    }
    return true;
  });
  Settings settings = lab.settings("8");
  REQUIRE(settings.set(setting::kHedging, "auto"));
  REQUIRE(settings.set(setting::kStallTimeoutMs, "60000"));
  const NetworkOutcome outcome = lab.load(settings);
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.hedges >= 1);
  CHECK(outcome.stats.bytes_network - outcome.stats.bytes_discarded == lab.data.size());
}

TEST_CASE("N08 passing statuses are tried again", "[network]") {
  for (const int status : {500, 502, 504, 408}) {
    INFO(status);
    recovers([&](StoreLab& lab, const WireRequest&, Wire& wire) {
      lab.world.answer_error(wire, status, "");
    });
  }
}

TEST_CASE("N08 throttling backs off, and Retry-After is honoured", "[network]") {
  for (const auto& row :
       std::vector<std::pair<int, std::string>>{{503, "SlowDown"}, {429, ""}, {503, ""}}) {
    const int status = row.first;
    const std::string code = row.second;
    StoreLab lab;
    auto first = std::make_shared<std::atomic<bool>>(true);
    lab.world.set_fault([&, first](const WireRequest&, Wire& wire, std::uint32_t) {
      if (!first->exchange(false)) return false;
      lab.world.answer_error(wire, status, code, "", "Retry-After: 1\r\n");
      return true;
    });
    const auto began = std::chrono::steady_clock::now();
    const NetworkOutcome outcome = lab.load(lab.settings("1"));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(std::chrono::steady_clock::now() - began >= std::chrono::seconds(1));
  }
}

TEST_CASE("N08 a store that stays down is an error with the last code", "[network]") {
  StoreLab lab;
  Settings settings = lab.settings("4");
  REQUIRE(settings.set(setting::kMaxAttempts, "3"));
  lab.world.set_fault(always(
      [&](const WireRequest&, Wire& wire) { lab.world.answer_error(wire, 500, "InternalError"); }));
  const NetworkOutcome outcome = lab.load(settings);
  REQUIRE(outcome.error);
  INFO(outcome.error->line());
  CHECK(outcome.error->kind() == ErrorKind::io);
  CHECK(outcome.error->fields().service_code == code_in(lab.world.dialect(), "InternalError"));
  CHECK(outcome.error->fields().http_status == 500);
  CHECK(outcome.error->fields().request_id == "TESTREQUEST");
  CHECK(outcome.error->fields().attempts == 3);
  CHECK(outcome.error->fields().host == lab.world.server().url().substr(7));
}

TEST_CASE("N11 expired credentials are renewed once for all", "[network]") {
  const Dialect dialect = dialect_under_test();
  if (dialect == Dialect::https || dialect == Dialect::hub)
    return skip("the token is a setting, and there is no other");
  const std::vector<std::pair<int, std::string>> of_s3 = {
      {400, "ExpiredToken"}, {403, "InvalidAccessKeyId"}, {401, ""}};
  const std::vector<std::pair<int, std::string>> of_tokens = {{401, "AuthenticationRequired"},
                                                              {401, ""}};
  for (const auto& row : dialect == Dialect::s3 ? of_s3 : of_tokens) {
    const int status = row.first;
    const std::string code = row.second;
    for (const std::string& connections : connection_counts()) {
      INFO(code << " " << connections);
      StoreLab lab;
      const StoreKey old_key{.id = "OLDKEY", .secret = "old", .token = "old token+/="};
      const StoreKey new_key{.id = "NEWKEY", .secret = "new", .token = "new token"};
      lab.world.set_keys({old_key, new_key});
      lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t turn) {
        const std::string authorization = request.header("authorization");
        const bool is_old = authorization.find("OLDKEY") != std::string::npos ||
                            authorization == "Bearer " + old_key.token;
        if (turn < 10 || !is_old) return false;
        lab.world.answer_error(wire, status, code);
        return true;
      });
      auto calls = std::make_shared<std::atomic<int>>(0);
      Settings settings = lab.settings(connections);
      settings.set_credentials_callback(
          [=]() -> Result<GivenCredentials> {
            const StoreKey& key = calls->fetch_add(1) == 0 ? old_key : new_key;
            return GivenCredentials{key.id, Secret(key.secret), Secret(key.token), std::nullopt,
                                    Secret(key.token)};
          },
          "");
      const NetworkOutcome outcome = lab.load(settings);
      if (outcome.error) FAIL(outcome.error->line());
      CHECK(*calls == 2);
      CHECK(lab.world.bad_signatures() == 0);
    }
  }
}

TEST_CASE("N11 a token that expires in a load is asked for again where it came from", "[network]") {
  const Dialect dialect = dialect_under_test();
  if (dialect != Dialect::google && dialect != Dialect::azure)
    return skip("this store's credentials are no tokens that are asked for");
  for (const std::string& connections : connection_counts()) {
    INFO(connections);
    std::atomic<int> given{0};
    WireServer tokens([&](const WireRequest& request, Wire& wire) {
      const bool is_right = request.body.find("secret=canary") != std::string::npos;
      const std::string body =
          fmt::format(R"({{"access_token":"token{}","expires_in":3600}})", given++);
      wire.send(fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", is_right ? 200 : 400,
                            body.size(), body));
    });
    StoreLab lab;
    const TemporaryFolder folder;
    Settings settings = lab.settings(connections);
    if (dialect == Dialect::google) {
      const std::string file =
          fmt::format(R"({{"type":"authorized_user","client_id":"i","client_secret":"canary",)"
                      R"("refresh_token":"r","token_uri":"{}/token"}})",
                      tokens.url());
      REQUIRE(settings.set(setting::kGcsCredentials,
                           "file:" + write_text(folder.path() / "user.json", file).string()));
    } else {
      // As the environment says it; the key of the lab is left out.
      settings = Settings();
      for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
               {"debug.connections", connections},
               {"debug.chunk_bytes", "16KiB"},
               {"azure_endpoint", lab.world.server().url() + lab.world.root()},
               {"azure_account_name", StoreKey().id}})
        REQUIRE(streamer::capi::set_by_name(settings, name, value));
      ::setenv("AZURE_TENANT_ID", "t", 1);
      ::setenv("AZURE_CLIENT_ID", "app", 1);
      ::setenv("AZURE_CLIENT_SECRET", "canary", 1);
      ::setenv("AZURE_AUTHORITY_HOST", tokens.url().c_str(), 1);
    }
    lab.world.set_keys({{"", "", "token0"}, {"", "", "token1"}});
    lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t turn) {
      if (turn < 10 || request.header("authorization") != "Bearer token0") return false;
      lab.world.answer_error(wire, 401, "AuthenticationRequired");
      return true;
    });
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(given == 2);
    CHECK(lab.world.bad_signatures() == 0);
  }
}

TEST_CASE("N11 credentials that stay the same are an error", "[network]") {
  const bool is_s3 = dialect_under_test() == Dialect::s3;
  const std::string code = is_s3 ? "ExpiredToken" : "AuthenticationRequired";
  const ErrorFields error =
      fails(is_s3 ? ErrorKind::credentials_expired : ErrorKind::permission_denied,
            [&](StoreLab& lab, const WireRequest&, Wire& wire) {
              lab.world.answer_error(wire, is_s3 ? 400 : 401, code);
            });
  CHECK(error.service_code == code_in(dialect_under_test(), code));
}

TEST_CASE("N12 access denied is final", "[network]") {
  StoreLab lab;
  lab.world.set_fault(always(
      [&](const WireRequest&, Wire& wire) { lab.world.answer_error(wire, 403, "AccessDenied"); }));
  const NetworkOutcome outcome = lab.load(lab.settings("1"));
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::permission_denied);
  const std::map<Dialect, std::string> advice = {{Dialect::s3, "ListBucket"},
                                                 {Dialect::google, "storage.objects.list"},
                                                 {Dialect::azure, "Storage Blob Data Reader"},
                                                 {Dialect::https, "403"},
                                                 {Dialect::hub, "403"}};
  CHECK_THAT(outcome.error->message(), Catch::Contains(advice.at(lab.world.dialect())));
  CHECK(lab.world.ranges() == 1);
}

TEST_CASE("N13 a clock that is off is corrected once", "[network]") {
  const Dialect dialect = dialect_under_test();
  if (dialect == Dialect::google || dialect == Dialect::https || dialect == Dialect::hub)
    return skip("bearer tokens carry no time of their own");
  for (const int minutes : {-20, 20}) {
    StoreLab lab;
    lab.world.set_clock_offset(std::chrono::minutes(minutes));
    const std::uint32_t chunks = [&] {
      StoreLab healthy;
      return static_cast<std::uint32_t>(healthy.load(healthy.settings("1")).stats.network_requests);
    }();
    const NetworkOutcome outcome = lab.load(lab.settings("1"));
    if (outcome.error) FAIL(outcome.error->line());
    // One request more than without: the first one, which was refused.
    CHECK(lab.world.requests() == chunks + 2);
  }
  // Below four minutes the clock is not what is wrong.
  StoreLab lab;
  lab.world.set_clock_offset(std::chrono::minutes(4) - std::chrono::seconds(5));
  lab.world.set_keys({{"testkeyid", "YW5vdGhlcg==", ""}});
  const NetworkOutcome outcome = lab.load(lab.settings("1"));
  REQUIRE(outcome.error);
  CHECK(outcome.error->fields().service_code == code_in(dialect, "SignatureDoesNotMatch"));
  CHECK(lab.world.requests() == 1);
}

TEST_CASE("N14 an object that was replaced is never mixed", "[network]") {
  // What a hub is asked for has no condition: the answer's ETag says it.
  const bool is_hub = dialect_under_test() == Dialect::hub;
  for (const std::string& connections : connection_counts()) {
    StoreLab lab;
    const Settings settings = lab.settings(connections);
    const auto checkpoint = lab.open(settings);
    REQUIRE(checkpoint);
    lab.world.put(lab.key, std::string(lab.data.size() + 4000, 'x'));
    const NetworkOutcome outcome = lab.load(*checkpoint, settings);
    REQUIRE(outcome.error);
    CHECK(outcome.error->kind() == ErrorKind::object_changed);
    CHECK(outcome.error->fields().http_status == (is_hub ? 206 : 412));
  }
  // A store that ignores If-Match.
  const ErrorFields error =
      fails(ErrorKind::object_changed, [](StoreLab& lab, const WireRequest& request, Wire& wire) {
        Range range = lab.world.range_of(request);
        range.etag = "\"another\"";
        send_with_head(wire, range, lab.world.head_206(range));
      });
  CHECK_THAT(error.message, Catch::Contains("another"));
}

TEST_CASE("N15 an object that was deleted is not found", "[network]") {
  StoreLab lab;
  const Settings settings = lab.settings("8");
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  lab.world.remove(lab.key);
  const NetworkOutcome outcome = lab.load(*checkpoint, settings);
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::not_found);
}

TEST_CASE("N26 an IPv6 address is asked with its brackets signed", "[network]") {
  if (!has_ipv6()) return skip("this machine has no loopback for IPv6");
  StoreLab lab("::1");
  const NetworkOutcome outcome = lab.load(lab.settings("4"));
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(lab.world.bad_signatures() == 0);
}

TEST_CASE("N30 a consumer that pauses is no stall", "[network]") {
  StoreLab lab;
  Settings settings = lab.settings("8");
  REQUIRE(settings.set(setting::kMemoryLimit, "200000"));
  REQUIRE(settings.set(setting::kStallTimeoutMs, "1500"));
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  auto load = Load::start(*checkpoint, everything(**checkpoint), {.when_full = WhenFull::wait},
                          *read_load_settings(settings));
  REQUIRE(load);
  std::uint32_t yielded = 0;
  while (TensorLease* const lease = next(**load)) {
    const std::uint64_t number = *parse_unsigned(lease->tensor().name.substr(1));
    REQUIRE(std::memcmp(lease->data(), lab.data.data() + number * StoreLab::kTensorBytes,
                        StoreLab::kTensorBytes) == 0);
    // Longer than a stall may last.
    if (++yielded == 3) std::this_thread::sleep_for(std::chrono::milliseconds(3200));
    lease->release();
  }
  CHECK(yielded == StoreLab::kTensors);
  CHECK((*load)->stats().retries == 0);
  CHECK((*load)->stats().arena_bytes <= 300'000);
}

TEST_CASE("N31 all connections reset at once", "[network]") {
  StoreLab lab("127.0.0.1", 64);
  auto gate = std::make_shared<std::atomic<std::uint32_t>>(0);
  lab.world.set_fault([gate](const WireRequest&, Wire& wire, std::uint32_t turn) {
    if (turn < 64 || turn >= 320) return false;
    ++*gate;
    wire.reset();
    return true;
  });
  const NetworkOutcome outcome = lab.load(lab.settings("256"));
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.retries >= 200);
}

TEST_CASE("cancelling a load over a network ends it at once", "[network]") {
  StoreLab lab;
  lab.world.set_fault(always([](const WireRequest&, Wire& wire) { wire.stall(); }));
  const Settings settings = lab.settings("16");
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  auto load = Load::start(*checkpoint, everything(**checkpoint), {}, *read_load_settings(settings));
  REQUIRE(load);
  const auto began = std::chrono::steady_clock::now();
  load->reset();
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(1));
}

TEST_CASE("a load to which nothing comes any more fails in time", "[network]") {
  StoreLab lab;
  Settings settings = lab.settings("4");
  REQUIRE(settings.set(setting::kProgressTimeoutMs, "600"));
  REQUIRE(settings.set(setting::kStallTimeoutMs, "60000"));
  lab.world.set_fault(always([](const WireRequest&, Wire& wire) { wire.stall(); }));
  const NetworkOutcome outcome = lab.load(settings);
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::timed_out);
}

TEST_CASE("a connection that stays too slow is given up", "[network]") {
  StoreLab lab;
  Settings settings = lab.settings("4");
  REQUIRE(settings.set(setting::kLowSpeedLimit, "10000"));
  REQUIRE(settings.set(setting::kStallTimeoutMs, "400"));
  lab.world.set_fault(first_hits(1, [&](const WireRequest& request, Wire& wire) {
    const Range range = lab.world.range_of(request);
    wire.send(lab.world.head_206(range));
    for (std::size_t at = 0; at < range.bytes.size() && wire.is_open(); ++at) {
      wire.send(std::string_view(range.bytes).substr(at, 1));
      wire.pause(std::chrono::milliseconds(50));
    }
  }));
  const NetworkOutcome outcome = lab.load(settings);
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.retries >= 1);
}

TEST_CASE("of a host's addresses, one that is dead is left alone", "[network]") {
  // Of "localhost", only the IPv4 address is listened on.
  if (resolve_host("localhost").size() < 2)
    return skip("localhost has one address only on this machine");
  StoreLab lab;
  Settings settings = lab.settings("16");
  if (lab.world.dialect() != Dialect::s3) return skip("run for S3 alone");
  REQUIRE(settings.set(setting::kS3Endpoint,
                       "http://localhost:" + std::to_string(lab.world.server().port())));
  const NetworkOutcome outcome = lab.load(settings);
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.retries <= 16);
}

TEST_CASE("wanted bytes that are near each other are asked for together", "[network]") {
  StoreLab lab;
  Settings settings = lab.settings("4");
  REQUIRE(settings.set(setting::kChunkBytes, "auto"));
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  std::vector<PlanRequest> requests;
  for (std::uint32_t t = 0; t < StoreLab::kTensors; t += 2)
    requests.push_back({.tensor = t, .part = Part::bytes, .start = 100, .stop = 1000});
  auto load = Load::start(*checkpoint, requests, {}, *read_load_settings(settings));
  REQUIRE(load);
  while (TensorLease* const lease = next(**load)) {
    const std::uint64_t number = *parse_unsigned(lease->tensor().name.substr(1));
    CHECK(std::memcmp(lease->data(), lab.data.data() + number * StoreLab::kTensorBytes + 100,
                      900) == 0);
    lease->release();
  }
  CHECK((*load)->stats().network_requests <= 4);
}
