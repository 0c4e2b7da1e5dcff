// SPDX-License-Identifier: Apache-2.0
#include "kit_data.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"

namespace streamer::test {

using core::Error;
using core::ErrorKind;
using core::Result;

namespace {

constexpr std::uint64_t kLargeBytes = 24 << 20;
constexpr std::uint64_t kSmallBytes = 40'000;
constexpr std::uint64_t kSmallOfEach = 16;  // behind each large one

// splitmix64: words of neighbours have nothing in common.
std::uint64_t word_at(std::uint64_t number) {
  std::uint64_t z = (number + 1) * 0x9E37'79B9'7F4A'7C15;
  z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
  z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
  return z ^ (z >> 31);
}

Error system_error(const std::string& what) {
  return Error(ErrorKind::io, what + ": " + std::generic_category().message(errno));
}

}  // namespace

Result<KitFile> make_kit_file(const std::filesystem::path& path, std::uint64_t bytes) {
  KitFile file;
  file.path = path;
  std::string header = "{";
  const auto put = [&](std::uint64_t size) {
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})",
                          file.offsets.empty() ? "" : ",", file.offsets.size(), size,
                          file.data_bytes, file.data_bytes + size);
    file.offsets.push_back(file.data_bytes);
    file.sizes.push_back(size);
    file.data_bytes += size;
  };
  while (file.data_bytes + kLargeBytes + kSmallOfEach * kSmallBytes <= bytes ||
         file.offsets.empty()) {
    put(kLargeBytes);
    for (std::uint64_t i = 0; i < kSmallOfEach; ++i)
      put(kSmallBytes);
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::ofstream out(path, std::ios::binary);
  const std::uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << header;
  std::vector<std::uint64_t> block(1 << 17);
  for (std::uint64_t at = 0; at < file.data_bytes;) {
    const std::uint64_t size = std::min<std::uint64_t>(block.size() * 8, file.data_bytes - at);
    for (std::uint64_t i = 0; i < size / 8; ++i)
      block[i] = word_at(at / 8 + i);
    out.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(size));
    at += size;
  }
  out.close();
  if (!out) return system_error("writing " + path.string());
  return file;
}

bool are_kit_bytes(const std::byte* bytes, std::uint64_t size, std::uint64_t offset) {
  bool is_same = true;
  for (std::uint64_t i = 0; i < size / 8; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i * 8, 8);
    is_same = is_same && word == word_at(offset / 8 + i);
  }
  return is_same && size % 8 == 0;
}

Result<void> make_cold(const std::filesystem::path& path) {
  const core::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return system_error(path.string());
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  return {};
}

Result<void> read_plainly(const std::filesystem::path& path, unsigned threads, int flags) {
  constexpr std::uint64_t kBlock = 2 << 20;
  const core::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
  struct stat found {};
  if (!fd || ::fstat(fd.get(), &found) != 0) return system_error(path.string());
  const auto size = static_cast<std::uint64_t>(found.st_size);
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> has_failed{false};
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < threads; ++i) {
    readers.emplace_back([&] {
      // Direct reads want pages.
      const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(4096, kBlock),
                                                              std::free);
      for (std::uint64_t at = next.fetch_add(kBlock); at < size; at = next.fetch_add(kBlock)) {
        if (::pread(fd.get(), block.get(), kBlock, static_cast<off_t>(at)) < 0) has_failed = true;
      }
    });
  }
  for (std::thread& reader : readers)
    reader.join();
  if (has_failed) return system_error("reading " + path.string());
  return {};
}

Result<std::unique_ptr<KitServer>> KitServer::start(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat found {};
  if (file < 0 || ::fstat(file, &found) != 0) return system_error(path.string());
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener < 0 ||
      ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 256) != 0)
    return system_error("a server on 127.0.0.1");
  return std::unique_ptr<KitServer>(
      new KitServer(listener, file, static_cast<std::uint64_t>(found.st_size)));
}

KitServer::KitServer(int listener, int file, std::uint64_t size)
    : listener_(listener), file_(file), size_(size), thread_([this] {
        std::vector<std::thread> connections;
        while (!is_ending_) {
          pollfd entry{listener_, POLLIN, 0};
          if (::poll(&entry, 1, 50) <= 0) continue;
          const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
          if (socket >= 0) connections.emplace_back([this, socket] { serve(socket); });
        }
        for (std::thread& connection : connections)
          connection.join();
      }) {}

KitServer::~KitServer() {
  is_ending_ = true;
  thread_.join();
  ::close(listener_);
  ::close(file_);
}

std::string KitServer::url() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  return fmt::format("http://127.0.0.1:{}/m.safetensors", ntohs(address.sin_port));
}

void KitServer::serve(int socket) const {
  const core::UniqueFd closing(socket);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  std::string received;
  std::vector<char> buffer(16384);
  while (!is_ending_) {
    const std::size_t end = received.find("\r\n\r\n");
    if (end == std::string::npos) {
      pollfd entry{socket, POLLIN, 0};
      if (::poll(&entry, 1, 50) <= 0) continue;
      const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
      if (got <= 0) return;
      received.append(buffer.data(), static_cast<std::size_t>(got));
      continue;
    }
    std::string head = received.substr(0, end);
    received.erase(0, end + 4);
    const bool is_head = head.starts_with("HEAD ");
    std::transform(head.begin(), head.end(), head.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::uint64_t first = 0;
    std::uint64_t last = size_ - 1;
    const std::size_t range = head.find("range: bytes=");
    if (range != std::string::npos) {
      char* rest = nullptr;
      first = std::strtoull(head.c_str() + range + 13, &rest, 10);
      if (*rest == '-' && std::isdigit(static_cast<unsigned char>(rest[1])) != 0)
        last = std::min<std::uint64_t>(std::strtoull(rest + 1, nullptr, 10), last);
    }
    const std::string answer = fmt::format(
        "HTTP/1.1 {}\r\nContent-Length: {}\r\nETag: \"kit\"\r\nAccept-Ranges: bytes\r\n{}\r\n",
        range == std::string::npos ? "200 OK" : "206 Partial Content", last - first + 1,
        range == std::string::npos
            ? std::string()
            : fmt::format("Content-Range: bytes {}-{}/{}\r\n", first, last, size_));
    if (::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_MORE) < 0) return;
    auto at = static_cast<off_t>(first);
    while (!is_head && at <= static_cast<off_t>(last)) {
      if (::sendfile(socket, file_, &at,
                     static_cast<std::size_t>(last) + 1 - static_cast<std::size_t>(at)) <= 0)
        return;
    }
  }
}

}  // namespace streamer::test
