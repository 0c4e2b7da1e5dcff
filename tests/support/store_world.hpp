// SPDX-License-Identifier: Apache-2.0
#pragma once
// A store on loopback that behaves like the one whose dialect it speaks, checks who asks from what
// came over the wire, and misbehaves as a test tells it to.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/crypto.hpp"
#include "base/timestamp.hpp"
#include "support/dialect.hpp"
#include "support/wire_server.hpp"

namespace streamer::test {

class StoreWorld {
 public:
  // Handles a request itself, and returns true; or leaves it to the store. `turn` counts the
  // requests for ranges of objects, from 0, without those for the first byte of a checkpoint.
  using Fault = std::function<bool(const WireRequest&, Wire&, std::uint32_t turn)>;

  explicit StoreWorld(const std::string& address = "127.0.0.1", Dialect dialect = Dialect::s3)
      : dialect_(dialect),
        server_([this](const WireRequest& request, Wire& wire) { handle(request, wire); },
                address) {}

  WireServer& server() { return server_; }
  Dialect dialect() const { return dialect_; }
  // Before "/bucket/key" on the wire: Azure's way to name the account where no host does.
  std::string root() const { return dialect_ == Dialect::azure ? "/" + StoreKey().id : ""; }

  void put(const std::string& key, std::string bytes) {
    const std::lock_guard lock(mutex_);
    objects_[path_of(key)] = {std::move(bytes), next_etag()};
  }
  void remove(const std::string& key) {
    const std::lock_guard lock(mutex_);
    objects_.erase(path_of(key));
  }
  void set_fault(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }
  void set_keys(std::vector<StoreKey> keys) {
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
    const std::string own = code_in(dialect_, code);
    const std::string of_hub =
        dialect_ == Dialect::hub && !own.empty() ? "X-Error-Code: " + own + "\r\n" : "";
    const std::string body = fmt::format(
        "{}<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>as the test wants it</Message>"
        "<RequestId>TESTREQUEST</RequestId>{}</Error>",
        dialect_ == Dialect::azure ? "\xEF\xBB\xBF" : "", own, more);
    wire.send(
        fmt::format("HTTP/1.1 {} Error\r\nDate: {}\r\nContent-Type: application/xml\r\n"
                    "{}: TESTREQUEST\r\n{}{}Content-Length: {}\r\n\r\n{}",
                    status, date(), request_id_header(), of_hub, headers, body.size(), body));
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
    range.etag = found->second.etag;
    if (range.total == 0) return {1, 0, {}, 0, range.etag};
    range.first = *core::parse_unsigned(header.substr(6, dash - 6));
    range.last = std::min(*core::parse_unsigned(header.substr(dash + 1)), range.total - 1);
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

  std::string path_of(const std::string& key) const {
    return root() + "/bucket/" + core::percent_encode(key, "/");
  }
  const char* request_id_header() const {
    return dialect_ == Dialect::azure    ? "x-ms-request-id"
           : dialect_ == Dialect::google ? "X-GUploader-UploadID"
           : dialect_ == Dialect::hub    ? "X-Request-Id"
                                         : "x-amz-request-id";
  }

  std::string next_etag() { return fmt::format("\"etag-{}\"", ++etags_); }

  // A hub has one commit, whose files are replaced as a store's objects are, and no CDN.
  void handle(const WireRequest& request, Wire& wire) {
    static const std::string commit(40, 'a');
    static const std::string api = "/api/models/org/model/";
    static const std::string resolve = "/org/model/resolve/" + commit;
    if (dialect_ != Dialect::hub) return handle_plain(request, wire);
    if (request.path == api + "revision/main")
      return answer_json(wire, fmt::format(R"({{"sha":"{}"}})", commit));
    if (request.path.starts_with(api + "tree/" + commit)) {
      const std::string folder = request.path.substr(api.size() + 5 + commit.size());
      return answer_tree(request, *core::percent_decode(folder.empty() ? "" : folder.substr(1)),
                         wire);
    }
    WireRequest plain = request;
    if (plain.path.starts_with(resolve)) plain.path.replace(0, resolve.size(), "/bucket");
    handle_plain(plain, wire);
  }

  void handle_plain(const WireRequest& request, Wire& wire) {
    ++requests_;
    Fault fault;
    {
      const std::lock_guard lock(mutex_);
      fault = fault_;
    }
    const std::string range = request.header("range");
    const bool is_range = range.starts_with("bytes=") && !range.starts_with("bytes=0-");
    const std::uint32_t turn = is_range ? turns_++ : 0;
    if (is_range && fault && fault(request, wire, turn)) return;
    if (!check_signature(request, wire)) return;
    answer(request, wire);
  }

  bool is_skewed(std::optional<core::SystemTime> said) const {
    if (!said) return true;
    const auto off =
        *said - (std::chrono::system_clock::now() + std::chrono::seconds(clock_offset_));
    return std::chrono::abs(off) > std::chrono::minutes(15);
  }

  // False once it was answered: whoever asked may not.
  bool check_signature(const WireRequest& request, Wire& wire) {
    std::vector<StoreKey> keys;
    {
      const std::lock_guard lock(mutex_);
      keys = keys_;
    }
    const std::string header = request.header("authorization");
    if (header.starts_with("Bearer ")) {
      const std::string token = header.substr(7);
      for (const StoreKey& key : keys) {
        if (!key.token.empty() && key.token == token) return true;
      }
      if (dialect_ == Dialect::google && may_read_google(token)) return true;
      return refuse(wire, 401, "AuthenticationRequired");
    }
    if (dialect_ == Dialect::azure) return check_azure(request, wire, keys);
    // Google knows HMAC keys too.
    return check_aws(request, wire, keys);
  }

  bool refuse(Wire& wire, int status, const std::string& code) {
    ++bad_signatures_;
    answer_error(wire, status, code);
    return false;
  }

  bool check_azure(const WireRequest& request, Wire& wire, const std::vector<StoreKey>& keys) {
    if (is_skewed(core::parse_http_date(request.header("x-ms-date")))) {
      answer_error(wire, 403, "AuthenticationFailed");
      return false;
    }
    for (const StoreKey& key : keys) {
      if (request.header("x-ms-version") == "2021-12-02" &&
          request.header("authorization") ==
              "SharedKey " + key.id + ":" + azure_signature(request, key))
        return true;
    }
    return refuse(wire, 403, "AuthenticationFailed");
  }

  bool check_aws(const WireRequest& request, Wire& wire, const std::vector<StoreKey>& keys) {
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
    if (is_skewed(said)) {
      answer_error(wire, 403, "RequestTimeTooSkewed");
      return false;
    }
    for (const StoreKey& key : keys) {
      if (key.id != id) continue;
      const std::string signature = header.substr(header.rfind('=') + 1);
      const bool is_right =
          signature == aws_signature(request, key.secret, scope, part("SignedHeaders=", ',')) &&
          request.header("x-amz-security-token") == key.token;
      return is_right || refuse(wire, 403, "SignatureDoesNotMatch");
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
    if (request.query.find("list") != std::string::npos) return answer_list(request, wire);
    const Range range = range_of(request);
    if (range.first > range.last) {
      if (range.etag.empty()) return answer_error(wire, 404, "NoSuchKey");
      return answer_error(wire, 416, "InvalidRange");
    }
    const std::string condition = request.header("if-match");
    if (!condition.empty() && condition != range.etag)
      return answer_error(wire, 412, "PreconditionFailed");
    bytes_sent_ += range.bytes.size();
    wire.send(head_206(range) + range.bytes);
  }

  void answer_list(const WireRequest& request, Wire& wire) {
    const auto parameter = [&](const std::string& name) {
      const std::size_t at = ("&" + request.query).find("&" + name + "=");
      if (at == std::string::npos) return std::string();
      const std::string value = request.query.substr(at + name.size() + 1);
      return *core::percent_decode(value.substr(0, value.find('&')));
    };
    const std::string prefix = parameter("prefix");
    const std::string delimiter = parameter("delimiter");
    std::string folder;  // the one before
    const bool is_azure = dialect_ == Dialect::azure;
    std::string body = is_azure ? "\xEF\xBB\xBF<EnumerationResults><Blobs>"
                                : "<ListBucketResult><IsTruncated>false</IsTruncated>";
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [path, stored] : objects_) {
        const std::string key = *core::percent_decode(path.substr(root().size() + 8));
        if (!key.starts_with(prefix)) continue;
        const std::size_t slash =
            delimiter.empty() ? std::string::npos : key.find(delimiter, prefix.size());
        if (slash != std::string::npos) {
          if (folder == key.substr(0, slash + 1)) continue;
          folder = key.substr(0, slash + 1);
          body += fmt::format(
              fmt::runtime(is_azure ? "<BlobPrefix><Name>{}</Name></BlobPrefix>"
                                    : "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"),
              folder);
          continue;
        }
        const char* const form =
            is_azure ? "<Blob><Name>{}</Name><Properties><Content-Length>{}</Content-Length>"
                       "</Properties></Blob>"
                     : "<Contents><Key>{}</Key><Size>{}</Size></Contents>";
        body += fmt::format(fmt::runtime(form), key, stored.bytes.size());
      }
    }
    body += is_azure ? "</Blobs><NextMarker/></EnumerationResults>" : "</ListBucketResult>";
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Length: {}\r\n\r\n{}", date(),
                          body.size(), body));
  }

  void answer_json(Wire& wire, const std::string& body) const {
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Length: {}\r\n\r\n{}", date(),
                          body.size(), body));
  }

  void answer_tree(const WireRequest& request, const std::string& folder, Wire& wire) {
    const bool is_deep = request.query.starts_with("recursive=true");
    const std::string below = folder.empty() ? "" : folder + "/";
    std::map<std::string, std::string> rows;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [path, stored] : objects_) {
        const std::string key = *core::percent_decode(path.substr(8));
        if (!key.starts_with(below)) continue;
        const std::size_t slash = key.find('/', below.size());
        const std::string name = is_deep ? key : key.substr(0, slash);
        const bool is_folder = !is_deep && slash != std::string::npos;
        rows[name] = fmt::format(R"({{"type":"{}","path":{},"size":{},"oid":"{}"}})",
                                 is_folder ? "directory" : "file", core::quote_json(name),
                                 is_folder ? 0 : stored.bytes.size(), "of-git");
      }
    }
    if (rows.empty()) return answer_error(wire, 404, "NoSuchKey");
    std::string all;
    for (const auto& [name, row] : rows)
      all += (all.empty() ? "" : ",") + row;
    answer_json(wire, "[" + all + "]");
  }

  const Dialect dialect_;
  std::mutex mutex_;
  std::map<std::string, Stored> objects_;
  Fault fault_;
  std::string head_headers_;
  std::vector<StoreKey> keys_ = {StoreKey(), {.id = "", .secret = "", .token = "testtoken"}};
  std::atomic<std::int64_t> clock_offset_{0};
  std::uint32_t etags_ = 0;
  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint32_t> turns_{0};
  std::atomic<std::uint32_t> bad_signatures_{0};
  std::atomic<std::uint64_t> bytes_sent_{0};
  WireServer server_;  // last: its threads use the rest
};

}  // namespace streamer::test
