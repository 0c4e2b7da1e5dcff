// SPDX-License-Identifier: Apache-2.0
#pragma once
// A store on loopback that behaves like S3, checks every signature from what came over the wire,
// and misbehaves as a test tells it to.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/crypto.hpp"
#include "base/timestamp.hpp"
#include "support/wire_server.hpp"

namespace streamer::test {

struct S3Key {
  std::string id = "TESTKEYID";
  std::string secret = "test/secret+key";
  std::string token;
};

// The signature that a request should carry, from the specification and the wire's bytes alone.
inline std::string expected_signature(const WireRequest& request, const std::string& secret,
                                      const std::string& scope, const std::string& signed_headers) {
  std::vector<std::string> parameters;
  for (std::size_t at = 0; at < request.query.size();) {
    const std::size_t end = std::min(request.query.find('&', at), request.query.size());
    parameters.push_back(request.query.substr(at, end - at));
    at = end + 1;
  }
  std::sort(parameters.begin(), parameters.end());
  std::string query;
  for (const std::string& parameter : parameters)
    query += (query.empty() ? "" : "&") + parameter;
  std::string lines;
  for (std::size_t at = 0; at < signed_headers.size();) {
    const std::size_t end = std::min(signed_headers.find(';', at), signed_headers.size());
    const std::string name = signed_headers.substr(at, end - at);
    lines += name + ":" + request.header(name) + "\n";
    at = end + 1;
  }
  const std::string hash = core::hex(core::as_text(core::sha256(request.body)));
  const std::string canonical = request.method + "\n" + request.path + "\n" + query + "\n" + lines +
                                "\n" + signed_headers + "\n" + hash;
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + request.header("x-amz-date") + "\n" + scope +
                              "\n" + core::hex(core::as_text(core::sha256(canonical)));
  std::string key = "AWS4" + secret;
  std::string rest = scope;
  while (!rest.empty()) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    key = std::string(core::as_text(core::hmac_sha256(key, rest.substr(0, slash))));
    rest.erase(0, std::min(slash + 1, rest.size()));
  }
  return core::hex(core::as_text(core::hmac_sha256(key, to_sign)));
}

class S3World {
 public:
  // Handles a request itself, and returns true; or leaves it to the store. `turn` counts the
  // requests for ranges of objects, from 0, without those for the first byte of a checkpoint.
  using Fault = std::function<bool(const WireRequest&, Wire&, std::uint32_t turn)>;

  explicit S3World(const std::string& address = "127.0.0.1")
      : server_([this](const WireRequest& request, Wire& wire) { handle(request, wire); },
                address) {}

  WireServer& server() { return server_; }

  void put(const std::string& key, std::string bytes) {
    const std::lock_guard lock(mutex_);
    objects_["/bucket/" + core::percent_encode(key, "/")] = {std::move(bytes), next_etag()};
  }
  void remove(const std::string& key) {
    const std::lock_guard lock(mutex_);
    objects_.erase("/bucket/" + core::percent_encode(key, "/"));
  }
  void set_fault(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }
  void set_keys(std::vector<S3Key> keys) {
    const std::lock_guard lock(mutex_);
    keys_ = std::move(keys);
  }
  // What HEAD answers carry besides.
  void set_head_headers(std::string headers) {
    const std::lock_guard lock(mutex_);
    head_headers_ = std::move(headers);
  }
  // What the store believes the time to be, less this machine's.
  void set_clock_offset(std::chrono::seconds offset) { clock_offset_ = offset.count(); }

  std::uint32_t requests() const { return requests_; }
  std::uint32_t bad_signatures() const { return bad_signatures_; }
  std::uint32_t ranges() const { return turns_; }
  std::uint64_t bytes_sent() const { return bytes_sent_; }

  // ---- What handlers answer with ----

  std::string date() const {
    return core::format_http_date(std::chrono::system_clock::now() +
                                  std::chrono::seconds(clock_offset_));
  }
  void answer_error(Wire& wire, int status, const std::string& code, const std::string& more = "",
                    const std::string& headers = "") const {
    const std::string body = fmt::format(
        "<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>as the test wants it</Message>"
        "<RequestId>TESTREQUEST</RequestId>{}</Error>",
        code, more);
    wire.send(
        fmt::format("HTTP/1.1 {} Error\r\nDate: {}\r\nContent-Type: application/xml\r\n"
                    "x-amz-request-id: TESTREQUEST\r\n{}Content-Length: {}\r\n\r\n{}",
                    status, date(), headers, body.size(), body));
  }

  struct Range {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::string bytes;  // of the object
    std::uint64_t total = 0;
    std::string etag;
  };
  // What the request asks for; first > last if it is no range of an object that is there.
  Range range_of(const WireRequest& request) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(request.path);
    const std::string header = request.header("range");
    if (found == objects_.end() || !header.starts_with("bytes=")) return {1, 0, {}, 0, {}};
    const std::size_t dash = header.find('-');
    Range range;
    range.total = found->second.bytes.size();
    range.first = *core::parse_unsigned(header.substr(6, dash - 6));
    range.last = std::min(*core::parse_unsigned(header.substr(dash + 1)), range.total - 1);
    range.etag = found->second.etag;
    if (range.first <= range.last)
      range.bytes = found->second.bytes.substr(range.first, range.last - range.first + 1);
    return range;
  }
  std::string head_206(const Range& range, const std::string& more = "") const {
    return fmt::format(
        "HTTP/1.1 206 Partial Content\r\nDate: {}\r\nETag: {}\r\n"
        "Content-Range: bytes {}-{}/{}\r\nContent-Length: {}\r\n{}\r\n",
        date(), range.etag, range.first, range.last, range.total, range.bytes.size(), more);
  }

 private:
  struct Stored {
    std::string bytes;
    std::string etag;
  };

  std::string next_etag() { return fmt::format("\"etag-{}\"", ++etags_); }

  void handle(const WireRequest& request, Wire& wire) {
    ++requests_;
    Fault fault;
    {
      const std::lock_guard lock(mutex_);
      fault = fault_;
    }
    const bool is_range = request.header("range").starts_with("bytes=") &&
                          !request.header("range").starts_with("bytes=0-");
    const std::uint32_t turn = is_range ? turns_++ : 0;
    if (is_range && fault && fault(request, wire, turn)) return;
    if (!check_signature(request, wire)) return;
    answer(request, wire);
  }

  bool check_signature(const WireRequest& request, Wire& wire) {
    std::vector<S3Key> keys;
    {
      const std::lock_guard lock(mutex_);
      keys = keys_;
    }
    const std::string header = request.header("authorization");
    const auto part = [&](const std::string& name, char end) {
      const std::size_t at = header.find(name);
      if (at == std::string::npos) return std::string();
      return header.substr(at + name.size(), header.find(end, at) - at - name.size());
    };
    const std::string credential = part("Credential=", ',');
    const std::string id = credential.substr(0, credential.find('/'));
    const std::string scope = credential.substr(std::min(id.size() + 1, credential.size()));
    const auto said = core::parse_iso(request.header("x-amz-date"));
    if (!said) {
      answer_error(wire, 403, "AccessDenied");
      return false;
    }
    const auto off =
        *said - (std::chrono::system_clock::now() + std::chrono::seconds(clock_offset_));
    if (std::chrono::abs(off) > std::chrono::minutes(15)) {
      answer_error(wire, 403, "RequestTimeTooSkewed");
      return false;
    }
    for (const S3Key& key : keys) {
      if (key.id != id) continue;
      const std::string signature = header.substr(header.rfind('=') + 1);
      const bool is_right = signature == expected_signature(request, key.secret, scope,
                                                            part("SignedHeaders=", ',')) &&
                            request.header("x-amz-security-token") == key.token;
      if (is_right) return true;
      ++bad_signatures_;
      answer_error(wire, 403, "SignatureDoesNotMatch");
      return false;
    }
    answer_error(wire, 403, "InvalidAccessKeyId");
    return false;
  }

  void answer_head(const WireRequest& request, Wire& wire) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(request.path);
    if (found == objects_.end())
      return wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nETag: {}\r\n{}Content-Length: {}\r\n\r\n",
                          found->second.etag, head_headers_, found->second.bytes.size()));
  }

  void answer(const WireRequest& request, Wire& wire) {
    if (request.method == "HEAD") return answer_head(request, wire);
    if (request.query.find("list-type=2") != std::string::npos) return answer_list(request, wire);
    const Range range = range_of(request);
    if (range.first > range.last) {
      if (range.total == 0) return answer_error(wire, 404, "NoSuchKey");
      return answer_error(wire, 416, "InvalidRange");
    }
    const std::string condition = request.header("if-match");
    if (!condition.empty() && condition != range.etag)
      return answer_error(wire, 412, "PreconditionFailed");
    bytes_sent_ += range.bytes.size();
    wire.send(head_206(range) + range.bytes);
  }

  void answer_list(const WireRequest& request, Wire& wire) {
    std::string prefix;
    const std::size_t at = request.query.find("prefix=");
    if (at != std::string::npos) {
      const std::size_t end = std::min(request.query.find('&', at), request.query.size());
      prefix = *core::percent_decode(request.query.substr(at + 7, end - at - 7));
    }
    std::string body = "<ListBucketResult><IsTruncated>false</IsTruncated>";
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [path, stored] : objects_) {
        const std::string key = *core::percent_decode(path.substr(8));
        if (!key.starts_with(prefix)) continue;
        body += fmt::format("<Contents><Key>{}</Key><Size>{}</Size></Contents>", key,
                            stored.bytes.size());
      }
    }
    body += "</ListBucketResult>";
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Length: {}\r\n\r\n{}", date(),
                          body.size(), body));
  }

  std::mutex mutex_;
  std::map<std::string, Stored> objects_;
  Fault fault_;
  std::string head_headers_;
  std::vector<S3Key> keys_ = {S3Key()};
  std::atomic<std::int64_t> clock_offset_{0};
  std::uint32_t etags_ = 0;
  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint32_t> turns_{0};
  std::atomic<std::uint32_t> bad_signatures_{0};
  std::atomic<std::uint64_t> bytes_sent_{0};
  WireServer server_;  // last: its threads use the rest
};

}  // namespace streamer::test
