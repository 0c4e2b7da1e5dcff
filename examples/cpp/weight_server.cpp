// SPDX-License-Identifier: Apache-2.0
// A server as inference servers are: it answers at once, loads its weights meanwhile, and says when
// it is ready.
//
//   c++ -std=c++20 weight_server.cpp $(pkg-config --cflags --static --libs streamer)
//   ./a.out s3://models/llama 8080
//
//   GET /health         200 ready; 503 and how far it is; 500 and what failed
//   GET /tensors/NAME   the bytes of a tensor, as soon as it is there
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "streamer/streamer.hpp"

namespace {

// What the loading thread fills and the serving one reads.
class Weights {
 public:
  void add(streamer::Tensor tensor) {
    const std::lock_guard lock(mutex_);
    std::string name(tensor.name());
    tensors_.emplace(std::move(name), std::move(tensor));
  }
  void end(std::string failure) {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
    failure_ = std::move(failure);
  }

  // A tensor stays where it is once it is there.
  const streamer::Tensor* find(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  std::pair<int, std::string> health() const {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) return {500, failure_};
    if (has_ended_) return {200, "ready"};
    return {503, "loading: " + std::to_string(tensors_.size()) + " tensors are there"};
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, streamer::Tensor> tensors_;
  std::string failure_;
  bool has_ended_ = false;
};

// Returns what failed; empty if all weights are there.
std::string load(const std::string& uri, Weights& weights, const std::stop_token& stop) {
  const auto checkpoint = streamer::Checkpoint::open({uri});
  if (!checkpoint) return checkpoint.error().line();
  auto load = streamer::Load::start(*checkpoint);
  if (!load) return load.error().line();
  while (!stop.stop_requested()) {
    auto waited = load->next_for(std::chrono::milliseconds(100));
    if (!waited) return waited.error().line();
    if (waited->is_end) return {};
    if (waited->tensor) weights.add(std::move(*waited->tensor));
  }
  return "it was stopped";  // the load ends with its object
}

void send_all(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void answer(int connection, int status, std::string_view body) {
  const std::string head = "HTTP/1.1 " + std::to_string(status) + " -\r\nConnection: close\r\n" +
                           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  send_all(connection, head);
  send_all(connection, body);
}

void serve(int connection, const Weights& weights) {
  std::string request(4096, '\0');
  const ssize_t got = ::recv(connection, request.data(), request.size(), 0);
  request.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::string path = request.substr(0, request.find(" HTTP/"));
  const std::string tensors = "GET /tensors/";
  if (path == "GET /health") {
    const auto [status, text] = weights.health();
    return answer(connection, status, text);
  }
  if (!path.starts_with(tensors)) return answer(connection, 404, "GET /health or /tensors/NAME");
  const streamer::Tensor* const tensor = weights.find(path.substr(tensors.size()));
  if (tensor == nullptr) return answer(connection, 404, "no such tensor yet");
  const std::span<const std::byte> bytes = tensor->bytes();
  answer(connection, 200, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

int listen_on(std::uint16_t port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t size = sizeof address;
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  const bool is_listening = ::bind(listener, plain, size) == 0 && ::listen(listener, 16) == 0 &&
                            ::getsockname(listener, plain, &size) == 0;
  if (!is_listening) {
    std::perror("listening");
    std::exit(1);
  }
  std::printf("listening on %d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "weight_server URI PORT\n");
    return 2;
  }
  // Before any thread is there, so that none of them takes the signal.
  sigset_t ending;
  ::sigemptyset(&ending);
  ::sigaddset(&ending, SIGINT);
  ::sigaddset(&ending, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  const int signals = ::signalfd(-1, &ending, SFD_CLOEXEC);
  const int listener = listen_on(static_cast<std::uint16_t>(std::atoi(argv[2])));

  Weights weights;
  const std::jthread loading([&weights, uri = std::string(argv[1])](const std::stop_token& stop) {
    weights.end(load(uri, weights, stop));
  });
  pollfd waits[] = {{signals, POLLIN, 0}, {listener, POLLIN, 0}};
  while (::poll(waits, 2, -1) >= 0 && waits[0].revents == 0) {
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    serve(connection, weights);
    ::close(connection);
  }
  ::close(listener);
  ::close(signals);
  return 0;  // the loading thread is asked to stop, and waited for
}
