// SPDX-License-Identifier: Apache-2.0
// Answers that something else was written into before they broke off, as a proxy does that loses
// its store and then sends a page of its own.
#include <mutex>
#include <random>
#include <set>

#include "http/broken_answer.hpp"
#include "support/network_faults.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

constexpr std::uint32_t kTensors = 12;
constexpr std::uint64_t kTensorBytes = 700'003;

// A fault that hits the first `hits` requests that are large enough.
StoreWorld::Fault junk_fault(StoreLab& lab, std::uint32_t hits, Framing framing, Junk kind,
                             std::size_t junk_bytes) {
  auto left = std::make_shared<std::atomic<std::int32_t>>(static_cast<std::int32_t>(hits));
  return [&lab, left, framing, kind, junk_bytes](const WireRequest& request, Wire& wire,
                                                 std::uint32_t turn) {
    const std::size_t size = lab.world.range_of(request).bytes.size();
    if (size < 10'000 || left->fetch_sub(1) <= 0) return false;
    answer_with_junk(lab, request, wire, framing, size / 2, make_junk(kind, junk_bytes, turn));
    return true;
  };
}

std::string name(Framing framing, Junk junk, std::size_t size, const std::string& chunk) {
  return fmt::format("framing {}, junk {} of {} bytes, chunks {}", static_cast<int>(framing),
                     static_cast<int>(junk), size, chunk);
}

}  // namespace

TEST_CASE("W1 what is written into an answer before it breaks off is in no tensor", "[network]") {
  for (const Framing framing : kFramings) {
    for (const Junk junk : kJunks) {
      for (const std::size_t size : {std::size_t{300}, std::size_t{60'000}}) {
        const std::string chunk = junk == Junk::noise ? "100KiB" : "auto";
        INFO(name(framing, junk, size, chunk));
        StoreLab lab("127.0.0.1", kTensors, kTensorBytes);
        lab.world.set_fault(junk_fault(lab, 3, framing, junk, size));
        Settings settings = lab.settings("4");
        REQUIRE(settings.set(setting::kChunkBytes, chunk));
        REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
        const NetworkOutcome outcome = lab.load(settings);
        if (outcome.error) FAIL(outcome.error->line());
        CHECK(outcome.stats.retries >= 1);
        CHECK(outcome.stats.bytes_network - outcome.stats.bytes_discarded == lab.data.size());
        CHECK(lab.world.bad_signatures() == 0);
      }
    }
  }
}

TEST_CASE("W1 junk that is longer than what is held back is in no tensor, or an error says so",
          "[network]") {
  std::uint32_t errors = 0;
  std::uint32_t loads = 0;
  for (const Framing framing : kFramings) {
    for (const Junk junk : kJunks) {
      for (const std::size_t size : {std::size_t{150'000}, std::size_t{3'000'000}}) {
        INFO(name(framing, junk, size, "auto"));
        StoreLab lab("127.0.0.1", kTensors, kTensorBytes);
        lab.may_be_wrong_and_fail = true;
        lab.world.set_fault(junk_fault(lab, 2, framing, junk, size));
        Settings settings = lab.settings("2");
        REQUIRE(settings.set(setting::kChunkBytes, "auto"));
        REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
        const NetworkOutcome outcome = lab.load(settings);
        ++loads;
        if (!outcome.error) continue;
        ++errors;
        CHECK(outcome.error->kind() == ErrorKind::corrupt);
        CHECK_THAT(outcome.error->line(), Catch::Contains("broke off"));
      }
    }
  }
  // With chunks for a device, which are small here, hardly any can be read again from its begin.
  if (std::getenv("STREAMER_TEST_DEVICE") == nullptr) CHECK(loads > errors);
}

TEST_CASE("W1 a broken answer's end is read again, and a warning says what it was", "[network]") {
  for (const bool has_junk : {true, false}) {
    StoreLab lab("127.0.0.1", kTensors, kTensorBytes);
    std::mutex mutex;
    std::uint64_t broke_at = 0;
    std::set<std::uint64_t> asked_from;
    lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t) {
      const std::lock_guard lock(mutex);
      const Range range = lab.world.range_of(request);
      asked_from.insert(range.first);
      if (broke_at != 0 || range.bytes.size() < 400'000) return false;
      broke_at = range.first + 300'000;
      answer_with_junk(lab, request, wire, Framing::length_reset, 300'000,
                       has_junk ? make_junk(Junk::page, 2'000, 0) : "");
      return true;
    });
    Settings settings = lab.settings("1");
    REQUIRE(settings.set(setting::kChunkBytes, "auto"));
    Warnings warnings;
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(warnings.count("bytes other than the object's") == (has_junk ? 1 : 0));
    // No less than 64 KiB before, and not much more.
    const auto again = asked_from.upper_bound(broke_at - 300'000);
    REQUIRE(again != asked_from.end());
    CHECK(*again <= broke_at - 64 * kKiB + 2'000);
    CHECK(*again >= broke_at - 128 * kKiB);
    CHECK(outcome.stats.bytes_discarded < 256 * kKiB);
  }
}

TEST_CASE("W1 every answer may break off, if each brings more than is held back", "[network]") {
  StoreLab lab("127.0.0.1", kTensors, kTensorBytes);
  lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t turn) {
    if (lab.world.range_of(request).bytes.size() < 200'000) return false;
    answer_with_junk(lab, request, wire, Framing::length_close, 190'000,
                     make_junk(Junk::page, turn % 3 * 1'000, turn));
    return true;
  });
  Settings settings = lab.settings("2");
  REQUIRE(settings.set(setting::kChunkBytes, "auto"));
  const NetworkOutcome outcome = lab.load(settings);
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.retries >= kTensors * kTensorBytes / 200'000);
}

TEST_CASE("W1 a store that never ends its answers as announced is an error", "[network]") {
  StoreLab lab;
  lab.world.set_fault(always([&](const WireRequest& request, Wire& wire) {
    answer_with_junk(lab, request, wire, Framing::chunked_ended, 1'000, "page");
  }));
  const NetworkOutcome outcome = lab.load(lab.settings("1"));
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::io);
  // Two ranges take turns.
  CHECK(lab.world.ranges() <= 10);
}

TEST_CASE("W1 bytes that are read while the caller waits are the object's too", "[network]") {
  for (const Framing framing : kFramings) {
    for (const Junk junk : kJunks) {
      for (const std::size_t size : {std::size_t{300}, std::size_t{250'000}}) {
        INFO(name(framing, junk, size, "-"));
        StoreLab lab("127.0.0.1", 2, kTensorBytes);
        Settings settings = lab.settings("1");
        REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
        const auto checkpoint = lab.open(settings);
        REQUIRE(checkpoint);
        const CheckpointObject& entry = (*checkpoint)->objects[0];
        lab.world.set_fault(junk_fault(lab, 2, framing, junk, size));
        Store* const store = *(*checkpoint)->stores->of(entry.object.uri);
        std::vector<std::byte> bytes(2 * kTensorBytes);
        const std::uint64_t begin = entry.object.size - bytes.size();
        const auto outcome = store->read(entry.object, {begin, bytes.size()}, bytes);
        if (!outcome) FAIL(outcome.error().line());
        CHECK(std::memcmp(bytes.data(), lab.data.data(), bytes.size()) == 0);
      }
    }
  }
}

TEST_CASE("W1 a hedge vouches for what a slow answer brought, or both are dropped", "[network]") {
  for (const bool is_wrong : {false, true}) {
    StoreLab lab("127.0.0.1", 24, kTensorBytes);
    auto hit = std::make_shared<std::atomic<bool>>(false);
    lab.world.set_fault([&, hit](const WireRequest& request, Wire& wire, std::uint32_t turn) {
      Range range = lab.world.range_of(request);
      if (turn < 40 || range.bytes.size() < 10'000 || hit->exchange(true)) return false;
      // Half, then junk or what is right, and then hardly anything.
      const std::size_t half = range.bytes.size() / 2;
      if (is_wrong) range.bytes.replace(half, 3'000, make_junk(Junk::page, 3'000, 0));
      wire.send(lab.world.head_206(range) + range.bytes.substr(0, half + 3'000));
      for (std::size_t at = half + 3'000; at < range.bytes.size() && wire.is_open(); ++at) {
        wire.send(std::string_view(range.bytes).substr(at, 1));
        wire.pause(std::chrono::milliseconds(100));
      }
      return true;
    });
    Settings settings = lab.settings("8");
    REQUIRE(settings.set(setting::kHedging, "auto"));
    REQUIRE(settings.set(setting::kChunkBytes, "100KiB"));
    REQUIRE(settings.set(setting::kStallTimeoutMs, "60000"));
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.hedges >= 1);
    CHECK(outcome.stats.bytes_network - outcome.stats.bytes_discarded == lab.data.size());
  }
}

// ---- What is compared ----

namespace {

constexpr std::uint64_t kStep = 16 * kKiB;

// The samples of an answer that brought `bytes` from `begin` on.
AnswerSamples samples_of(std::string_view bytes, std::uint64_t begin) {
  AnswerSamples samples;
  for (std::uint64_t at = begin; at < bytes.size(); at += kStep)
    samples.note(at, bytes.substr(at, kStep));
  return samples;
}

}  // namespace

TEST_CASE("where junk begins in a broken answer decides whether its beginning may be believed") {
  const std::string right = make_junk(Junk::noise, 512 * kKiB, 1);
  const std::uint64_t again = 256 * kKiB;
  struct Row {
    std::uint64_t junk_from;
    bool reaches_back;
  };
  for (const Row row :
       {Row{100 * kKiB, true}, Row{again - 1, true}, Row{again, true}, Row{again + 40, false},
        Row{300 * kKiB, false}, Row{512 * kKiB - 3, false}, Row{512 * kKiB, false}}) {
    for (const Junk kind : kJunks) {
      INFO(row.junk_from << " " << static_cast<int>(kind));
      std::string broken = right;
      broken.replace(row.junk_from, std::string::npos,
                     make_junk(kind, broken.size() - row.junk_from, 2));
      BrokenAnswers answers;
      answers.add({0, again, samples_of(broken, 0).from(again)});
      answers.compare(again, std::string_view(right).substr(again));
      // Nothing of the other answer is confirmed yet.
      CHECK(answers.judge(again, false).is_open);
      const auto finding = answers.judge(right.size(), true);
      CHECK(finding.wrong_perhaps_since.has_value() == row.reaches_back);
      CHECK(finding.difference.has_value() == (row.junk_from < right.size()));
      CHECK(answers.empty());
    }
  }
}

TEST_CASE("zeros that agree with zeros say nothing of what came before") {
  const std::uint64_t again = 100 * kKiB;
  for (const bool has_weights : {true, false}) {
    // Zeros from 64 KiB on, but for what stands where the last sample is taken.
    std::string right(256 * kKiB, '\0');
    right.replace(0, 64 * kKiB, make_junk(Junk::noise, 64 * kKiB, 1));
    if (has_weights) right.replace(240 * kKiB, 1000, make_junk(Junk::noise, 1000, 2));
    BrokenAnswers answers;
    answers.add({0, again, samples_of(std::string(right.size(), '\0'), 0).from(again)});
    answers.compare(again, std::string_view(right).substr(again));
    CHECK(answers.judge(200 * kKiB, false).is_open);
    CHECK(answers.judge(right.size(), true).wrong_perhaps_since.has_value() == has_weights);
  }
}
