// SPDX-License-Identifier: Apache-2.0
// The pure parts: ranges, retries, proxies, addresses, endpoints.
#include <map>

#include "http/host_addresses.hpp"
#include "http/proxy.hpp"
#include "http/range_check.hpp"
#include "http/retry.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using namespace std::chrono_literals;

namespace {

ResponseHead head(int status, std::vector<HttpHeader> headers) {
  return {status, std::move(headers)};
}

PinnedVersion pinned_version() {
  return {100, "\"e\"", "yesterday"};
}

std::string verdict(const ResponseHead& answer, ByteRange wanted, const PinnedVersion& pinned) {
  const auto checked = check_range(answer, wanted, pinned);
  if (std::holds_alternative<AcceptedRange>(checked)) return "accepted";
  switch (std::get<RangeRefusal>(checked).why) {
    case RangeRefusal::Why::not_success:
      return "not success";
    case RangeRefusal::Why::bad_response:
      return "bad";
    case RangeRefusal::Why::range_ignored:
      return "ignored";
    case RangeRefusal::Why::object_changed:
      return "changed";
    case RangeRefusal::Why::encoded:
      return "encoded";
  }
  return "?";
}

}  // namespace

TEST_CASE("a range is accepted only as the rule says", "[http]") {
  const HttpHeader etag{"etag", "\"e\""};
  const auto range = [](const char* value) { return HttpHeader{"content-range", value}; };
  struct Row {
    ResponseHead head;
    ByteRange wanted;
    std::string expected;
  };
  const std::vector<Row> rows = {
      {head(206, {etag, range("bytes 10-19/100")}), {10, 10}, "accepted"},
      {head(206, {etag, range("BYTES 10-19/100")}), {10, 10}, "accepted"},
      {head(206, {etag, range("bytes 10-19/*")}), {10, 10}, "accepted"},
      {head(206, {etag, range("bytes 90-99/100")}), {90, 20}, "accepted"},
      {head(206, {etag, range("bytes 90-99/100"), {"content-length", "10"}}), {90, 20}, "accepted"},
      {head(206, {etag, range("bytes 90-99/100"), {"content-length", "11"}}), {90, 20}, "bad"},
      {head(206, {etag, range("bytes 90-98/100")}), {90, 20}, "bad"},
      {head(206, {etag, range("bytes 11-19/100")}), {10, 10}, "bad"},
      {head(206, {etag}), {10, 10}, "bad"},
      {head(206, {etag, range("bytes 10-19/100"), range("bytes 10-19/100")}), {10, 10}, "bad"},
      {head(206, {etag, range("bytes 19-10/100")}), {10, 10}, "bad"},
      {head(206, {etag, range("bytes 10-18446744073709551615/100")}), {10, 10}, "bad"},
      {head(206, {etag, range("bytes 10-99999999999999999999999/100")}), {10, 10}, "bad"},
      {head(206, {range("bytes 10-19/100")}), {10, 10}, "bad"},
      {head(206, {{"etag", "\"f\""}, range("bytes 10-19/100")}), {10, 10}, "changed"},
      {head(206, {etag, range("bytes 10-19/101")}), {10, 10}, "changed"},
      {head(206, {etag, range("bytes 10-19/100"), {"content-encoding", "gzip"}}),
       {10, 10},
       "encoded"},
      {head(206, {etag, range("bytes 10-19/100"), {"content-encoding", "identity"}}),
       {10, 10},
       "accepted"},
      {head(206,
            {etag, range("bytes 10-19/100"), {"content-type", "multipart/byteranges; boundary=x"}}),
       {10, 10},
       "bad"},
      {head(200, {etag, {"content-length", "100"}}), {0, 100}, "accepted"},
      {head(200, {etag, {"content-length", "100"}}), {0, 300}, "accepted"},
      {head(200, {etag, {"content-length", "100"}}), {0, 99}, "ignored"},
      {head(200, {etag, {"content-length", "100"}}), {1, 99}, "ignored"},
      {head(200, {etag}), {10, 10}, "ignored"},
      {head(404, {}), {10, 10}, "not success"},
      {head(301, {}), {10, 10}, "not success"},
      {head(304, {}), {10, 10}, "bad"},
      {head(204, {}), {10, 10}, "bad"},
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    INFO("row " << i);
    CHECK(verdict(rows[i].head, rows[i].wanted, pinned_version()) == rows[i].expected);
  }
  // Without an ETag, the date stands in.
  const PinnedVersion dated = {100, "", "yesterday"};
  CHECK(verdict(head(206, {{"last-modified", "yesterday"}, range("bytes 0-9/100")}), {0, 10},
                dated) == "accepted");
  CHECK(verdict(head(206, {{"last-modified", "today"}, range("bytes 0-9/100")}), {0, 10}, dated) ==
        "changed");
  // Nothing is known yet.
  CHECK(verdict(head(206, {etag, range("bytes 0-9/100")}), {0, 10}, {}) == "accepted");
  CHECK(verdict(head(206, {etag, range("bytes 0-9/*")}), {0, 10}, {}) == "bad");
}

TEST_CASE("delays are full jitter under a bound that doubles", "[http]") {
  const RetryPolicy policy;
  CHECK(retry_delay(policy, Again::soon, 1, {}, 0.0) == 0ms);
  CHECK(retry_delay(policy, Again::soon, 1, {}, 0.5) == 25ms);
  CHECK(retry_delay(policy, Again::soon, 4, {}, 0.5) == 200ms);
  CHECK(retry_delay(policy, Again::soon, 30, {}, 0.5) == 10s);
  CHECK(retry_delay(policy, Again::throttled, 1, {}, 0.5) == 500ms);
  CHECK(retry_delay(policy, Again::throttled, 100, {}, 0.999) < 20s);
  CHECK(retry_delay(policy, Again::at_once, 5, 9s, 0.5) == 0ms);
  CHECK(retry_delay(policy, Again::soon, 1, 3s, 0.5) == 3s);
  CHECK(retry_delay(policy, Again::soon, 1, 3600s, 0.5) == 60s);
}

TEST_CASE("Retry-After is read in each of its forms", "[http]") {
  const SystemTime now = parse_iso("2013-05-24T00:00:00Z").value();
  CHECK(retry_after(head(503, {{"retry-after", "7"}}), now) == 7s);
  CHECK(retry_after(head(503, {{"retry-after", "Fri, 24 May 2013 00:00:30 GMT"}}), now) == 30s);
  CHECK(retry_after(head(503, {{"retry-after", "Thu, 23 May 2013 00:00:00 GMT"}}), now) == 0s);
  CHECK(retry_after(head(503, {{"x-amz-retry-after", "250"}}), now) == 250ms);
  CHECK(retry_after(head(503, {{"retry-after-ms", "5"}, {"retry-after", "7"}}), now) == 5ms);
  CHECK_FALSE(retry_after(head(503, {{"retry-after", "soon"}}), now));
}

TEST_CASE("a retry budget ends, and success fills it", "[http]") {
  RetryBudget budget(1);
  int taken = 0;
  while (budget.take(Again::soon))
    ++taken;
  CHECK(taken == 100);
  CHECK(budget.take(Again::at_once));
  budget.succeeded();
  CHECK(budget.take(Again::soon));
  CHECK_FALSE(budget.take(Again::soon));
}

TEST_CASE("proxies come from the environment, as curl reads it", "[http]") {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  const Endpoint tls = *parse_endpoint("https://s3.example.com");
  const Endpoint plain = *parse_endpoint("http://s3.example.com");
  CHECK(proxy_for(tls, environment).empty());
  variables["HTTPS_PROXY"] = "http://p:1";
  variables["HTTP_PROXY"] = "http://forged:1";
  CHECK(proxy_for(tls, environment) == "http://p:1");
  CHECK(proxy_for(plain, environment).empty());
  variables["http_proxy"] = "http://q:2";
  CHECK(proxy_for(plain, environment) == "http://q:2");
  variables["NO_PROXY"] = "other.org, .example.com";
  CHECK(proxy_for(tls, environment).empty());
}

TEST_CASE("no_proxy: hosts, domains, addresses, blocks", "[http]") {
  CHECK(is_excluded_by("*", "anything"));
  CHECK(is_excluded_by("example.com", "example.com"));
  CHECK(is_excluded_by("example.com", "a.EXAMPLE.com"));
  CHECK_FALSE(is_excluded_by("example.com", "badexample.com"));
  CHECK(is_excluded_by("10.0.0.0/8", "10.1.2.3"));
  CHECK_FALSE(is_excluded_by("10.0.0.0/8", "11.1.2.3"));
  CHECK(is_excluded_by("10.1.2.0/23", "10.1.3.9"));
  CHECK(is_excluded_by("127.0.0.1", "127.0.0.1"));
  CHECK(is_excluded_by("[::1]", "::1"));
  CHECK(is_excluded_by("fd00::/8", "fd12::1"));
  CHECK_FALSE(is_excluded_by("10.0.0.0/99", "10.1.2.3"));
  CHECK_FALSE(is_excluded_by("", "x"));
}

TEST_CASE("addresses are spread over, and a dead one is left alone", "[http]") {
  int looked_up = 0;
  HostAddresses addresses("h", [&](const std::string&) {
    ++looked_up;
    return std::vector<std::string>{"1", "2", "3"};
  });
  const SteadyTime now{};
  std::map<std::string, int> users;
  for (int i = 0; i < 9; ++i)
    ++users[addresses.borrow(now)];
  CHECK(users == std::map<std::string, int>{{"1", 3}, {"2", 3}, {"3", 3}});
  addresses.give_back("2", true, now);
  for (int i = 0; i < 4; ++i)
    CHECK(addresses.borrow(now) != "2");
  CHECK(looked_up == 1);
  // After a while it gets another chance.
  CHECK(addresses.borrow(now + 6s) == "2");
  for (int i = 0; i < 4; ++i)
    addresses.give_back("2", true, now);
  CHECK(addresses.borrow(now) != "2");
  CHECK(looked_up == 2);
  HostAddresses single("h", [](const std::string&) { return std::vector<std::string>{"1"}; });
  CHECK(single.borrow(now).empty());
}

TEST_CASE("endpoints are taken apart, or refused", "[http]") {
  CHECK(parse_endpoint("minio:9000")->origin == "https://minio:9000");
  CHECK(parse_endpoint("HTTPS://Host:443/")->origin == "https://host");
  CHECK(parse_endpoint("http://host:80")->origin == "http://host");
  CHECK(parse_endpoint("http://[::1]:9000")->host() == "::1");
  CHECK(parse_endpoint("http://[::1]:9000")->port() == "9000");
  CHECK(parse_endpoint("http://h/base/path/")->base_path == "/base/path");
  for (const char* const bad :
       {"", "ftp://h", "http://", "http://u:secret@h", "http://h?x", "http://h:0", "http://h:99999",
        "http://h:x", "http://a b", "http://h/\x01", "http://[:80", "http://[::1", "http://[x]",
        "http://h<b>", "http//h", "https:/h", "HTTP:/h:80"}) {
    INFO(bad);
    const auto parsed = parse_endpoint(bad);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().line().find("secret") == std::string::npos);
  }
}

TEST_CASE("URLs: path and query as they stand", "[http]") {
  const auto url = parse_url("HTTPS://Host:443/a%20b/../c?x=1&sig=a%2Bb");
  REQUIRE(url);
  CHECK(url->origin == "https://host");
  CHECK(url->path == "/a%20b/../c");
  CHECK(url->query == "x=1&sig=a%2Bb");
  CHECK(parse_url("http://h?q")->path == "/");
  CHECK(parse_url("http://h:9000")->path == "/");
  CHECK(parse_url(" http://h/x ")->path == "/x");
  for (const char* const bad : {"http://h/#secret", "http://h/?a=b#secret", "http://h/?a=sec ret",
                                "ftp://h/?secret", "http://u@h/?secret",
                                // Over the wire the space would end the request's path.
                                "http://h/a ?secret"}) {
    INFO(bad);
    const auto parsed = parse_url(bad);
    REQUIRE_FALSE(parsed);
    if (std::string_view(bad).find('?') != std::string_view::npos)
      CHECK(parsed.error().line().find("sec") == std::string::npos);
  }
  const auto resolved = [](std::string_view location) {
    const auto made = resolve_location({"http://h", "/a/q", "x=1"}, location);
    return made->origin + made->path + (made->query.empty() ? "" : "?") + made->query;
  };
  CHECK(resolved("https://other/b") == "https://other/b");
  CHECK(resolved("//other/b") == "http://other/b");
  CHECK(resolved("/b/f?from=https://up/x") == "http://h/b/f?from=https://up/x");
  CHECK(resolved("b") == "http://h/a/b");
  CHECK(resolved("?token=1") == "http://h/a/q?token=1");
  CHECK(keeps_secrets(Endpoint{"https://anywhere", ""}));
  CHECK(keeps_secrets(Endpoint{"http://127.0.0.1:80", ""}));
  CHECK(keeps_secrets(Endpoint{"http://localhost", ""}));
  CHECK_FALSE(keeps_secrets(Endpoint{"http://10.0.0.1", ""}));
  CHECK_FALSE(keeps_secrets(Endpoint{"http://127.0.0.1.evil.org", ""}));
}
