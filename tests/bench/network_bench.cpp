// SPDX-License-Identifier: Apache-2.0
// CPU seconds per GB of loads over http and https, against raw loops of recv(2) and SSL_read(3)
// that move the same bytes in the same rounds. nginx serves from a tmpfs on core 0, the client has
// core 1. Usage: network_bench FOLDER-ON-TMPFS [MiB] [ROUNDS] [CONNECTIONS]
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/text.hpp"
#include "device/arena.hpp"
#include "engine/load.hpp"

using namespace streamer::core;

namespace {

constexpr std::uint64_t kRangeBytes = 8 * kMiB;

void require(bool condition, const std::string& what) {
  if (condition) return;
  fmt::print(stderr, "{}\n", what);
  std::exit(1);
}

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

struct Sample {
  double seconds = 0;
  double cpu_seconds = 0;
};

Sample measure(const std::function<void()>& body) {
  const auto used = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  };
  const double before = used();
  const auto began = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  return {took.count(), used() - before};
}

// nginx, with its own configuration in a folder of its own.
class Nginx {
 public:
  explicit Nginx(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_ / "bucket");
    run(fmt::format(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout {0}/key.pem -out {0}/crt.pem "
        "-days 30 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null",
        folder_.string()));
    std::ofstream(folder_ / "nginx.conf") << fmt::format(
        "worker_processes 1; worker_cpu_affinity 01; pid {0}/pid; error_log {0}/err; user root; "
        "daemon off; master_process off; events {{ worker_connections 1024; }}\n"
        "http {{ access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; "
        "keepalive_requests 1000000; output_buffers 2 512k; max_ranges 1; "
        "client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; "
        "uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n"
        "server {{ listen 127.0.0.1:{1}; root {0}; }}\n"
        "server {{ listen 127.0.0.1:{2} ssl; ssl_certificate {0}/crt.pem; "
        "ssl_certificate_key {0}/key.pem; ssl_protocols TLSv1.3; ssl_buffer_size 16k; "
        "root {0}; }} }}\n",
        folder_.string(), port(false), port(true));
    pid_ = ::fork();
    if (pid_ == 0) {
      pin_to(0);
      const std::string conf = (folder_ / "nginx.conf").string();
      const std::string err = (folder_ / "err").string();
      ::execlp("nginx", "nginx", "-c", conf.c_str(), "-e", err.c_str(), nullptr);
      ::execl("/usr/sbin/nginx", "nginx", "-c", conf.c_str(), "-e", err.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 200; ++i) {
      const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = address_of(port(true));
      const bool is_up =
          ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
      ::close(socket);
      if (is_up) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    require(false, "nginx did not start");
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }

  static int port(bool is_tls) { return is_tls ? 18089 : 18088; }
  static sockaddr_in address_of(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

 private:
  static void run(const std::string& command) {
    require(std::system(command.c_str()) == 0, "failed: " + command);
  }

  const std::filesystem::path folder_;
  pid_t pid_ = -1;
};

// The least that a client can do: ranges over a few connections, received straight to their place.
class RawLoop {
 public:
  // turn_bytes: how much is received at once, before the other connections have their turn.
  RawLoop(bool is_tls, std::byte* to, std::uint64_t bytes, std::uint32_t connections,
          std::uint64_t turn_bytes)
      : is_tls_(is_tls),
        to_(to),
        bytes_(bytes),
        connections_(connections),
        turn_bytes_(turn_bytes) {
    if (!is_tls_) return;
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256");
    // Several records by one recv(2), where that is wanted.
    if (turn_bytes_ > 64 * kKiB) {
      SSL_CTX_set_read_ahead(context_, 1);
      SSL_CTX_set_default_read_buffer_len(context_, 256 * kKiB);
    }
  }
  RawLoop(const RawLoop&) = delete;
  RawLoop& operator=(const RawLoop&) = delete;
  ~RawLoop() { SSL_CTX_free(context_); }

  void run() {
    next_ = 0;
    const int epoll = ::epoll_create1(0);
    std::vector<std::unique_ptr<Connection>> all;
    for (std::uint32_t i = 0; i < connections_; ++i) {
      auto connection = std::make_unique<Connection>();
      connection->socket = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = Nginx::address_of(Nginx::port(is_tls_));
      require(::connect(connection->socket, reinterpret_cast<const sockaddr*>(&address),
                        sizeof address) == 0,
              "connect");
      const int yes = 1;
      ::setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      if (is_tls_) {
        connection->ssl = SSL_new(context_);
        SSL_set_fd(connection->ssl, connection->socket);
        require(SSL_connect(connection->ssl) == 1, "TLS");
      }
      ::fcntl(connection->socket, F_SETFL, O_NONBLOCK);
      if (!ask(*connection)) {
        shut(*connection);
        continue;
      }
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = connection.get();
      ::epoll_ctl(epoll, EPOLL_CTL_ADD, connection->socket, &event);
      all.push_back(std::move(connection));
    }
    std::size_t open = all.size();
    std::array<epoll_event, 64> events;
    while (open != 0) {
      const int count = ::epoll_wait(epoll, events.data(), events.size(), -1);
      for (int i = 0; i < count; ++i) {
        auto& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (receive(connection)) continue;
        shut(connection);
        --open;
      }
    }
    ::close(epoll);
  }

 private:
  struct Connection {
    int socket = -1;
    SSL* ssl = nullptr;
    std::uint64_t at = 0;
    std::uint64_t end = 0;
    std::string head;
    bool in_body = false;
  };

  static void shut(Connection& connection) {
    SSL_free(connection.ssl);
    ::close(connection.socket);
  }

  ssize_t read(Connection& connection, void* to, std::size_t size) const {
    if (!is_tls_) return ::recv(connection.socket, to, size, 0);
    const int got =
        SSL_read(connection.ssl, to, static_cast<int>(std::min<std::size_t>(size, 1 << 30)));
    return got > 0 ? got : -1;
  }

  bool ask(Connection& connection) {
    if (next_ >= bytes_) return false;
    connection.at = next_;
    connection.end = next_ = std::min(next_ + kRangeBytes, bytes_);
    connection.in_body = false;
    connection.head.clear();
    const std::string request =
        fmt::format("GET /bucket/m.safetensors HTTP/1.1\r\nHost: x\r\nRange: bytes={}-{}\r\n\r\n",
                    connection.at, connection.end - 1);
    const auto size = static_cast<int>(request.size());
    const bool sent = is_tls_
                          ? SSL_write(connection.ssl, request.data(), size) == size
                          : ::send(connection.socket, request.data(), request.size(), 0) == size;
    require(sent, "send");
    return true;
  }

  // False once there is nothing left to ask for.
  bool receive(Connection& connection) {
    for (;;) {
      if (!connection.in_body) {
        std::array<char, 2048> bytes;
        const ssize_t got = read(connection, bytes.data(), bytes.size());
        if (got <= 0) return true;
        connection.head.append(bytes.data(), static_cast<std::size_t>(got));
        const std::size_t end = connection.head.find("\r\n\r\n");
        if (end == std::string::npos) continue;
        const std::string body = connection.head.substr(end + 4);
        std::memcpy(to_ + connection.at, body.data(), body.size());
        connection.at += body.size();
        connection.in_body = true;
      }
      for (std::uint64_t turn = 0; connection.at < connection.end;) {
        const ssize_t got = read(connection, to_ + connection.at,
                                 std::min(connection.end - connection.at, turn_bytes_ - turn));
        if (got <= 0) return true;
        connection.at += static_cast<std::uint64_t>(got);
        turn += static_cast<std::uint64_t>(got);
        // TLS may hold records back that epoll does not know of.
        if (turn >= turn_bytes_ && connection.at < connection.end && !is_tls_) return true;
        if (turn >= turn_bytes_) turn = 0;
      }
      if (!ask(connection)) return false;
    }
  }

  const bool is_tls_;
  std::byte* const to_;
  const std::uint64_t bytes_;
  const std::uint32_t connections_;
  const std::uint64_t turn_bytes_;
  std::uint64_t next_ = 0;
  SSL_CTX* context_ = nullptr;
};

class Ours {
 public:
  Ours(bool is_tls, const std::filesystem::path& folder, std::byte* to, std::uint32_t connections)
      : to_(to) {
    const std::vector<std::pair<std::string, std::string>> values = {
        {"s3_endpoint",
         fmt::format("{}://127.0.0.1:{}", is_tls ? "https" : "http", Nginx::port(is_tls))},
        {"ca_bundle", (folder / "crt.pem").string()},
        {"s3_access_key_id", "ID"},
        {"s3_secret_access_key", "secret"},
        {"connections", connections == 0 ? "auto" : std::to_string(connections)}};
    for (const auto& [name, value] : values)
      require(bool(settings_.set(name, value)), name);
    const std::vector<std::string> uris = {"s3://bucket/m.safetensors"};
    auto opened = open_checkpoint(uris, std::make_shared<Stores>(settings_));
    if (!opened) require(false, opened.error().line());
    checkpoint_ = *opened;
  }

  void run() const {
    std::vector<PlanRequest> requests;
    for (std::uint32_t t = 0; t < checkpoint_->tensors.size(); ++t)
      requests.push_back({.tensor = t, .destination = to_ + checkpoint_->tensors[t].bytes.offset});
    auto load = Load::start(checkpoint_, std::move(requests), {}, *read_load_settings(settings_));
    require(bool(load), "start");
    for (;;) {
      auto next = (*load)->next(std::nullopt);
      if (!next) require(false, next.error().line());
      if (next->outcome == Load::Outcome::end) return;
      next->lease->release();
    }
  }

 private:
  Settings settings_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::byte* const to_;
};

std::uint64_t write_checkpoint(const std::filesystem::path& path, std::uint64_t mib) {
  constexpr std::uint64_t kTensorBytes = 4 * kMiB;
  std::string header = "{";
  for (std::uint64_t t = 0; t < mib / 4; ++t) {
    header +=
        fmt::format("{}\"t{}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                    t == 0 ? "" : ",", t, kTensorBytes, t * kTensorBytes, (t + 1) * kTensorBytes);
  }
  header += "}";
  std::ofstream file(path, std::ios::binary);
  const std::uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), 8);
  file.write(header.data(), static_cast<std::streamsize>(length));
  std::mt19937_64 engine(1);
  std::vector<std::uint64_t> words(kTensorBytes / 8);
  for (std::uint64_t t = 0; t < mib / 4; ++t) {
    std::generate(words.begin(), words.end(), std::ref(engine));
    file.write(reinterpret_cast<const char*>(words.data()), kTensorBytes);
  }
  return 8 + length + mib / 4 * kTensorBytes;
}

double lowest(const std::vector<Sample>& samples, double Sample::*field) {
  double value = 1e9;
  for (const Sample& sample : samples)
    value = std::min(value, sample.*field);
  return value;
}

void compare(bool is_tls, const std::filesystem::path& folder, std::byte* memory,
             std::uint64_t bytes, int rounds, std::uint32_t connections) {
  std::vector<std::unique_ptr<RawLoop>> loops;
  for (const std::uint64_t turn : {64 * kKiB, 256 * kKiB, 8 * kMiB})
    loops.push_back(std::make_unique<RawLoop>(is_tls, memory, bytes, connections, turn));
  const Ours ours(is_tls, folder, memory, connections);
  std::vector<Sample> raws;
  std::vector<Sample> mine;
  std::vector<double> ratios;
  for (int round = -1; round < rounds; ++round) {
    // The best of the raw loops is the ceiling.
    Sample a{1e9, 1e9};
    for (const auto& loop : loops) {
      const Sample one = measure([&] { loop->run(); });
      a = {std::min(a.seconds, one.seconds), std::min(a.cpu_seconds, one.cpu_seconds)};
    }
    const Sample b = measure([&] { ours.run(); });
    if (round < 0) continue;
    raws.push_back(a);
    mine.push_back(b);
    ratios.push_back(b.cpu_seconds / a.cpu_seconds);
  }
  std::sort(ratios.begin(), ratios.end());
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  const double raw_cpu = lowest(raws, &Sample::cpu_seconds) / gigabytes;
  const double our_cpu = lowest(mine, &Sample::cpu_seconds) / gigabytes;
  fmt::print(
      "{:<5} {:>3} connections: raw {:.3f}, ours {:.3f} CPU-s/GB (least of {}): ratio {:.3f}; "
      "by round {:.3f} ({:.3f}..{:.3f}); speed {:.2f} and {:.2f} GB/s\n",
      is_tls ? "https" : "http", connections, raw_cpu, our_cpu, rounds, our_cpu / raw_cpu,
      ratios[ratios.size() / 2], ratios.front(), ratios.back(),
      gigabytes / lowest(raws, &Sample::seconds), gigabytes / lowest(mine, &Sample::seconds));
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder =
      argc > 1 ? argv[1] : fmt::format("/dev/shm/network-bench-{}", ::getpid());
  const auto number = [&](int at, std::uint64_t otherwise) {
    return argc > at ? parse_unsigned(argv[at]).value_or(otherwise) : otherwise;
  };
  const std::uint64_t mib = number(2, 512);
  const auto rounds = static_cast<int>(number(3, 5));
  const auto connections = static_cast<std::uint32_t>(number(4, 16));
  ::signal(SIGPIPE, SIG_IGN);
  {
    const Nginx nginx(folder);
    const std::uint64_t bytes = write_checkpoint(folder / "bucket" / "m.safetensors", mib);
    pin_to(1);
    const Arena memory = *Arena::reserve(bytes + kMiB);
    std::memset(memory.data(), 1, memory.bytes());
    std::memset(memory.data(), 2, memory.bytes());
    compare(false, folder, memory.data(), bytes, rounds, connections);
    compare(true, folder, memory.data(), bytes, rounds, connections);
  }
  std::filesystem::remove_all(folder);
  return 0;
}
