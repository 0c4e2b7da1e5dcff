// SPDX-License-Identifier: Apache-2.0
#pragma once
// A server on loopback that speaks HTTP byte by byte, as its handler says: one thread per
// connection.

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/text.hpp"
#include "support/catch.hpp"

namespace streamer::test {

inline bool has_ipv6() {
  const int socket = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool is_there =
      ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (socket >= 0) ::close(socket);
  return is_there;
}

struct WireRequest {
  std::string method;
  std::string target;
  std::string path;
  std::string query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::uint32_t connection = 0;  // number of its connection
  std::uint32_t number = 0;      // in its connection

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

// What a handler does with the connection that a request came on.
class Wire {
 public:
  explicit Wire(int socket, const std::atomic<bool>& stopping)
      : socket_(socket), stopping_(stopping) {}
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  ~Wire() { close(); }

  void send(std::string_view bytes) {
    while (!bytes.empty() && socket_ >= 0) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return close();
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  // Ends the connection in order (FIN), or at once (RST).
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void reset() {
    if (socket_ < 0) return;
    const linger at_once{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  // Until what was sent is with the client.
  void flush() {
    int unsent = 1;
    while (socket_ >= 0 && !stopping_ && ::ioctl(socket_, SIOCOUTQ, &unsent) == 0 && unsent != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // RST once the client has taken what was sent: before, it would take that away too.
  void close_after_read() {
    flush();
    pause(std::chrono::milliseconds(20));
    reset();
  }
  // Until the client ends the connection, or the server stops.
  void stall() {
    while (socket_ >= 0 && !stopping_) {
      pollfd entry{socket_, POLLIN, 0};
      char byte = 0;
      if (::poll(&entry, 1, 20) > 0 && ::recv(socket_, &byte, 1, MSG_PEEK) <= 0) return close();
    }
  }
  // Time that the fault itself is made of: a slow server.
  void pause(std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (socket_ >= 0 && !stopping_ && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  bool is_closed_by_peer() const {
    char byte = 0;
    return socket_ >= 0 && ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
  bool is_open() const { return socket_ >= 0 && !stopping_; }

  // False once the client ended the connection.
  bool receive(WireRequest& request) {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return false;
    }
    const std::string head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    request.headers.clear();
    std::size_t line_end = head.find("\r\n");
    const std::string first = head.substr(0, line_end);
    const std::size_t space = first.find(' ');
    request.method = first.substr(0, space);
    request.target = first.substr(space + 1, first.rfind(' ') - space - 1);
    const std::size_t mark = request.target.find('?');
    request.path = request.target.substr(0, mark);
    request.query = mark == std::string::npos ? "" : request.target.substr(mark + 1);
    for (std::size_t at = line_end + 2; at < head.size();) {
      line_end = head.find("\r\n", at);
      const std::string line = head.substr(at, line_end - at);
      const std::size_t colon = line.find(':');
      request.headers[core::to_lower(line.substr(0, colon))] = core::trim(line.substr(colon + 1));
      at = line_end + 2;
    }
    const auto length = core::parse_unsigned(request.header("content-length")).value_or(0);
    while (buffer_.size() < length) {
      if (!fill()) return false;
    }
    request.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return true;
  }

 private:
  bool fill() {
    std::array<char, 16384> bytes;
    while (!stopping_ && socket_ >= 0) {
      pollfd entry{socket_, POLLIN, 0};
      if (::poll(&entry, 1, 20) == 0) continue;
      const ssize_t got = ::recv(socket_, bytes.data(), bytes.size(), 0);
      if (got <= 0) return false;
      buffer_.append(bytes.data(), static_cast<std::size_t>(got));
      return true;
    }
    return false;
  }

  int socket_;
  const std::atomic<bool>& stopping_;
  std::string buffer_;
};

class WireServer {
 public:
  using Handler = std::function<void(const WireRequest&, Wire&)>;

  explicit WireServer(Handler handler, const std::string& address = "127.0.0.1")
      : handler_(std::move(handler)), is_v6_(address.find(':') != std::string::npos) {
    listener_ = ::socket(is_v6_ ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(listener_ >= 0);
    const int yes = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in6 v6{};
    sockaddr_in v4{};
    v6.sin6_family = AF_INET6;
    v4.sin_family = AF_INET;
    ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr);
    ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr);
    auto* const bound =
        is_v6_ ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
    socklen_t size = is_v6_ ? sizeof v6 : sizeof v4;
    REQUIRE(::bind(listener_, bound, size) == 0);
    REQUIRE(::listen(listener_, 512) == 0);
    REQUIRE(::getsockname(listener_, bound, &size) == 0);
    port_ = ntohs(is_v6_ ? v6.sin6_port : v4.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  WireServer(const WireServer&) = delete;
  WireServer& operator=(const WireServer&) = delete;
  ~WireServer() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_)
      thread.join();
    ::close(listener_);
  }

  int port() const { return port_; }
  std::string url() const {
    return (is_v6_ ? "http://[::1]:" : "http://127.0.0.1:") + std::to_string(port_);
  }
  std::uint32_t connections() const { return connections_; }

 private:
  void accept_all() {
    while (!stopping_) {
      pollfd entry{listener_, POLLIN, 0};
      if (::poll(&entry, 1, 10) <= 0) continue;
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      const int yes = 1;
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      threads_.emplace_back([this, socket, number = connections_++] {
        Wire wire(socket, stopping_);
        WireRequest request;
        request.connection = number;
        while (wire.is_open() && wire.receive(request)) {
          handler_(request, wire);
          ++request.number;
        }
      });
    }
  }

  const Handler handler_;
  const bool is_v6_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint32_t> connections_{0};
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace streamer::test
