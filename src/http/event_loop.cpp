// SPDX-License-Identifier: Apache-2.0
#include "http/event_loop.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>

#include "base/fits_in_memory.hpp"
#include "base/fork.hpp"
#include "base/text.hpp"
#include "http/curl_fault.hpp"
#include "http/system_authorities.hpp"
#include "http/tls_session.hpp"

namespace streamer::core::inline http {

namespace {

constexpr Milliseconds kStallCheckEvery{100};
// How long the end of an answer is awaited once all of its bytes are there.
constexpr Milliseconds kEndAwaitedFor{1000};
// If a turn comes later than this after the last one, the thread did something else in between.
constexpr Milliseconds kPause{500};
// Connections are made anew after this long, so that new certificates and addresses are noticed.
constexpr long kLongestConnectionLife_s = 300;
constexpr long kLastResort_s = 900;
// Of one connection, before the others have their turn: each takes at least a record.
constexpr int kRoundsAtOnce = 8;

CURLM* multi_of(void* multi) {
  return multi;
}

bool init_curl() {
  static std::once_flag once;
  static CURLcode outcome = CURLE_FAILED_INIT;
  std::call_once(once, [] { outcome = curl_global_init(CURL_GLOBAL_DEFAULT); });
  return outcome == CURLE_OK;
}

Error no_memory() {
  return Error(ErrorKind::out_of_memory, "not enough memory for an HTTP connection");
}

}  // namespace

// libcurl's callbacks; all run on the loop's thread.
struct CurlCallbacks {
  // libcurl cuts an answer at its announced length, and only this text tells that more arrived.
  // That happens if something else was written into the middle of the answer.
  static int on_words(CURL* easy, curl_infotype type, char* data, std::size_t size, void* user) {
    static_cast<void>(easy);
    auto& transfer = *static_cast<Transfer*>(user);
    if (type == CURLINFO_SSL_DATA_IN) {
      transfer.took_record_ = true;
      return 0;
    }
    const bool is_excess =
        type == CURLINFO_TEXT && std::string_view(data, size).starts_with("Excess found");
    if (is_excess) transfer.sink_.on_excess();
    return 0;
  }

  // The same if libcurl stopped reading at the answer's end: whether more bytes are waiting behind
  // it.
  static bool has_excess(const Transfer& transfer) {
    if (!transfer.sink_.has_all() || !transfer.head_.header("content-length")) return false;
    if (transfer.request_.is_tls()) return has_unread_tls(transfer.easy_);
    return has_unread(socket_of(transfer));
  }
  // libcurl tells a transfer's socket when it waits for it. An answer that was there at once, on a
  // connection that was used before, is read without that: then it is the socket of the same port.
  static int socket_of(const Transfer& transfer) {
    if (transfer.socket_ != CURL_SOCKET_BAD) return transfer.socket_;
    long port = 0;
    curl_easy_getinfo(transfer.easy_, CURLINFO_LOCAL_PORT, &port);
    const auto& sockets = static_cast<const EventLoop*>(transfer.loop_)->sockets_;
    const auto found = std::find_if(sockets.begin(), sockets.end(),
                                    [&](int socket) { return local_port(socket) == port; });
    return found == sockets.end() ? CURL_SOCKET_BAD : *found;
  }
  // 0: it is closed, or not a connection's.
  static long local_port(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    if (address.ss_family == AF_INET)
      return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
    if (address.ss_family == AF_INET6)
      return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
    return 0;
  }
  static bool has_unread(int socket) {
    char next = 0;
    return ::recv(socket, &next, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }

  // Records behind an answer, in OpenSSL or in the socket, would be taken for the beginning of the
  // next one: libcurl does not look for the former, nor, at 7.88, for the latter. They need not be
  // bytes of an answer: it is enough not to use the connection again.
  static void leave_clean(const Transfer& transfer) {
    if (!transfer.request_.is_tls()) return;
    const bool is_open_ended = transfer.reads_ahead_ && !transfer.length_.has_value();
    const bool is_last = transfer.body_bytes_ == transfer.length_;
    if (is_open_ended ||
        (is_last && (holds_bytes(transfer.easy_) || has_unread(socket_of(transfer)))))
      curl_easy_setopt(transfer.easy_, CURLOPT_FORBID_REUSE, 1L);
  }

  static int on_new_socket(void* user, curl_socket_t socket, curlsocktype) {
    auto& sockets = static_cast<EventLoop*>(user)->sockets_;
    if (std::find(sockets.begin(), sockets.end(), socket) != sockets.end()) return CURL_SOCKOPT_OK;
    return fits_in_memory([&] { sockets.push_back(socket); }) ? CURL_SOCKOPT_OK
                                                              : CURL_SOCKOPT_ERROR;
  }

  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* user, void* known) {
    auto& loop = *static_cast<EventLoop*>(user);
    char* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    // has_excess() looks at the transfer's socket: one that libcurl closes, to try a request again
    // on a fresh connection, may already be another thread's.
    if (transfer != nullptr) {
      curl_socket_t& mine = static_cast<Transfer*>(static_cast<void*>(transfer))->socket_;
      if (what != CURL_POLL_REMOVE) {
        mine = socket;
      } else if (mine == socket) {
        mine = CURL_SOCKET_BAD;
      }
    }
    if (what == CURL_POLL_REMOVE) {
      ::epoll_ctl(loop.epoll_.get(), EPOLL_CTL_DEL, socket, nullptr);
      return 0;
    }
    epoll_event event{};
    if (what & CURL_POLL_IN) event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
    event.data.fd = socket;
    const int operation = known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    ::epoll_ctl(loop.epoll_.get(), operation, socket, &event);
    curl_multi_assign(multi_of(loop.multi_), socket, &loop);
    return 0;
  }

  static int on_timer(CURLM* multi, long timeout_ms, void* user) {
    static_cast<void>(multi);
    auto& loop = *static_cast<EventLoop*>(user);
    loop.timer_.reset();
    if (timeout_ms >= 0) loop.timer_ = std::chrono::steady_clock::now() + Milliseconds(timeout_ms);
    return 0;
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    transfer.last_progress_ = transfer.loop_->now();
    if (transfer.options_.wants_tls_version && transfer.request_.is_tls())
      transfer.tls_version_ = tls_version_of(transfer.easy_);
    transfer.took_record_ = true;
    const bool was_complete = transfer.head_is_complete_;
    const bool is_usable = transfer.take_header_line({data, size * count});
    if (transfer.head_is_complete_ && !was_complete) leave_clean(transfer);
    return is_usable ? size * count : 0;
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    transfer.took_record_ = true;
    if (!transfer.take_body({data, size * count})) return 0;
    leave_clean(transfer);
    if (transfer.use_ != BodyUse::to_sink || !has_excess(transfer)) return size * count;
    transfer.sink_.on_excess();
    transfer.stopped_ = true;
    return 0;
  }
};

Result<std::unique_ptr<EventLoop>> EventLoop::make(std::uint32_t idle_connections) {
  if (!init_curl()) return no_memory();
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->generation_ = fork_generation();
  loop->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return os_failure("create an epoll", errno);
  CURLM* const multi = curl_multi_init();
  loop->multi_ = multi;
  loop->share_ = curl_share_init();
  if (multi == nullptr || loop->share_ == nullptr) return no_memory();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, CurlCallbacks::on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, loop.get());
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, CurlCallbacks::on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, loop.get());
  // Fixed: the default follows the number of transfers in flight, and closes connections at every
  // dip.
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(idle_connections));
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  curl_share_setopt(static_cast<CURLSH*>(loop->share_), CURLSHOPT_SHARE,
                    CURL_LOCK_DATA_SSL_SESSION);
  return loop;
}

EventLoop::~EventLoop() {
  // After fork() the connections are the parent's: closing them here would break its TLS streams.
  if (generation_ != fork_generation()) return;
  while (!active_.empty())
    remove(*active_.back());
  for (void* easy : idle_easies_)
    curl_easy_cleanup(easy);
  if (multi_ != nullptr) curl_multi_cleanup(multi_of(multi_));
  if (share_ != nullptr) curl_share_cleanup(static_cast<CURLSH*>(share_));
}

Result<void> EventLoop::wake_by(WakeFd* wake) {
  // A loop that nobody used for a while.
  now_ = std::chrono::steady_clock::now();
  if (wake_ != nullptr) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, wake_->fd(), nullptr);
  wake_ = nullptr;
  if (wake != nullptr) TRY(expect(wake->fd()));
  wake_ = wake;
  return {};
}

Result<void> EventLoop::watch(int fd) {
  if (fd < 0) return {};
  TRY(expect(fd));
  watched_ = fd;
  return {};
}

Result<void> EventLoop::expect(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return os_failure("watch an eventfd", errno);
  return {};
}

void EventLoop::unwatch() noexcept {
  if (watched_ >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watched_, nullptr);
  watched_ = -1;
}

Result<void> EventLoop::add(Transfer& transfer) {
  void* easy = nullptr;
  if (idle_easies_.empty()) {
    easy = curl_easy_init();
  } else {
    easy = idle_easies_.back();
    idle_easies_.pop_back();
  }
  if (easy == nullptr) return no_memory();
  transfer.easy_ = easy;
  transfer.loop_ = this;
  active_.push_back(&transfer);
  transfer.started_ = transfer.last_progress_ = now_ = std::chrono::steady_clock::now();
  auto outcome = apply_options(transfer, easy);
  const CURLMcode added =
      outcome ? curl_multi_add_handle(multi_of(multi_), easy) : CURLM_INTERNAL_ERROR;
  if (added == CURLM_OK) return {};
  remove(transfer);
  if (!outcome) return outcome;
  if (added == CURLM_OUT_OF_MEMORY) return no_memory();
  return Error(ErrorKind::internal,
               fmt::format("libcurl refused a request: {}", curl_multi_strerror(added)));
}

// Every option of a transfer, in one place.
Result<void> EventLoop::apply_options(Transfer& transfer, void* easy) {
  const HttpRequest& request = transfer.request_;
  const TransferOptions& options = transfer.options_;
  static const auto* const plain = new HttpRoute;
  const HttpRoute& route = request.route ? *request.route : *plain;
  if (route.verifies_tls && !route.tls.tried.empty() &&
      (request.is_tls() || route.proxy.starts_with("https:")))
    return no_authorities(route.tls);
  curl_slist* headers = nullptr;
  bool fits = true;
  const auto send = [&](const std::string& line) {
    curl_slist* const longer = curl_slist_append(headers, line.c_str());
    fits = fits && longer != nullptr;
    if (longer != nullptr) headers = longer;
  };
  bool has_content_type = false;
  for (const HttpHeader& header : request.headers) {
    if (equal_ignoring_case(header.name, "content-type")) has_content_type = true;
    // "Name:" would remove the header; an empty value is written "Name;".
    send(header.value.empty() ? header.name + ";" : header.name + ": " + header.value);
  }
  // Headers that libcurl would add by itself.
  send("Accept:");
  send("Expect:");
  if (!has_content_type) send("Content-Type:");
  transfer.headers_ = headers;
  std::optional<Error> refused;
  const auto set = [&](CURLoption option, auto value) {
    if (refused) return;
    const CURLcode code = curl_easy_setopt(easy, option, value);
    if (code == CURLE_OK) return;
    const curl_easyoption* const known = curl_easy_option_by_id(option);
    refused = Error(code == CURLE_OUT_OF_MEMORY ? ErrorKind::out_of_memory : ErrorKind::internal,
                    fmt::format("libcurl {} refused the option {}: {}",
                                curl_version_info(CURLVERSION_NOW)->version,
                                known != nullptr ? known->name : "", curl_easy_strerror(code)));
  };
  const std::string url = request.url();
  set(CURLOPT_URL, url.c_str());
  // The path is signed as it is: libcurl must not resolve "..".
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROTOCOLS_STR, request.is_tls() ? "https" : "http");
  // A store decides whether a redirect may be followed, and with which credential.
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTPHEADER, headers);
  set(CURLOPT_USERAGENT, "libstreamer/" STREAMER_VERSION);
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    set(CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.c_str());
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  // HTTP/2 costs 12 % more CPU for bulk data, and puts all of it on one connection.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_NOSIGNAL, 1L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
  // Ending a transfer then does not wait for the thread that looks up the host, which ends by
  // itself. A library older than the headers refuses it: then it waits.
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_BUFFERSIZE, static_cast<long>(options.receive_buffer_bytes));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(options.total_timeout.count()));
  set(CURLOPT_MAXLIFETIME_CONN, kLongestConnectionLife_s);
  set(CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
  // libcurl does not know the TTL. Names are looked up again soon.
  set(CURLOPT_DNS_CACHE_TIMEOUT, 30L);
  // A last resort, should end_stalled() ever fail.
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, kLastResort_s);
  set(CURLOPT_FRESH_CONNECT, options.fresh_connection ? 1L : 0L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  // Always set: otherwise libcurl would read the environment itself, which proxy.cpp has already
  // done.
  set(CURLOPT_PROXY, route.proxy.c_str());
  set(CURLOPT_NOPROXY, "");
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_SSL_VERIFYPEER, route.verifies_tls ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, route.verifies_tls ? 2L : 0L);
  // AES-128 costs a tenth less CPU than AES-256 and is no less safe here.
  set(CURLOPT_TLS13_CIPHERS,
      "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  const auto text = [](const std::string& path) {
    return path.empty() ? static_cast<const char*>(nullptr) : path.c_str();
  };
  const TlsFiles& tls = route.tls;
  if (!tls.ca_file.empty() || !tls.ca_folder.empty()) {
    // Both, even if only one is given: otherwise libcurl would still trust the system's other one.
    set(CURLOPT_CAINFO, text(tls.ca_file));
    set(CURLOPT_CAPATH, text(tls.ca_folder));
    if (route.proxy.starts_with("https:")) {
      set(CURLOPT_PROXY_CAINFO, text(tls.ca_file));
      set(CURLOPT_PROXY_CAPATH, text(tls.ca_folder));
    }
  }
  if (!tls.client_certificate.empty()) {
    set(CURLOPT_SSLCERT, text(tls.client_certificate));
    set(CURLOPT_SSLKEY, text(tls.client_key.empty() ? tls.client_certificate : tls.client_key));
  }
  if (!options.address.empty() && route.proxy.empty()) {
    const Endpoint endpoint{request.origin, ""};
    const bool is_v6 = options.address.find(':') != std::string::npos;
    const std::string entry = fmt::format("::{}{}{}:{}", is_v6 ? "[" : "", options.address,
                                          is_v6 ? "]" : "", endpoint.port());
    curl_slist* const to = curl_slist_append(nullptr, entry.c_str());
    transfer.connect_to_ = to;
    set(CURLOPT_CONNECT_TO, to);
  }
  // Not through a proxy with TLS of its own, where two sessions would have to be looked at.
  transfer.reads_ahead_ = options.reads_ahead && request.is_tls() &&
                          !route.proxy.starts_with("https:") && can_read_ahead();
  if (transfer.reads_ahead_) set(CURLOPT_SSL_CTX_FUNCTION, &read_ahead);
  set(CURLOPT_SOCKOPTFUNCTION, CurlCallbacks::on_new_socket);
  set(CURLOPT_SOCKOPTDATA, static_cast<void*>(this));
  set(CURLOPT_SHARE, static_cast<CURLSH*>(share_));
  set(CURLOPT_PRIVATE, static_cast<void*>(&transfer));
  set(CURLOPT_ERRORBUFFER, transfer.curl_text_);
  set(CURLOPT_HEADERFUNCTION, CurlCallbacks::on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
  set(CURLOPT_WRITEFUNCTION, CurlCallbacks::on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  // Only for on_words(); nothing is printed.
  set(CURLOPT_VERBOSE, 1L);
  set(CURLOPT_DEBUGFUNCTION, CurlCallbacks::on_words);
  set(CURLOPT_DEBUGDATA, static_cast<void*>(&transfer));
  if (refused) return *std::move(refused);
  if (!fits) return no_memory();
  return {};
}

void EventLoop::detach(Transfer& transfer) noexcept {
  active_.erase(std::find(active_.begin(), active_.end(), &transfer));
  curl_multi_remove_handle(multi_of(multi_), transfer.easy_);
  if (transfer.head_is_complete_) {
    // Before the next use, so that nothing points to what the transfer owned.
    curl_easy_reset(transfer.easy_);
    idle_easies_.push_back(transfer.easy_);
  } else {
    // After a failed look-up, libcurl 7.88 no longer accepts some options, even after a reset.
    curl_easy_cleanup(transfer.easy_);
  }
  curl_slist_free_all(static_cast<curl_slist*>(transfer.headers_));
  curl_slist_free_all(static_cast<curl_slist*>(transfer.connect_to_));
  transfer.easy_ = transfer.headers_ = transfer.connect_to_ = nullptr;
  transfer.loop_ = nullptr;
}

void EventLoop::remove(Transfer& transfer) noexcept {
  if (transfer.loop_ != this) return;
  if (generation_ != fork_generation()) return;
  detach(transfer);
}

void EventLoop::finish(Transfer& transfer, int curl_code) {
  CURL* const easy = transfer.easy_;
  const char* address = nullptr;
  curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &address);
  if (address != nullptr) transfer.address_used_ = address;
  const auto seconds = [&](CURLINFO info) {
    curl_off_t microseconds = 0;
    curl_easy_getinfo(easy, info, &microseconds);
    return static_cast<double>(microseconds) / 1e6;
  };
  transfer.times_ = {.resolved_s = seconds(CURLINFO_NAMELOOKUP_TIME_T),
                     .connected_s = seconds(CURLINFO_CONNECT_TIME_T),
                     .secured_s = seconds(CURLINFO_APPCONNECT_TIME_T),
                     .first_byte_s = seconds(CURLINFO_STARTTRANSFER_TIME_T)};
  // The sink's refusal, and a fault found in the head, take precedence over libcurl's code, which
  // only says that a callback refused.
  if (transfer.stopped_) {
    transfer.fault_ = TransferFault::stopped;
  } else if (transfer.fault_ == TransferFault::none && !transfer.kept_enough_) {
    const CurlFault fault = classify_curl(easy, static_cast<CURLcode>(curl_code),
                                          transfer.curl_text_, transfer.head_is_complete_);
    transfer.fault_ = fault.fault;
    transfer.fault_text_ = fault.text;
  }
  detach(transfer);
}

void EventLoop::take_messages(std::vector<Transfer*>& finished) {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_of(multi_), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* user = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
    auto* const transfer = static_cast<Transfer*>(static_cast<void*>(user));
    finish(*transfer, message->data.result);
    finished.push_back(transfer);
  }
}

void EventLoop::end_stalled(std::vector<Transfer*>& finished) {
  if (now_ < next_stall_check_) return;
  next_stall_check_ = now_ + kStallCheckEvery;
  for (std::size_t i = active_.size(); i-- > 0;) {
    Transfer& transfer = *active_[i];
    const Milliseconds allowed = transfer.sink_.has_all()
                                     ? std::min(kEndAwaitedFor, transfer.options_.stall_timeout)
                                     : transfer.options_.stall_timeout;
    if (now_ - transfer.last_progress_ < allowed) continue;
    transfer.fault_ = TransferFault::stalled;
    transfer.fault_text_ = fmt::format("no byte arrived for {} ms", allowed.count());
    finish(transfer, CURLE_OPERATION_TIMEDOUT);
    finished.push_back(&transfer);
  }
}

int EventLoop::wait_ms(SteadyTime until) const {
  if (must_read_on_) return 0;
  if (timer_) until = std::min(until, *timer_);
  if (!active_.empty()) until = std::min(until, next_stall_check_);
  const auto left = until - std::chrono::steady_clock::now();
  if (left <= left.zero()) return 0;
  // Rounded up: a wait that ends too early would only be repeated.
  return static_cast<int>(
      std::min<std::int64_t>(std::chrono::ceil<Milliseconds>(left).count(), 60'000));
}

// Records that OpenSSL has received and libcurl did not take: no event would tell of them. A
// connection that has still more after some rounds leaves the others their turn first.
void EventLoop::read_on() {
  must_read_on_ = false;
  for (Transfer* const transfer : active_) {
    if (!transfer->reads_ahead_) continue;
    // Only those that took something: one that does not, though there is something, waits for
    // something else.
    for (int round = 0; std::exchange(transfer->took_record_, false); ++round) {
      if (!must_read_on(transfer->easy_)) break;
      if (round == kRoundsAtOnce) {
        transfer->took_record_ = must_read_on_ = true;
        break;
      }
      int running = 0;
      curl_multi_socket_action(multi_of(multi_), transfer->socket_, CURL_CSELECT_IN, &running);
    }
  }
}

void EventLoop::turn(SteadyTime until, std::vector<Transfer*>& finished) {
  const SteadyTime before = now_;
  now_ = std::chrono::steady_clock::now();
  // The caller was away: what the servers sent in the meantime waits in the sockets, so it is not a
  // stall.
  if (now_ - before > kPause) {
    for (Transfer* transfer : active_)
      transfer->last_progress_ = now_;
  }
  std::array<epoll_event, 64> events;
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms(until));
  now_ = std::chrono::steady_clock::now();
  int running = 0;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (wake_ != nullptr && event.data.fd == wake_->fd()) {
      wake_->drain();
      continue;
    }
    // Only meant to end the wait; the caller asks what happened.
    if (event.data.fd == watched_) continue;
    int what = 0;
    if (event.events & EPOLLIN) what |= CURL_CSELECT_IN;
    if (event.events & EPOLLOUT) what |= CURL_CSELECT_OUT;
    if (event.events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
    curl_multi_socket_action(multi_of(multi_), event.data.fd, what, &running);
  }
  if (timer_ && *timer_ <= now_) {
    timer_.reset();
    curl_multi_socket_action(multi_of(multi_), CURL_SOCKET_TIMEOUT, 0, &running);
  }
  read_on();
  take_messages(finished);
  end_stalled(finished);
}

}  // namespace streamer::core::inline http
