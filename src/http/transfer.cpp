// SPDX-License-Identifier: Apache-2.0
#include "http/transfer.hpp"

#include "base/text.hpp"

namespace streamer::core::inline http {

namespace {

// Servers send less than 10 KiB.
constexpr std::size_t kMostHeaderBytes = 128 * kKiB;
constexpr std::size_t kMostHeaders = 1000;

}  // namespace

Transfer::~Transfer() {
  if (loop_ != nullptr) loop_->remove(*this);
}

// False: the answer is unusable, and fault_ says why.
bool Transfer::take_header_line(std::string_view line) {
  // Trailers after a chunked body contain nothing of interest.
  if (head_is_complete_) return true;
  header_bytes_ += line.size();
  const auto refuse = [&](std::string text) {
    fault_ = TransferFault::bad_response;
    fault_text_ = std::move(text);
    return false;
  };
  if (header_bytes_ > kMostHeaderBytes || head_.headers.size() >= kMostHeaders)
    return refuse("the answer's headers are longer than 128 KiB or more than 1000");
  if (line.starts_with("HTTP/")) {
    // A new head: the one before was a 1xx answer.
    // Nothing follows if the line, which a server may have made up, has no space.
    const std::size_t space = std::min(line.find(' '), line.size() - 1);
    const auto status = parse_unsigned(line.substr(space + 1).substr(0, 3));
    head_ = {.status = status && *status < 1000 ? static_cast<int>(*status) : 0, .headers = {}};
    return true;
  }
  if (line.starts_with(" ") || line.starts_with("\t"))
    return refuse("the answer has a folded header, which RFC 9112 5.2 forbids");
  if (trim(line).empty()) return head_.status < 200 || finish_head();
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  head_.headers.push_back(
      {to_lower(trim(line.substr(0, colon))), std::string(trim(line.substr(colon + 1)))});
  return true;
}

bool Transfer::finish_head() {
  head_is_complete_ = true;
  const auto length = head_.header("content-length");
  if (length && !head_.header("transfer-encoding")) length_ = parse_unsigned(*length);
  use_ = sink_.on_head(head_);
  stopped_ = use_ == BodyUse::stop;
  return !stopped_;
}

bool Transfer::take_body(std::string_view bytes) {
  last_progress_ = loop_->now();
  body_bytes_ += bytes.size();
  if (use_ == BodyUse::to_sink) {
    stopped_ = !sink_.on_body(bytes);
    return !stopped_;
  }
  kept_ += bytes.substr(0, options_.kept_bytes - kept_.size());
  kept_enough_ = kept_.size() == options_.kept_bytes;
  return !kept_enough_;
}

}  // namespace streamer::core::inline http
