// SPDX-License-Identifier: Apache-2.0
// CPU seconds per GB of loads over http and https, against raw loops of recv(2) and SSL_read(3)
// that move the same bytes in the same rounds. nginx serves from a tmpfs on core 0, the client has
// core 1. Usage: network_bench FOLDER-ON-TMPFS [MiB] [ROUNDS] [CONNECTIONS] [http|https|verify]
// http, https: only that one. verify: instead, what checksums cost on top of a load over http.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "base/crypto.hpp"
#include "base/text.hpp"
#include "bench/loopback_nginx.hpp"
#include "capi/abi/all_settings.hpp"
#include "engine/load.hpp"
#include "memory/arena.hpp"

using namespace streamer::core;
using namespace streamer::bench;

namespace {

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

enum class Scheme { s3, gs, az, https };

const char* name_of(Scheme scheme) {
  constexpr std::array<const char*, 4> kNames = {"s3", "gs", "az", "plain"};
  return kNames[static_cast<std::size_t>(scheme)];
}

class Ours {
 public:
  Ours(Scheme scheme, bool is_tls, const std::filesystem::path& folder, std::byte* to,
       std::uint32_t connections, const std::string& verify = "")
      : to_(to) {
    const std::string url =
        fmt::format("{}://127.0.0.1:{}", is_tls ? "https" : "http", Nginx::port(is_tls));
    const std::vector<std::pair<std::string, std::string>> values = {
        {"s3_endpoint", url},
        {"s3_credentials", "keys:ID:secret"},
        {"gcs_endpoint", url},
        {"gcs_credentials", "token:" + std::string(600, 't')},
        {"azure_endpoint", url},
        {"azure_account_name", "account"},
        {"azure_credentials", "key:c2VjcmV0"},
        {"https_bearer_token", "t"},
        {"ca_bundle", (folder / "crt.pem").string()},
        {"debug.connections", connections == 0 ? "auto" : std::to_string(connections)}};
    for (const auto& [name, value] : values)
      require(bool(streamer::capi::set_by_name(settings_, name, value)), name);
    if (!verify.empty()) require(bool(settings_.set(setting::kVerify, verify)), "verify");
    const std::string root =
        scheme == Scheme::https ? url + "/" : std::string(name_of(scheme)) + "://";
    const std::vector<std::string> uris = {root + "bucket/m.safetensors"};
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

// Every scheme and the raw loops, in rounds: raw first, then each scheme.
void compare(bool is_tls, const std::filesystem::path& folder, std::byte* memory,
             std::uint64_t bytes, int rounds, std::uint32_t connections) {
  std::vector<std::unique_ptr<RawLoop>> loops;
  for (const std::uint64_t turn : {64 * kKiB, 256 * kKiB, 8 * kMiB})
    loops.push_back(std::make_unique<RawLoop>(is_tls, memory, bytes, connections, turn));
  struct Case {
    Scheme scheme;
    std::unique_ptr<Ours> load;
    std::vector<Sample> samples = {};
    std::vector<double> ratios = {};
  };
  std::vector<Case> cases;
  for (const Scheme scheme : {Scheme::s3, Scheme::gs, Scheme::az, Scheme::https})
    cases.push_back({.scheme = scheme,
                     .load = std::make_unique<Ours>(scheme, is_tls, folder, memory, connections)});
  std::vector<Sample> raws;
  for (int round = -1; round < rounds; ++round) {
    // The best of the raw loops is the ceiling.
    Sample raw{1e9, 1e9};
    for (const auto& loop : loops) {
      const Sample one = measure([&] { loop->run(); });
      raw = {std::min(raw.seconds, one.seconds), std::min(raw.cpu_seconds, one.cpu_seconds)};
    }
    if (round >= 0) raws.push_back(raw);
    for (Case& one : cases) {
      const Sample sample = measure([&] { one.load->run(); });
      if (round < 0) continue;
      one.samples.push_back(sample);
      one.ratios.push_back(sample.cpu_seconds / raw.cpu_seconds);
    }
  }
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  const double raw_cpu = lowest(raws, &Sample::cpu_seconds) / gigabytes;
  for (Case& one : cases) {
    std::sort(one.ratios.begin(), one.ratios.end());
    const double our_cpu = lowest(one.samples, &Sample::cpu_seconds) / gigabytes;
    fmt::print(
        "{:<5} {:<5} {:>3} connections: raw {:.3f}, ours {:.3f} CPU-s/GB (least of {}): ratio "
        "{:.3f}; by round {:.3f} ({:.3f}..{:.3f}); speed {:.2f} and {:.2f} GB/s\n",
        is_tls ? "https" : "http", name_of(one.scheme), connections, raw_cpu, our_cpu, rounds,
        our_cpu / raw_cpu, one.ratios[one.ratios.size() / 2], one.ratios.front(), one.ratios.back(),
        gigabytes / lowest(raws, &Sample::seconds),
        gigabytes / lowest(one.samples, &Sample::seconds));
  }
}

// Loads without a checksum and with one of each kind, in rounds.
void compare_checksums(const std::filesystem::path& folder, std::byte* memory, std::uint64_t bytes,
                       int rounds, std::uint32_t connections) {
  std::ifstream file(folder / "bucket" / "m.safetensors", std::ios::binary);
  const std::string stored((std::istreambuf_iterator<char>(file)), {});
  struct Case {
    std::string name;
    Ours load;
    std::vector<double> costs = {};  // CPU-s/GB above that of the round's first
  };
  std::vector<Case> cases;
  cases.push_back({"none", {Scheme::s3, false, folder, memory, connections}});
  for (const ChecksumKind kind :
       {ChecksumKind::crc32, ChecksumKind::crc32c, ChecksumKind::crc64nvme}) {
    const std::string name(checksum_name(kind));
    const auto manifest = folder / name;
    std::ofstream(manifest) << fmt::format(
        "{}:{}  m.safetensors\n", name,
        streamer::core::hex(crc_bytes(kind, crc_update(kind, 0, stored))));
    cases.push_back({name, {Scheme::s3, false, folder, memory, connections, manifest.string()}});
  }
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  for (int round = -1; round < rounds; ++round) {
    double plain = 0;
    for (Case& one : cases) {
      const double cpu = measure([&] { one.load.run(); }).cpu_seconds / gigabytes;
      if (&one == cases.data()) plain = cpu;
      if (round >= 0) one.costs.push_back(&one == cases.data() ? cpu : cpu - plain);
    }
  }
  for (Case& one : cases) {
    std::sort(one.costs.begin(), one.costs.end());
    fmt::print("{:<10} {:+.3f} CPU-s/GB ({:+.3f}..{:+.3f}), median of {}\n", one.name,
               one.costs[one.costs.size() / 2], one.costs.front(), one.costs.back(), rounds);
  }
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
    const std::string_view only = argc > 5 ? argv[5] : "";
    if (only == "verify") {
      compare_checksums(folder, memory.data(), bytes, rounds, connections);
      std::filesystem::remove_all(folder);
      return 0;
    }
    if (only != "https") compare(false, folder, memory.data(), bytes, rounds, connections);
    if (only != "http") compare(true, folder, memory.data(), bytes, rounds, connections);
  }
  std::filesystem::remove_all(folder);
  return 0;
}
