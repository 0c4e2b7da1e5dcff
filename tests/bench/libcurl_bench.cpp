// SPDX-License-Identifier: Apache-2.0
// The choices that the network reader rests on, each against the others in the same rounds: size of
// libcurl's receive buffer, how bytes are copied to their place, which loop drives libcurl, how
// many threads. CPU seconds per GB; nginx on core 0, the client on core 1.
// Usage: libcurl_bench [MiB] [ROUNDS] [CONNECTIONS]
#include <curl/curl.h>
#include <sys/epoll.h>

#include <array>
#include <cstring>
#include <memory>

#include "base/copy_past_caches.hpp"
#include "base/text.hpp"
#include "bench/loopback_nginx.hpp"
#include "memory/arena.hpp"

using namespace streamer::core;
using namespace streamer::bench;

namespace {

enum class Copy { none, plain, non_temporal };
enum class Drive { epoll, poll, receive };

struct Variant {
  std::string name;
  Drive drive = Drive::epoll;
  Copy copy = Copy::plain;
  std::uint64_t buffer_bytes = 512 * kKiB;
  std::uint32_t threads = 1;
};

// The ranges of the file, shared out to connections as they get free.
struct Work {
  std::byte* to = nullptr;
  std::uint64_t bytes = 0;
  std::uint64_t next = 0;
  std::uint64_t end = 0;

  bool claim(std::uint64_t& from, std::uint64_t& until) {
    if (next >= end) return false;
    from = next;
    until = next = std::min(next + kRangeBytes, end);
    return true;
  }
};

struct Connection {
  CURL* easy = nullptr;
  Work* work = nullptr;
  Copy copy = Copy::plain;
  std::uint64_t at = 0;
  std::uint64_t until = 0;

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
    auto& self = *static_cast<Connection*>(user);
    const std::size_t bytes = size * count;
    if (self.copy == Copy::plain) std::memcpy(self.work->to + self.at, data, bytes);
    if (self.copy == Copy::non_temporal) copy_past_caches(self.work->to + self.at, data, bytes);
    self.at += bytes;
    return bytes;
  }
};

std::string url_of(bool is_tls) {
  return fmt::format("{}://127.0.0.1:{}/bucket/m.safetensors", is_tls ? "https" : "http",
                     Nginx::port(is_tls));
}

CURL* make_easy(bool is_tls, const std::filesystem::path& folder, std::uint64_t buffer_bytes) {
  CURL* const easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_URL, url_of(is_tls).c_str());
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, static_cast<long>(buffer_bytes));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_TLS13_CIPHERS, "TLS_AES_128_GCM_SHA256");
  curl_easy_setopt(easy, CURLOPT_CAINFO, (folder / "crt.pem").c_str());
  return easy;
}

// One thread's share through the multi interface.
class MultiLoop {
 public:
  MultiLoop(const Variant& variant, bool is_tls, const std::filesystem::path& folder, Work work,
            std::uint32_t connections)
      : variant_(variant), work_(work), multi_(curl_multi_init()), epoll_(::epoll_create1(0)) {
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(connections));
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    if (variant_.drive == Drive::epoll) {
      curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
      curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
      curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
      curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    }
    for (std::uint32_t i = 0; i < connections; ++i) {
      auto connection = std::make_unique<Connection>();
      connection->easy = make_easy(is_tls, folder, variant_.buffer_bytes);
      connection->work = &work_;
      connection->copy = variant_.copy;
      curl_easy_setopt(connection->easy, CURLOPT_WRITEFUNCTION, Connection::on_body);
      curl_easy_setopt(connection->easy, CURLOPT_WRITEDATA, connection.get());
      curl_easy_setopt(connection->easy, CURLOPT_PRIVATE, connection.get());
      connections_.push_back(std::move(connection));
    }
  }
  MultiLoop(const MultiLoop&) = delete;
  MultiLoop& operator=(const MultiLoop&) = delete;
  ~MultiLoop() {
    for (const auto& connection : connections_)
      curl_easy_cleanup(connection->easy);
    curl_multi_cleanup(multi_);
    ::close(epoll_);
  }

  void run() {
    for (const auto& connection : connections_)
      ask(*connection);
    int running = 0;
    while (in_flight_ != 0) {
      if (variant_.drive == Drive::poll) {
        curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
        curl_multi_perform(multi_, &running);
      } else {
        wait_by_epoll(running);
      }
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        require(message->data.result == CURLE_OK, curl_easy_strerror(message->data.result));
        char* user = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
        auto& connection = *static_cast<Connection*>(static_cast<void*>(user));
        require(connection.at == connection.until, "a range came short");
        curl_multi_remove_handle(multi_, connection.easy);
        --in_flight_;
        ask(connection);
      }
    }
  }

 private:
  static int on_socket(CURL*, curl_socket_t socket, int what, void* user, void* known) {
    auto& self = *static_cast<MultiLoop*>(user);
    epoll_event event{};
    if (what & CURL_POLL_IN) event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
    event.data.fd = socket;
    const int operation = what == CURL_POLL_REMOVE ? EPOLL_CTL_DEL
                          : known == nullptr       ? EPOLL_CTL_ADD
                                                   : EPOLL_CTL_MOD;
    ::epoll_ctl(self.epoll_, operation, socket, &event);
    curl_multi_assign(self.multi_, socket, what == CURL_POLL_REMOVE ? nullptr : user);
    return 0;
  }
  static int on_timer(CURLM*, long timeout_ms, void* user) {
    static_cast<MultiLoop*>(user)->timeout_ms_ = timeout_ms;
    return 0;
  }

  void wait_by_epoll(int& running) {
    std::array<epoll_event, 64> events;
    const int count =
        ::epoll_wait(epoll_, events.data(), events.size(), static_cast<int>(timeout_ms_));
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      int what = 0;
      if (event.events & EPOLLIN) what |= CURL_CSELECT_IN;
      if (event.events & EPOLLOUT) what |= CURL_CSELECT_OUT;
      if (event.events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
      curl_multi_socket_action(multi_, event.data.fd, what, &running);
    }
    if (count == 0) curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }

  void ask(Connection& connection) {
    if (!work_.claim(connection.at, connection.until)) return;
    const std::string range = fmt::format("{}-{}", connection.at, connection.until - 1);
    curl_easy_setopt(connection.easy, CURLOPT_RANGE, range.c_str());
    curl_multi_add_handle(multi_, connection.easy);
    ++in_flight_;
  }

  const Variant variant_;
  Work work_;
  CURLM* const multi_;
  const int epoll_;
  long timeout_ms_ = -1;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::uint32_t in_flight_ = 0;
};

// libcurl connects and decrypts; HTTP is ours, and bytes go straight to their place.
void receive_directly(bool is_tls, const std::filesystem::path& folder, Work work,
                      std::uint32_t connections) {
  struct Direct {
    CURL* easy = nullptr;
    std::uint64_t at = 0;
    std::uint64_t until = 0;
    std::string head;
    bool in_body = false;
  };
  const int epoll = ::epoll_create1(0);
  std::vector<std::unique_ptr<Direct>> all;
  const auto ask = [&](Direct& one) {
    if (!work.claim(one.at, one.until)) return false;
    one.head.clear();
    one.in_body = false;
    const std::string request =
        fmt::format("GET /bucket/m.safetensors HTTP/1.1\r\nHost: x\r\nRange: bytes={}-{}\r\n\r\n",
                    one.at, one.until - 1);
    std::size_t sent = 0;
    require(curl_easy_send(one.easy, request.data(), request.size(), &sent) == CURLE_OK &&
                sent == request.size(),
            "send");
    return true;
  };
  // False once there is nothing left to ask for.
  const auto receive = [&](Direct& one) {
    for (;;) {
      std::array<char, 2048> bytes;
      std::size_t got = 0;
      if (one.in_body) {
        if (curl_easy_recv(one.easy, work.to + one.at, one.until - one.at, &got) != CURLE_OK)
          return true;
        one.at += got;
        if (one.at < one.until) continue;
        if (!ask(one)) return false;
        continue;
      }
      if (curl_easy_recv(one.easy, bytes.data(), bytes.size(), &got) != CURLE_OK) return true;
      one.head.append(bytes.data(), got);
      const std::size_t end = one.head.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      std::memcpy(work.to + one.at, one.head.data() + end + 4, one.head.size() - end - 4);
      one.at += one.head.size() - end - 4;
      one.in_body = true;
    }
  };
  std::size_t open = 0;
  for (std::uint32_t i = 0; i < connections; ++i) {
    auto one = std::make_unique<Direct>();
    one->easy = make_easy(is_tls, folder, 512 * kKiB);
    curl_easy_setopt(one->easy, CURLOPT_CONNECT_ONLY, 1L);
    require(curl_easy_perform(one->easy) == CURLE_OK, "connect");
    if (ask(*one)) {
      curl_socket_t socket = -1;
      curl_easy_getinfo(one->easy, CURLINFO_ACTIVESOCKET, &socket);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = one.get();
      ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
      ++open;
    }
    all.push_back(std::move(one));
  }
  std::array<epoll_event, 64> events;
  while (open != 0) {
    const int count = ::epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      auto& one = *static_cast<Direct*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (receive(one)) continue;
      curl_easy_cleanup(one.easy);
      --open;
    }
  }
  ::close(epoll);
}

void run(const Variant& variant, bool is_tls, const std::filesystem::path& folder, Work work,
         std::uint32_t connections) {
  work.end = work.bytes;
  if (variant.drive == Drive::receive) return receive_directly(is_tls, folder, work, connections);
  std::vector<std::thread> threads;
  const std::uint64_t share = (work.bytes + variant.threads - 1) / variant.threads;
  for (std::uint32_t i = 0; i < variant.threads; ++i) {
    Work part = work;
    part.next = i * share;
    part.end = std::min(part.next + share, work.bytes);
    threads.emplace_back([&variant, &folder, is_tls, part, connections] {
      MultiLoop(variant, is_tls, folder, part, connections / variant.threads).run();
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int at, std::uint64_t otherwise) {
    return argc > at ? parse_unsigned(argv[at]).value_or(otherwise) : otherwise;
  };
  const std::uint64_t mib = number(1, 512);
  const auto rounds = static_cast<int>(number(2, 5));
  const auto connections = static_cast<std::uint32_t>(number(3, 16));
  ::signal(SIGPIPE, SIG_IGN);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::filesystem::path folder = fmt::format("/dev/shm/libcurl-bench-{}", ::getpid());
  std::vector<Variant> variants;
  for (const std::uint64_t kib : std::vector<std::uint64_t>{16, 64, 128, 256, 512, 1024, 2048})
    variants.push_back({.name = fmt::format("buffer {} KiB", kib), .buffer_bytes = kib * kKiB});
  variants.push_back({.name = "no copy", .copy = Copy::none});
  variants.push_back({.name = "non-temporal", .copy = Copy::non_temporal});
  variants.push_back({.name = "curl_easy_recv", .drive = Drive::receive});
  variants.push_back({.name = "curl_multi_poll", .drive = Drive::poll});
  variants.push_back({.name = "2 threads", .threads = 2});
  variants.push_back({.name = "4 threads", .threads = 4});
  {
    const Nginx nginx(folder);
    const std::uint64_t bytes = write_checkpoint(folder / "bucket" / "m.safetensors", mib);
    pin_to(1);
    const Arena memory = *Arena::reserve(bytes + kMiB);
    std::memset(memory.data(), 1, memory.bytes());
    std::memset(memory.data(), 2, memory.bytes());
    for (const bool is_tls : {false, true}) {
      std::vector<std::vector<double>> costs(variants.size());
      for (int round = -1; round < rounds; ++round) {
        for (std::size_t v = 0; v < variants.size(); ++v) {
          const Sample sample = measure([&] {
            run(variants[v], is_tls, folder, {.to = memory.data(), .bytes = bytes}, connections);
          });
          if (round >= 0) costs[v].push_back(sample.cpu_seconds * 1e9 / static_cast<double>(bytes));
        }
      }
      for (std::size_t v = 0; v < variants.size(); ++v) {
        std::sort(costs[v].begin(), costs[v].end());
        fmt::print("{:<5} {:<16} {:.3f} CPU-s/GB, median of {} ({:.3f}..{:.3f})\n",
                   is_tls ? "https" : "http", variants[v].name, costs[v][costs[v].size() / 2],
                   rounds, costs[v].front(), costs[v].back());
      }
    }
  }
  std::filesystem::remove_all(folder);
  curl_global_cleanup();
  return 0;
}
