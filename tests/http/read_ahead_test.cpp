// SPDX-License-Identifier: Apache-2.0
// TLS connections of which several records are received at once: what OpenSSL holds is read, though
// the socket stays silent, and never taken for a part of the next answer.
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <thread>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "http/event_loop.hpp"
#include "http/tls_session.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using namespace std::chrono_literals;

namespace {

// What is sent on a request: each a record of its own, all of a burst by one send(2).
struct Answer {
  std::vector<std::vector<std::string>> bursts;
  bool ends = false;  // with a close_notify in the last burst
};

using Free = void (*)(SSL_CTX*);

std::unique_ptr<SSL_CTX, Free> server_context() {
  std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  REQUIRE(SSL_CTX_use_certificate(context.get(), certificate) == 1);
  REQUIRE(SSL_CTX_use_PrivateKey(context.get(), key) == 1);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return context;
}

// A connection to the server, and its half of the encryption.
class Line {
 public:
  Line(UniqueFd socket, SSL_CTX* context, const std::atomic<bool>& is_over)
      : socket_(std::move(socket)), is_over_(is_over), tls_(SSL_new(context)) {
    SSL_set_bio(tls_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(tls_);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() { SSL_free(tls_); }

  // nullopt: the client ended the connection, or the test is over.
  std::optional<std::string> receive() {
    std::string request;
    while (!request.ends_with("\r\n\r\n")) {
      std::array<char, 4096> bytes;
      const int got = SSL_read(tls_, bytes.data(), bytes.size());
      if (got > 0) {
        request.append(bytes.data(), static_cast<std::size_t>(got));
        continue;
      }
      if (!send_all() || !fill()) return std::nullopt;
    }
    return request;
  }

  bool send(const Answer& answer) {
    for (std::size_t i = 0; i < answer.bursts.size(); ++i) {
      for (const std::string& record : answer.bursts[i])
        SSL_write(tls_, record.data(), static_cast<int>(record.size()));
      if (answer.ends && i + 1 == answer.bursts.size()) SSL_shutdown(tls_);
      if (!send_all()) return false;
    }
    return !answer.ends;
  }

 private:
  bool send_all() {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(tls_), &bytes);
    std::string_view left(bytes, static_cast<std::size_t>(size));
    while (!left.empty()) {
      const ssize_t sent = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      left.remove_prefix(static_cast<std::size_t>(sent));
    }
    static_cast<void>(BIO_reset(SSL_get_wbio(tls_)));
    return true;
  }

  bool fill() {
    pollfd entry{socket_.get(), POLLIN, 0};
    while (!is_over_) {
      if (::poll(&entry, 1, 20) == 0) continue;
      std::array<char, 16384> bytes;
      const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
      if (got <= 0) return false;
      BIO_write(SSL_get_rbio(tls_), bytes.data(), static_cast<int>(got));
      return true;
    }
    return false;
  }

  const UniqueFd socket_;
  const std::atomic<bool>& is_over_;
  SSL* const tls_;
};

class TlsServer {
 public:
  using Handler = std::function<Answer(const std::string& request)>;

  explicit TlsServer(Handler handler) : handler_(std::move(handler)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const bound = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener_.get(), bound, size) == 0);
    REQUIRE(::listen(listener_.get(), 64) == 0);
    REQUIRE(::getsockname(listener_.get(), bound, &size) == 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;
  ~TlsServer() {
    is_over_ = true;
    acceptor_.join();  // it makes the others
    for (std::thread& thread : threads_)
      thread.join();
  }

  HttpRequest request(const std::string& path = "/") const {
    HttpRoute route;
    route.verifies_tls = false;
    HttpRequest made;
    made.origin = "https://127.0.0.1:" + std::to_string(port_);
    made.path = path;
    made.route = std::make_shared<const HttpRoute>(std::move(route));
    return made;
  }
  int connections() const { return connections_; }

 private:
  void accept_all() {
    pollfd entry{listener_.get(), POLLIN, 0};
    while (!is_over_) {
      if (::poll(&entry, 1, 10) <= 0) continue;
      UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) continue;
      ++connections_;
      threads_.emplace_back([this, taken = std::move(socket)]() mutable {
        Line line(std::move(taken), context_.get(), is_over_);
        while (const auto request = line.receive()) {
          if (!line.send(handler_(*request))) return;
        }
      });
    }
  }

  const Handler handler_;
  const std::unique_ptr<SSL_CTX, Free> context_ = server_context();
  const UniqueFd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  int port_ = 0;
  std::atomic<bool> is_over_{false};
  std::atomic<int> connections_{0};
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

class Collected final : public TransferSink {
 public:
  explicit Collected(std::size_t expected) : expected_(expected) {}
  BodyUse on_head(const ResponseHead&) override { return BodyUse::to_sink; }
  bool on_body(std::string_view bytes) override {
    body += bytes;
    return true;
  }
  void on_excess() override { had_excess = true; }
  bool has_all() const noexcept override { return body.size() >= expected_; }

  std::string body;
  bool had_excess = false;

 private:
  const std::size_t expected_;
};

TransferOptions reading_ahead() {
  TransferOptions options;
  options.reads_ahead = true;
  options.receive_buffer_bytes = 512 * kKiB;
  return options;
}

std::string head_of(std::size_t size) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
}

std::string random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& one : bytes)
    one = static_cast<char>(random());
  return bytes;
}

// One answer, to its end.
struct Fetched {
  Fetched(EventLoop& loop, const HttpRequest& request, std::size_t expected,
          const TransferOptions& options = reading_ahead())
      : sink(expected), transfer(request, sink, options) {
    REQUIRE(loop.add(transfer));
    std::vector<Transfer*> finished;
    while (finished.empty())
      loop.turn(SteadyTime::max(), finished);
    INFO(transfer.fault_text());
    CHECK(transfer.fault() == TransferFault::none);
  }
  Collected sink;
  Transfer transfer;
};

}  // namespace

TEST_CASE("what was received at once is read to its end, though the server goes silent", "[tls]") {
  const std::string body = random_bytes(40'000, 1);
  const std::string head = head_of(body.size());
  Answer answer;
  SECTION("a record for the head, three for the body") {
    answer.bursts = {
        {head, body.substr(0, 16'000), body.substr(16'000, 16'000), body.substr(32'000)}};
  }
  SECTION("the head alone first") {
    answer.bursts = {{head},
                     {body.substr(0, 16'000), body.substr(16'000, 16'000), body.substr(32'000)}};
  }
  SECTION("a record for each byte of the head") {
    answer.bursts.emplace_back();
    for (const char one : head)
      answer.bursts[0].emplace_back(1, one);
    answer.bursts[0].insert(
        answer.bursts[0].end(),
        {body.substr(0, 16'000), body.substr(16'000, 12'000), body.substr(28'000)});
  }
  SECTION("five hundred records") {
    answer.bursts = {{head}};
    for (std::size_t at = 0; at < body.size(); at += 80)
      answer.bursts[0].push_back(body.substr(at, 80));
  }
  const TlsServer server([&](const std::string&) { return answer; });
  const auto loop = *EventLoop::make(4);
  for (int i = 0; i < 3; ++i) {
    const Fetched fetched(*loop, server.request(), body.size());
    CHECK((fetched.sink.body == body));
    CHECK_FALSE(fetched.sink.had_excess);
  }
  // It is the rule that a connection is used again.
  CHECK(server.connections() == 1);
}

TEST_CASE("an answer whose connection ends with it is whole", "[tls]") {
  const std::string body = random_bytes(40'000, 2);
  const TlsServer server([&](const std::string&) {
    return Answer{{{head_of(body.size()), body.substr(0, 16'000), body.substr(16'000, 16'000),
                    body.substr(32'000)}},
                  true};
  });
  const auto loop = *EventLoop::make(4);
  for (int i = 0; i < 3; ++i) {
    const Fetched fetched(*loop, server.request(), body.size());
    CHECK((fetched.sink.body == body));
    CHECK_FALSE(fetched.sink.had_excess);
  }
  CHECK(server.connections() == 3);
}

TEST_CASE("what came behind an answer is not the next one's", "[tls]") {
  const std::string body = random_bytes(40'000, 3);
  const std::string wrong = head_of(body.size()) + std::string(1000, 'w');
  TransferOptions options = reading_ahead();
  Answer answer;
  // The last bytes and what is behind them arrive together: few enough for one packet.
  SECTION("in OpenSSL") {
    answer.bursts = {{head_of(20'000), body.substr(0, 16'000)},
                     {body.substr(16'000, 4'000), wrong}};
  }
  SECTION("in the socket, without reading ahead") {
    answer.bursts = {{head_of(20'000), body.substr(0, 16'000)},
                     {body.substr(16'000, 4'000), wrong}};
    options = {};
  }
  // Where nothing is read ahead, only libcurl can look.
  if (can_read_ahead()) {
    SECTION("behind an answer without a body") {
      answer.bursts = {{head_of(0), wrong}};
    }
    SECTION("behind an answer in chunks") {
      answer.bursts = {
          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", wrong}};
    }
  }
  const TlsServer server([&](const std::string& request) {
    return request.starts_with("GET /good")
               ? Answer{{{head_of(body.size()) + body.substr(0, 9'000), body.substr(9'000, 16'000),
                          body.substr(25'000)}}}
               : answer;
  });
  const auto loop = *EventLoop::make(4);
  for (int i = 0; i < 3; ++i) {
    const Fetched first(*loop, server.request("/bad"), body.size(), options);
    const Fetched second(*loop, server.request("/good"), body.size(), options);
    CHECK((second.sink.body == body));
  }
}

TEST_CASE("many connections that read ahead all come to their ends", "[tls]") {
  const auto seed = std::random_device()();
  INFO("seed " << seed);
  const std::string body = random_bytes(600'000, seed);
  std::atomic<std::uint32_t> answers{0};
  const TlsServer server([&](const std::string&) {
    std::mt19937 random(seed + answers++);
    Answer answer{{{head_of(body.size())}}};
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 16'384, body.size() - at);
      if (random() % 6 == 0) answer.bursts.emplace_back();
      answer.bursts.back().push_back(body.substr(at, size));
      at += size;
    }
    return answer;
  });
  const auto loop = *EventLoop::make(16);
  std::vector<std::unique_ptr<Collected>> sinks;
  std::vector<std::unique_ptr<Transfer>> transfers;
  std::vector<Transfer*> finished;
  const auto start = [&] {
    sinks.push_back(std::make_unique<Collected>(body.size()));
    transfers.push_back(
        std::make_unique<Transfer>(server.request(), *sinks.back(), reading_ahead()));
    REQUIRE(loop->add(*transfers.back()));
  };
  for (int i = 0; i < 12; ++i)
    start();
  for (std::size_t ended = 0; ended < 60;) {
    loop->turn(SteadyTime::max(), finished);
    while (ended < finished.size()) {
      CHECK(finished[ended]->fault() == TransferFault::none);
      if (transfers.size() < 60) start();
      ++ended;
    }
  }
  for (const auto& sink : sinks)
    CHECK((sink->body == body));
  CHECK(server.connections() == 12);
}
