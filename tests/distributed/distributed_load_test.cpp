// SPDX-License-Identifier: Apache-2.0
#include "distributed/distributed_load.hpp"

#include <deque>
#include <optional>
#include <random>

#include "checkpoint/checkpoint_digest.hpp"
#include "distributed/agreement.hpp"
#include "gpu/kept_segments.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/lab.hpp"
#include "support/ranks.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

// What one rank does and what came of it. Filled on the rank's thread, looked at after it ended.
struct Rank {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<PlanRequest> requests;
  LoadOptions options;
  LoadSettings settings;
  std::deque<std::vector<std::byte>> callers;
  std::size_t stop_after = SIZE_MAX;  // items

  std::vector<std::string> order;                          // names
  std::vector<std::pair<std::uint32_t, std::string>> got;  // item, its bytes
  std::optional<Error> error;
  LoadStats stats;
};

void run(Rank& rank, Communicator& communicator, const DistributedSettings& distributed) {
  auto started = start_distributed(communicator, rank.checkpoint, rank.requests, rank.options,
                                   rank.settings, distributed);
  if (!started) {
    rank.error = std::move(started).error();
    return;
  }
  Load& load = **started;
  while (rank.got.size() < rank.stop_after) {
    auto next = load.next(in(60s));
    if (!next) {
      rank.error = std::move(next).error();
      break;
    }
    if (next->outcome != Load::Outcome::tensor) break;
    TensorLease& lease = *next->lease;
    rank.order.emplace_back(lease.tensor().name);
    // Memory of the stand-in is the host's.
    const auto* const data = reinterpret_cast<const char*>(lease.data());
    rank.got.emplace_back(lease.item(),
                          lease.bytes() == 0 ? std::string() : std::string(data, lease.bytes()));
    lease.release();
  }
  rank.stats = load.stats();
}

void run_all(RankWorld& world, std::vector<Rank>& ranks, const DistributedSettings& distributed) {
  on_ranks(world.size(),
           [&](std::uint32_t rank) { run(ranks[rank], world.of(rank), distributed); });
}

void check_all(const Lab& lab, const Rank& rank) {
  if (rank.error) FAIL(rank.error->line());
  REQUIRE(rank.got.size() == rank.requests.size());
  std::vector<bool> seen(rank.requests.size());
  for (const auto& [item, bytes] : rank.got) {
    REQUIRE_FALSE(seen[item]);
    seen[item] = true;
    const TensorView tensor = rank.checkpoint->tensors[rank.requests[item].tensor];
    const RawFile& file = lab.files[tensor.object];
    const std::string_view name = tensor.name;
    const auto expected =
        expected_bytes(file, file.tensors[std::stoul(std::string(name.substr(name.find('.') + 1)))],
                       rank.requests[item]);
    REQUIRE(bytes ==
            std::string_view(reinterpret_cast<const char*>(expected.data()), expected.size()));
  }
}

// Some tensors, whole or in part, some of them twice.
std::vector<PlanRequest> random_requests(const Checkpoint& checkpoint, std::mt19937_64& random) {
  std::vector<PlanRequest> requests;
  for (std::uint32_t t = 0; t < checkpoint.tensors.size(); ++t) {
    const TensorView tensor = checkpoint.tensors[t];
    for (std::uint64_t times = random() % 8 == 0 ? 2 : random() % 8 != 1; times > 0; --times) {
      PlanRequest request{.tensor = t};
      const std::uint64_t extent = tensor.shape[random() % 2 == 0 ? 0 : 1];
      switch (random() % 4) {
        case 0:
          request.part = Part::bytes;
          request.start = random() % (tensor.bytes.size + 1);
          request.stop = request.start + random() % (tensor.bytes.size - request.start + 1);
          break;
        case 1:
          request.part = Part::slice;
          request.dimension = extent == tensor.shape[0] ? 0 : 1;
          request.start = random() % (extent + 1);
          request.stop = request.start + random() % (extent - request.start + 1);
          break;
        default:
          break;
      }
      requests.push_back(request);
    }
  }
  return requests;
}

// Rank r of n: every matrix cut along a dimension, as tensor parallelism does.
std::vector<PlanRequest> parallel_requests(const Checkpoint& checkpoint, std::uint32_t rank,
                                           std::uint32_t ranks) {
  std::vector<PlanRequest> requests;
  for (std::uint32_t t = 0; t < checkpoint.tensors.size(); ++t) {
    const TensorView tensor = checkpoint.tensors[t];
    const std::uint32_t dimension = t % 2;
    const std::uint64_t extent = tensor.shape[dimension];
    requests.push_back({.tensor = t,
                        .part = Part::slice,
                        .dimension = dimension,
                        .start = extent * rank / ranks,
                        .stop = extent * (rank + 1) / ranks});
  }
  return requests;
}

DistributedSettings small_rounds() {
  return DistributedSettings()
      .put(setting::kDistributedBufferBytes, kMiB)
      .put(setting::kDistributedTimeoutS, 30s);
}

}  // namespace

TEST_CASE("every rank gets every byte of what it asked for, whatever each of them asks",
          "[distributed]") {
  for (std::uint64_t seed = 1; seed <= (kIsSanitized ? 8 : 60); ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Lab lab(random_files(seed, 1 + static_cast<std::uint32_t>(random() % 4), 30, 600'000));
    RankWorld world(2 + static_cast<std::uint32_t>(random() % 5));
    DistributedSettings distributed = small_rounds();
    const bool by_file = random() % 2 == 0;
    if (by_file) distributed.put(setting::kDistributedPartition, PartitionPolicy::files);
    std::vector<Rank> ranks(world.size());
    const bool all_alike = random() % 3 == 0;
    for (Rank& rank : ranks) {
      rank.checkpoint = lab.checkpoint;
      rank.requests =
          all_alike ? everything(*lab.checkpoint) : random_requests(*lab.checkpoint, random);
      if (!by_file && random() % 2 == 0)
        rank.settings.put(setting::kMemoryLimit,
                          {MemoryLimit::Mode::bytes, 3'000'000 + random() % 2'000'000});
      for (PlanRequest& request : rank.requests) {
        if (random() % 5 != 0) continue;
        auto wanted = requested_bytes(lab.checkpoint->tensors[request.tensor], request);
        rank.callers.emplace_back(wanted->total_bytes() + 1);
        request.destination = rank.callers.back().data();
      }
    }
    run_all(world, ranks, distributed);
    REQUIRE(world.violations().empty());
    for (const Rank& rank : ranks) {
      check_all(lab, rank);
      if (all_alike) REQUIRE(rank.order == ranks[0].order);
    }
  }
}

TEST_CASE("what is needed at all is read once, and no rank receives more than it needs",
          "[distributed]") {
  // Tensors without holes between them, read through the page cache: bytes are counted exactly.
  RawFile file;
  std::uint64_t offset = 0;
  for (std::uint64_t t = 0; t < 40; ++t) {
    file.tensors.push_back({Dtype::u8, {t % 7 * 64, t * 96}, offset});
    offset += t % 7 * 64 * t * 96;
  }
  file.bytes = random_bytes(offset, 5);
  const Lab lab({file});
  for (const std::uint32_t count : {2U, 3U, 4U, 8U}) {
    if (kIsSanitized && count > 3) continue;
    for (const bool in_slices : {false, true}) {
      CAPTURE(count, in_slices);
      RankWorld world(count);
      std::vector<Rank> ranks(count);
      for (std::uint32_t r = 0; r < count; ++r) {
        ranks[r].checkpoint = lab.checkpoint;
        ranks[r].requests =
            in_slices ? parallel_requests(*lab.checkpoint, r, count) : everything(*lab.checkpoint);
        ranks[r].settings.put(setting::kFileIo, FileIo::buffered);
      }
      run_all(world, ranks, small_rounds());
      REQUIRE(world.violations().empty());
      std::uint64_t read = 0;
      std::uint64_t sent = 0;
      std::uint64_t received = 0;
      for (const Rank& rank : ranks) {
        check_all(lab, rank);
        CHECK(rank.order == ranks[0].order);
        CHECK(rank.stats.ranks == count);
        CHECK(rank.stats.bytes_received <= rank.stats.bytes_total);
        // To within one unit.
        CHECK(rank.stats.bytes_read <= offset / count + 64 * kKiB);
        read += rank.stats.bytes_read;
        sent += rank.stats.bytes_sent;
        received += rank.stats.bytes_received;
      }
      CHECK(read == offset);
      CHECK(sent == received);
      if (!in_slices) CHECK(received == offset * (count - 1));
      if (in_slices) CHECK(received <= offset);
    }
  }
}

TEST_CASE("many small parts far from each other are passed on too", "[distributed]") {
  const Lab lab(equal_tensors(8000, 1000));
  for (const bool on_devices : {false, true}) {
    if (kIsSanitized && !on_devices) continue;
    CAPTURE(on_devices);
    RankWorld world(3, on_devices);
    CudaStandIn cuda({.devices = 3, .longest_delay_us = 0});
    std::vector<Rank> ranks(3);
    for (std::uint32_t r = 0; r < 3; ++r) {
      ranks[r].checkpoint = lab.checkpoint;
      for (std::uint32_t t = 0; t < 8000; ++t) {
        const std::uint64_t bytes = t % 7 == 0 ? 700 : 1;
        ranks[r].requests.push_back(
            {.tensor = t, .part = Part::bytes, .start = 5, .stop = 5 + bytes});
      }
      ranks[r].settings.put(setting::kCoalesceGapBytes, 0);
      if (!on_devices) continue;
      ranks[r].options.device = {kCudaKind, static_cast<std::int32_t>(r)};
      ranks[r].options.gpu = &cuda;
    }
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks)
      check_all(lab, rank);
    drop_kept_segments();
  }
}

TEST_CASE("slices that leave gaps are read without them", "[distributed]") {
  RawFile file;
  file.tensors.push_back({Dtype::u8, {64, 40'000}, 0});
  file.bytes = random_bytes(64 * 40'000, 5);
  const Lab lab({file});
  RankWorld world(2);
  std::vector<Rank> ranks(2);
  for (std::uint32_t r = 0; r < 2; ++r) {
    ranks[r].checkpoint = lab.checkpoint;
    ranks[r].requests = {{.tensor = 0,
                          .part = Part::slice,
                          .dimension = 1,
                          .start = r * 20'000,
                          .stop = r * 20'000 + 3'000}};
    ranks[r].settings.put(setting::kFileIo, FileIo::buffered);
    ranks[r].settings.put(setting::kCoalesceGapBytes, 0);
  }
  run_all(world, ranks, small_rounds());
  for (const Rank& rank : ranks)
    check_all(lab, rank);
  CHECK(ranks[0].stats.bytes_read + ranks[1].stats.bytes_read == 2 * 64 * 3'000);
}

TEST_CASE("an error of one rank is every rank's, with its number and cause", "[distributed]") {
  const Lab lab(equal_tensors(64, 100'000));
  // Rank 2 has a copy of its own, which is cut short once it was opened.
  const Lab cut(equal_tensors(64, 100'000));
  RankWorld world(4);
  std::vector<Rank> ranks(4);
  for (Rank& rank : ranks) {
    rank.checkpoint = lab.checkpoint;
    rank.requests = everything(*lab.checkpoint);
  }
  SECTION("a file that is cut short") {
    ranks[2].checkpoint = cut.checkpoint;
    std::filesystem::resize_file(cut.path(0), 3'000'000);
    run_all(world, ranks, small_rounds());
    for (std::uint32_t r = 0; r < 4; ++r) {
      REQUIRE(ranks[r].error);
      CHECK(ranks[r].error->kind() == ErrorKind::object_changed);
      if (r != 2) CHECK_THAT(ranks[r].error->message(), Catch::StartsWith("rank 2: "));
      CHECK_THAT(ranks[r].error->line(), Catch::Contains(cut.path(0).string()));
    }
  }
  SECTION("a rank that gives up") {
    ranks[1].stop_after = 3;
    ranks[1].settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 300'000});
    run_all(world, ranks, small_rounds());
    for (const std::uint32_t r : {0U, 2U, 3U}) {
      REQUIRE(ranks[r].error);
      CHECK(ranks[r].error->kind() == ErrorKind::cancelled);
      CHECK_THAT(ranks[r].error->message(), Catch::StartsWith("rank 1: "));
    }
  }
  SECTION("a limit that is too small on one of them") {
    ranks[3].settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 99'999});
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks) {
      REQUIRE(rank.error);
      CHECK(rank.error->kind() == ErrorKind::memory_limit);
      CHECK_THAT(rank.error->message(), Catch::Contains("99999"));
    }
    CHECK_THAT(ranks[0].error->message(), Catch::StartsWith("rank 3: "));
  }
  SECTION("verify") {
    ranks[0].settings.put(setting::kVerify, "store");
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks) {
      REQUIRE(rank.error);
      CHECK(rank.error->kind() == ErrorKind::unsupported);
    }
  }
  SECTION("a device, where bytes pass in host memory") {
    ranks[1].options.device = {kCudaKind, 0};
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks) {
      REQUIRE(rank.error);
      CHECK(rank.error->kind() == ErrorKind::unsupported);
      CHECK_THAT(rank.error->message(), Catch::Contains("cuda:0"));
    }
  }
  SECTION("another checkpoint, or another version of files that have no ETag") {
    const bool is_version = GENERATE(false, true);
    std::vector<RawFile> files = equal_tensors(64, is_version ? 100'000 : 100'001);
    if (is_version) files[0].bytes = random_bytes(files[0].bytes.size(), 7);
    const Lab other(std::move(files));
    ranks[3].checkpoint = other.checkpoint;
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks) {
      REQUIRE(rank.error);
      CHECK(rank.error->kind() == ErrorKind::object_changed);
      CHECK_THAT(rank.error->message(), Catch::Contains("rank 3: a different checkpoint"));
    }
  }
  SECTION("other settings") {
    on_ranks(4, [&](std::uint32_t r) {
      DistributedSettings distributed = small_rounds();
      if (r == 1) distributed.put(setting::kDistributedPartition, PartitionPolicy::files);
      run(ranks[r], world.of(r), distributed);
    });
    for (const Rank& rank : ranks) {
      REQUIRE(rank.error);
      CHECK(rank.error->kind() == ErrorKind::invalid_argument);
      CHECK_THAT(rank.error->message(), Catch::Contains("rank 1: debug.distributed_partition"));
    }
  }
  CHECK(world.violations().empty());
}

TEST_CASE("a rank that never comes, or goes, is an error on all others within the time",
          "[distributed]") {
  const Lab lab(equal_tensors(64, 100'000));
  const bool has_begun = GENERATE(false, true);
  RankWorld world(3);
  std::vector<Rank> ranks(3);
  for (Rank& rank : ranks) {
    rank.checkpoint = lab.checkpoint;
    rank.requests = everything(*lab.checkpoint);
  }
  DistributedSettings distributed = small_rounds();
  distributed.put(setting::kDistributedTimeoutS, 300ms);
  on_ranks(3, [&](std::uint32_t r) {
    if (r != 1) return run(ranks[r], world.of(r), distributed);
    if (!has_begun) return;
    // Comes to the agreements before the first round, then is gone.
    static_cast<void>(agree(world.of(1), nullptr, 10s));
    static_cast<void>(gather_needs(
        world.of(1), *lab.checkpoint, *digest_of(*lab.checkpoint),
        needs_of(make_reading_list(lab.checkpoint->tensors, ranks[1].requests, false)->wanted),
        {.ranks = 3, .buffer_bytes = kMiB, .gap_bytes = 16 * kKiB}, 10s));
    world.leave(1);
  });
  for (const std::uint32_t r : {0U, 2U}) {
    REQUIRE(ranks[r].error);
    if (has_begun)
      CHECK_THAT(ranks[r].error->message(), Catch::Contains("rank 1 is gone"));
    else
      CHECK(ranks[r].error->kind() == ErrorKind::timed_out);
  }
}

namespace {

// Its first transfers time out, and go on behind its back.
class Unstoppable final : public Communicator {
 public:
  explicit Unstoppable(Communicator& real) : real_(real) {}
  std::uint32_t rank() const noexcept override { return real_.rank(); }
  std::uint32_t size() const noexcept override { return real_.size(); }
  Device device() const noexcept override { return real_.device(); }
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                          std::chrono::milliseconds timeout) override {
    return real_.all_gather(mine, all, timeout);
  }
  Result<void> all_to_all(std::span<const Outgoing> send, std::span<const Incoming> receive,
                          std::chrono::milliseconds) override {
    send_.assign(send.begin(), send.end());
    receive_.assign(receive.begin(), receive.end());
    return Error(ErrorKind::timed_out, "a rank did not come");
  }
  // Returns how many bytes it moved.
  std::uint64_t go_on() {
    std::uint64_t bytes = 0;
    std::vector<std::byte> sent;
    for (const Outgoing& one : send_) {
      sent.assign(one.data, one.data + one.bytes);
      bytes += one.bytes;
    }
    for (const Incoming& one : receive_) {
      std::memset(one.data, 0xEE, one.bytes);
      bytes += one.bytes;
    }
    return bytes;
  }

 private:
  Communicator& real_;
  std::vector<Outgoing> send_;
  std::vector<Incoming> receive_;
};

}  // namespace

TEST_CASE("transfers that go on after a timeout find their memory", "[distributed]") {
  const Lab lab(equal_tensors(8, 4 * kMiB));  // sent from, and received in, their places
  RankWorld world(2);
  std::vector<Unstoppable> unstoppable;
  for (std::uint32_t r = 0; r < 2; ++r)
    unstoppable.emplace_back(world.of(r));
  std::vector<Rank> ranks(2);
  for (Rank& rank : ranks) {
    rank.checkpoint = lab.checkpoint;
    rank.requests = everything(*lab.checkpoint);
  }
  on_ranks(2, [&](std::uint32_t r) { run(ranks[r], unstoppable[r], DistributedSettings()); });
  for (std::uint32_t r = 0; r < 2; ++r) {
    REQUIRE(ranks[r].error);
    CHECK(ranks[r].error->kind() == ErrorKind::timed_out);
    CHECK(unstoppable[r].go_on() >= 2 * kMiB);
  }
}

TEST_CASE("alone, a rank makes no collective call", "[distributed]") {
  const Lab lab(equal_tensors(4, 100'000));
  RankWorld world(1);
  std::vector<Rank> ranks(1);
  ranks[0].checkpoint = lab.checkpoint;
  ranks[0].requests = everything(*lab.checkpoint);
  run_all(world, ranks, small_rounds());
  check_all(lab, ranks[0]);
  CHECK(world.collectives() == 0);
}

TEST_CASE("nothing to load is nothing on all ranks, and nothing on some of them", "[distributed]") {
  const Lab lab(equal_tensors(20, 100'000));
  for (const bool on_all : {true, false}) {
    RankWorld world(3);
    std::vector<Rank> ranks(3);
    for (std::uint32_t r = 0; r < 3; ++r) {
      ranks[r].checkpoint = lab.checkpoint;
      if (r == 1 && !on_all) ranks[r].requests = everything(*lab.checkpoint);
    }
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks)
      check_all(lab, rank);
    CHECK(ranks[1].stats.bytes_read + ranks[0].stats.bytes_read + ranks[2].stats.bytes_read >=
          (on_all ? 0 : 2'000'000U));
  }
}

TEST_CASE("whole files need room for the tensors of several at once, or say so", "[distributed]") {
  std::vector<RawFile> files;
  for (int f = 0; f < 3; ++f)
    files.push_back(equal_tensors(3, 2 * kMiB)[0]);
  const Lab lab(files);
  for (const std::uint64_t limit : {2 * kMiB, 30 * kMiB}) {
    RankWorld world(3);
    std::vector<Rank> ranks(3);
    for (Rank& rank : ranks) {
      rank.checkpoint = lab.checkpoint;
      rank.requests = everything(*lab.checkpoint);
      rank.settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, limit});
    }
    DistributedSettings distributed = small_rounds();
    distributed.put(setting::kDistributedPartition, PartitionPolicy::files);
    run_all(world, ranks, distributed);
    for (const Rank& rank : ranks) {
      if (limit == 30 * kMiB) {
        check_all(lab, rank);
        CHECK(rank.order == ranks[0].order);
      } else {
        REQUIRE(rank.error);
        CHECK(rank.error->kind() == ErrorKind::memory_limit);
        CHECK_THAT(rank.error->message(), Catch::Contains("debug.distributed_partition"));
      }
    }
  }
}

TEST_CASE("ranks with a device each exchange from device to device", "[distributed]") {
  for (std::uint64_t seed = 1; seed <= (kIsSanitized ? 6 : 30); ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Lab lab(random_files(seed, 2, 20, 300'000));
    RankWorld world(2 + static_cast<std::uint32_t>(random() % 3), true);
    CudaStandIn cuda({.devices = static_cast<int>(world.size()),
                      .seed = seed,
                      .longest_delay_us = static_cast<std::uint32_t>(random() % 50)});
    std::vector<Rank> ranks(world.size());
    for (std::uint32_t r = 0; r < world.size(); ++r) {
      ranks[r].checkpoint = lab.checkpoint;
      ranks[r].requests = random() % 2 == 0 ? everything(*lab.checkpoint)
                                            : random_requests(*lab.checkpoint, random);
      ranks[r].options.device = {kCudaKind, static_cast<std::int32_t>(r)};
      ranks[r].options.gpu = &cuda;
      ranks[r].settings.put(setting::kStagingSegmentBytes, 64 * kKiB);
      ranks[r].settings.put(setting::kStagingBytes, 256 * kKiB);
      if (random() % 2 == 0) ranks[r].settings.put(setting::kDeviceMemoryLimit, 1'500'000);
    }
    run_all(world, ranks, small_rounds());
    for (const Rank& rank : ranks)
      check_all(lab, rank);
    drop_kept_segments();
    CHECK(cuda.violations().empty());
    CHECK(cuda.things_alive() == 0);
  }
}
