// SPDX-License-Identifier: Apache-2.0
#include "http/broken_answer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace streamer::core::inline http {

namespace {

constexpr std::uint64_t kSamplesApart = 8 * kKiB;
// This many equal bytes are no coincidence, unless all of them are the same byte.
constexpr std::size_t kTellingBytes = 16;

// How many of the sample's leading bytes equal those of `bytes`, where the two overlap.
std::size_t same_bytes(const AnswerSample& sample, std::uint64_t offset,
                       std::string_view bytes) noexcept {
  const std::uint64_t begin = std::max(sample.offset, offset);
  const std::uint64_t end = std::min(sample.end(), offset + bytes.size());
  if (begin >= end) return sample.size;
  const char* const mine = sample.bytes.data() + (begin - sample.offset);
  const char* const others = bytes.data() + (begin - offset);
  if (std::memcmp(mine, others, end - begin) == 0) return sample.size;
  const auto parting = std::mismatch(mine, mine + (end - begin), others).first;
  return static_cast<std::size_t>(parting - sample.bytes.data());
}

// Whether the equal part of the sample shows that both answers are most likely the object's.
bool is_telling(const AnswerSample& sample) noexcept {
  if (sample.same < kTellingBytes) return false;
  const auto* const end = sample.bytes.begin() + sample.same;
  return std::any_of(sample.bytes.begin() + 1, end,
                     [&](char byte) { return byte != sample.bytes[0]; });
}

void append(AnswerSample& sample, std::string_view bytes) noexcept {
  const std::size_t taken = std::min(bytes.size(), AnswerSample::kMostBytes - sample.size);
  std::memcpy(sample.bytes.data() + sample.size, bytes.data(), taken);
  sample.size += taken;
}

}  // namespace

bool AnswerSamples::note(std::uint64_t offset, std::string_view bytes) {
  const bool begins = samples_.empty() || offset - samples_.back().offset >= kSamplesApart;
  if (begins) {
    take(offset, bytes);
  } else if (samples_.back().end() == offset) {
    append(samples_.back(), bytes);
  }
  const std::string_view last =
      bytes.substr(bytes.size() - std::min(bytes.size(), AnswerSample::kMostBytes));
  const std::size_t kept = std::min(tail_.size, AnswerSample::kMostBytes - last.size());
  std::memmove(tail_.bytes.data(), tail_.bytes.data() + (tail_.size - kept), kept);
  tail_.size = kept;
  append(tail_, last);
  tail_.offset = offset + bytes.size() - tail_.size;
  return begins;
}

void AnswerSamples::take(std::uint64_t offset, std::string_view bytes) {
  if (!samples_.empty() && samples_.back().offset == offset) return;
  AnswerSample& sample = samples_.emplace_back();
  sample.offset = offset;
  append(sample, bytes);
}

void AnswerSamples::forget_before(std::uint64_t offset) {
  while (samples_.size() > 1 && samples_[1].offset <= offset)
    samples_.pop_front();
}

std::uint64_t AnswerSamples::at_or_before(std::uint64_t offset) const noexcept {
  const auto found = std::find_if(samples_.rbegin(), samples_.rend(),
                                  [&](const AnswerSample& one) { return one.offset <= offset; });
  return found == samples_.rend() ? offset : found->offset;
}

std::optional<std::uint64_t> AnswerSamples::last_difference(std::uint64_t offset,
                                                            std::string_view bytes) const noexcept {
  if (same_bytes(tail_, offset, bytes) != tail_.size) return tail_.offset;
  const auto found = std::find_if(samples_.rbegin(), samples_.rend(), [&](const AnswerSample& one) {
    return same_bytes(one, offset, bytes) != one.size;
  });
  if (found == samples_.rend()) return std::nullopt;
  return found->offset;
}

std::vector<AnswerSample> AnswerSamples::from(std::uint64_t offset) const {
  std::vector<AnswerSample> found;
  std::copy_if(samples_.begin(), samples_.end(), std::back_inserter(found),
               [&](const AnswerSample& one) { return one.offset >= offset; });
  if (tail_.size != 0 && tail_.offset >= offset) found.push_back(tail_);
  for (AnswerSample& sample : found)
    sample.same = sample.size;
  return found;
}

void BrokenAnswer::compare(std::uint64_t offset, std::string_view bytes) noexcept {
  for (std::size_t i = judged_; i < samples_.size(); ++i)
    samples_[i].same = std::min(samples_[i].same, same_bytes(samples_[i], offset, bytes));
}

void BrokenAnswer::forget_comparison() noexcept {
  for (std::size_t i = judged_; i < samples_.size(); ++i)
    samples_[i].same = samples_[i].size;
}

BrokenAnswer::Finding BrokenAnswer::judge(std::uint64_t confirmed) noexcept {
  for (; judged_ < samples_.size() && samples_[judged_].end() <= confirmed; ++judged_) {
    const AnswerSample& sample = samples_[judged_];
    is_vouched_for_ = is_vouched_for_ || is_telling(sample);
    if (sample.same == sample.size) continue;
    // What follows the first difference was the proxy's: no later sample needs to be judged.
    difference_ = sample.offset + sample.same;
    judged_ = samples_.size();
    return is_vouched_for_ || begin_ >= again_from_ ? Finding::right : Finding::reaches_back;
  }
  return is_judged() || is_vouched_for_ || begin_ >= again_from_ ? Finding::right : Finding::open;
}

BrokenAnswers::Finding BrokenAnswers::judge(std::uint64_t confirmed, bool is_all) {
  Finding finding;
  for (BrokenAnswer& one : broken_) {
    const BrokenAnswer::Finding found = one.judge(confirmed);
    if (const auto at = one.take_difference()) finding.difference = at;
    if (found == BrokenAnswer::Finding::reaches_back)
      finding.wrong_perhaps_since =
          std::min(finding.wrong_perhaps_since.value_or(UINT64_MAX), one.begin());
    finding.is_open = finding.is_open || (found == BrokenAnswer::Finding::open && !is_all);
  }
  std::erase_if(broken_, [&](const BrokenAnswer& one) { return is_all || one.is_judged(); });
  return finding;
}

std::string describe_difference(std::uint64_t at) {
  return fmt::format(
      "an answer that broke off had brought bytes other than the object's, seen at byte {}, as "
      "from a proxy that writes a page of its own into the body; they were dropped and read again",
      at);
}

}  // namespace streamer::core::inline http
