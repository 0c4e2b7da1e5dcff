// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the network benchmarks share: nginx that serves from a tmpfs on core 0, and the cost of what
// runs on core 1.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.hpp"

namespace streamer::bench {

using core::kMiB;

constexpr std::uint64_t kRangeBytes = 8 * kMiB;

inline void require(bool condition, const std::string& what) {
  if (condition) return;
  fmt::print(stderr, "{}\n", what);
  std::exit(1);
}

inline void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

struct Sample {
  double seconds = 0;
  double cpu_seconds = 0;
};

inline Sample measure(const std::function<void()>& body) {
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
      // However the benchmark ends: the next one must not measure this one's server.
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
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
      require(::waitpid(pid_, nullptr, WNOHANG) == 0, "nginx ended; its log: the file err");
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

inline std::uint64_t write_checkpoint(const std::filesystem::path& path, std::uint64_t mib) {
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

inline double lowest(const std::vector<Sample>& samples, double Sample::*field) {
  double value = 1e9;
  for (const Sample& sample : samples)
    value = std::min(value, sample.*field);
  return value;
}

}  // namespace streamer::bench
