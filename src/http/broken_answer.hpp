// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is kept of an answer so that another one can be compared with it. A proxy that loses its
// store in the middle of an answer may write a page of its own into the body before it closes: so
// the last bytes of an answer that broke off are not trusted, and are read again. Samples show
// whether the bytes before them were the object's: where the two answers differ, the page began.

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"

namespace streamer::core::inline http {

// Bytes of an answer count once it has brought that many more after them, or has ended as
// announced. Larger than proxies' pages.
inline constexpr std::uint64_t kGuardBytes = 64 * kKiB;

// For an answer that is not over and has brought [begin, position): the end of the bytes that
// count.
[[nodiscard]] constexpr std::uint64_t sure_before(std::uint64_t begin,
                                                  std::uint64_t position) noexcept {
  return position - begin > kGuardBytes ? position - kGuardBytes : begin;
}

struct AnswerSample {
  static constexpr std::size_t kMostBytes = 64;

  std::uint64_t offset = 0;  // of the object
  std::array<char, kMostBytes> bytes;
  std::size_t size = 0;
  std::size_t same = 0;  // this many leading bytes were the same in the other answer

  [[nodiscard]] std::uint64_t end() const noexcept { return offset + size; }
};

// Taken of one answer while it arrives: a sample about every 8 KiB, and its last bytes.
class AnswerSamples {
 public:
  // Notes the bytes that follow those noted before. True if a sample begins there.
  bool note(std::uint64_t offset, std::string_view bytes);
  // The sample at offset, whose bytes were noted just now.
  void take(std::uint64_t offset, std::string_view bytes);
  void forget_before(std::uint64_t offset);

  // The newest sample that begins at or before offset; offset itself if there is none.
  [[nodiscard]] std::uint64_t at_or_before(std::uint64_t offset) const noexcept;
  // Where bytes of another answer, from offset on, differ; the last such sample.
  [[nodiscard]] std::optional<std::uint64_t> last_difference(std::uint64_t offset,
                                                             std::string_view bytes) const noexcept;
  [[nodiscard]] std::vector<AnswerSample> from(std::uint64_t offset) const;

 private:
  std::deque<AnswerSample> samples_;
  AnswerSample tail_;
};

// An answer that broke off and whose end is read again.
class BrokenAnswer {
 public:
  // begin: where its bytes began. again_from: where reading again begins.
  BrokenAnswer(std::uint64_t begin, std::uint64_t again_from, std::vector<AnswerSample> samples)
      : begin_(begin), again_from_(again_from), samples_(std::move(samples)) {}

  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint64_t again_from() const noexcept { return again_from_; }

  // Compares bytes of another answer, from offset on.
  void compare(std::uint64_t offset, std::string_view bytes) noexcept;
  // The other answer broke off too: its bytes that are not judged yet do not count.
  void forget_comparison() noexcept;

  enum class Finding : std::uint8_t {
    open,          // not known yet
    right,         // it brought nothing wrong before where it is read again
    reaches_back,  // it may have
  };
  // The other answer's bytes before `confirmed` are the object's.
  Finding judge(std::uint64_t confirmed) noexcept;
  // The rest of it will not be read again.
  [[nodiscard]] bool is_judged() const noexcept { return judged_ == samples_.size(); }
  // Where it was found to differ; once.
  std::optional<std::uint64_t> take_difference() noexcept {
    return std::exchange(difference_, std::nullopt);
  }

 private:
  std::uint64_t begin_;
  std::uint64_t again_from_;
  std::vector<AnswerSample> samples_;
  std::size_t judged_ = 0;
  bool is_vouched_for_ = false;
  std::optional<std::uint64_t> difference_;
};

// The answers of which something is being read again.
class BrokenAnswers {
 public:
  void add(BrokenAnswer broken) { broken_.push_back(std::move(broken)); }
  void clear() noexcept { broken_.clear(); }
  [[nodiscard]] bool empty() const noexcept { return broken_.empty(); }
  void compare(std::uint64_t offset, std::string_view bytes) noexcept {
    for (BrokenAnswer& one : broken_)
      one.compare(offset, bytes);
  }
  void forget_comparison() noexcept {
    for (BrokenAnswer& one : broken_)
      one.forget_comparison();
  }

  struct Finding {
    bool is_open = false;                              // what came may not be handed over yet
    std::optional<std::uint64_t> difference;           // where an answer was found to be wrong
    std::optional<std::uint64_t> wrong_perhaps_since;  // the begin of one that may be wrong before
                                                       // where it was read again
  };
  // confirmed: see BrokenAnswer::judge(). is_all: nothing will follow it.
  Finding judge(std::uint64_t confirmed, bool is_all);

 private:
  std::vector<BrokenAnswer> broken_;
};

// The text about a difference.
[[nodiscard]] std::string describe_difference(std::uint64_t at);

}  // namespace streamer::core::inline http
