// SPDX-License-Identifier: Apache-2.0
#pragma once
// One request in flight: its answer's head, where its body goes, and how it ended.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/futex.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/retry.hpp"

namespace streamer::core::inline http {

enum class BodyUse : std::uint8_t {
  to_sink,  // every byte to on_body()
  keep,     // to be read once the transfer has ended, up to TransferOptions::kept_bytes
  stop,     // not wanted: the connection is closed
};

// Receives an answer. Called by the loop's thread, during EventLoop::turn().
class TransferSink {
 public:
  virtual ~TransferSink() = default;
  // Once, when status and headers of the final answer are complete; also for 204, 304 and HEAD,
  // which have no body.
  virtual BodyUse on_head(const ResponseHead& head) = 0;
  // At most 16 KiB at a time. Returns false if no more is wanted.
  virtual bool on_body(std::string_view bytes) = 0;
  // More bytes arrived than the answer's length announced, before or after the last call of
  // on_body().
  virtual void on_excess() {}
  // Whether all bytes are there: the loop then waits only briefly for the answer's end.
  [[nodiscard]] virtual bool has_all() const noexcept { return false; }
};

// For answers that are read once they are complete.
class KeepBody final : public TransferSink {
 public:
  BodyUse on_head(const ResponseHead&) override { return BodyUse::keep; }
  bool on_body(std::string_view) override { return true; }
};

struct TransferOptions {
  std::string address = {};       // of the host, to be used instead of looking it up; empty: look
  bool fresh_connection = false;  // not one that was used before
  Milliseconds connect_timeout{5000};  // name, connection and TLS together
  Milliseconds stall_timeout{10'000};  // without a byte, also before the first one
  Milliseconds total_timeout{0};       // 0: none
  bool wants_tls_version = false;
  // Of a TLS connection several records are received at once, where that is possible: for answers
  // of many bytes. After an answer of unknown length the connection is closed.
  bool reads_ahead = false;
  std::size_t kept_bytes = 64 * kKiB;
  std::size_t receive_buffer_bytes = 64 * kKiB;
};

struct TransferTimes {
  double resolved_s = 0;
  double connected_s = 0;
  double secured_s = 0;
  double first_byte_s = 0;
};

class Transfer;

// The loop that a transfer is in; its one thread.
class TransferLoop {
 public:
  virtual void remove(Transfer& transfer) noexcept = 0;
  // When its turn began.
  [[nodiscard]] virtual SteadyTime now() const noexcept = 0;

 protected:
  ~TransferLoop() = default;
};

// Bound to the thread of the loop that it is added to. Destroying it removes it from the loop.
class Transfer {
 public:
  // sink must outlive the transfer.
  Transfer(HttpRequest request, TransferSink& sink, TransferOptions options)
      : request_(std::move(request)), sink_(sink), options_(std::move(options)) {}
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  [[nodiscard]] const HttpRequest& request() const noexcept { return request_; }
  [[nodiscard]] const TransferOptions& options() const noexcept { return options_; }

  // Only once the loop has reported it as finished.
  [[nodiscard]] TransferFault fault() const noexcept { return fault_; }
  [[nodiscard]] const std::string& fault_text() const noexcept { return fault_text_; }
  [[nodiscard]] const ResponseHead& head() const noexcept { return head_; }
  [[nodiscard]] bool has_head() const noexcept { return head_is_complete_; }
  [[nodiscard]] const std::string& kept_body() const noexcept { return kept_; }
  [[nodiscard]] const std::string& address_used() const noexcept { return address_used_; }
  [[nodiscard]] const std::string& tls_version() const noexcept { return tls_version_; }
  [[nodiscard]] TransferTimes times() const noexcept { return times_; }

 private:
  friend class EventLoop;
  friend struct CurlCallbacks;

  bool take_header_line(std::string_view line);
  bool finish_head();
  bool take_body(std::string_view bytes);

  const HttpRequest request_;
  TransferSink& sink_;
  const TransferOptions options_;

  TransferLoop* loop_ = nullptr;
  void* easy_ = nullptr;     // CURL, of the loop
  void* headers_ = nullptr;  // curl_slist
  void* connect_to_ = nullptr;
  int socket_ = -1;  // that libcurl waits for
  bool reads_ahead_ = false;
  bool took_record_ = false;             // of TLS, since the loop looked last
  std::uint64_t body_bytes_ = 0;         // taken
  std::optional<std::uint64_t> length_;  // of the body, if the head says it
  SteadyTime started_{};
  SteadyTime last_progress_{};
  char curl_text_[256] = {};

  ResponseHead head_;
  std::size_t header_bytes_ = 0;
  bool head_is_complete_ = false;
  BodyUse use_ = BodyUse::keep;
  bool stopped_ = false;      // by the sink
  bool kept_enough_ = false;  // the body goes on, but we do not
  std::string kept_;

  TransferFault fault_ = TransferFault::none;
  std::string fault_text_;
  std::string address_used_;
  std::string tls_version_;
  TransferTimes times_;
};

}  // namespace streamer::core::inline http
