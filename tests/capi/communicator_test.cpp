// SPDX-License-Identifier: Apache-2.0
// Loads that ranks share, through the public headers alone: ranks are threads here, and a
// communicator is two functions of this file.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "streamer/streamer.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

using namespace streamer;

namespace {

constexpr std::uint32_t kRanks = 3;

// Where ranks meet: each leaves what it has, and takes what is for it.
class Meeting {
 public:
  struct Left {
    const void* mine = nullptr;
    std::uint64_t bytes = 0;
    const streamer_outgoing* send = nullptr;
    std::size_t send_count = 0;
  };

  template <typename Take>
  void meet(std::uint32_t rank, Left left, Take&& take) {
    std::unique_lock lock(mutex_);
    left_[rank] = left;
    wait_for_all(lock);
    take(left_);
    wait_for_all(lock);
  }

 private:
  void wait_for_all(std::unique_lock<std::mutex>& lock) {
    const int round = round_;
    if (++here_ == kRanks) {
      here_ = 0;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Left left_[kRanks];
  std::uint32_t here_ = 0;
  int round_ = 0;
};

struct Member {
  Meeting* meeting;
  std::uint32_t rank;
  int* closed;
};

streamer_status all_gather(void* context, const void* mine, void* all, std::uint64_t bytes,
                           std::uint64_t, char*, std::size_t) {
  const auto* const member = static_cast<Member*>(context);
  member->meeting->meet(member->rank, {mine, bytes, nullptr, 0}, [&](const Meeting::Left* left) {
    for (std::uint32_t rank = 0; rank < kRanks; ++rank)
      std::memcpy(static_cast<char*>(all) + rank * bytes, left[rank].mine, bytes);
  });
  return STREAMER_OK;
}

streamer_status all_to_all(void* context, const streamer_outgoing* send, std::size_t send_count,
                           const streamer_incoming* receive, std::size_t receive_count,
                           std::uint64_t, char*, std::size_t) {
  const auto* const member = static_cast<Member*>(context);
  member->meeting->meet(member->rank, {nullptr, 0, send, send_count},
                        [&](const Meeting::Left* left) {
                          std::size_t next[kRanks] = {};
                          for (std::size_t i = 0; i < receive_count; ++i) {
                            const Meeting::Left& from = left[receive[i].rank];
                            std::size_t& at = next[receive[i].rank];
                            while (at < from.send_count && from.send[at].rank != member->rank)
                              ++at;
                            if (at < from.send_count && from.send[at].bytes == receive[i].bytes)
                              std::memcpy(receive[i].data, from.send[at++].data, receive[i].bytes);
                          }
                        });
  return STREAMER_OK;
}

streamer_status refuse(void*, const void*, void*, std::uint64_t, std::uint64_t, char* why,
                       std::size_t why_size) {
  // As long as there is room, and no NUL.
  std::memset(why, 'x', why_size);
  return STREAMER_ERROR_TIMED_OUT;
}

std::unique_ptr<streamer_communicator> table_of(Member& member) {
  auto table =
      std::make_unique<streamer_communicator>(streamer_communicator STREAMER_COMMUNICATOR_INIT);
  table->rank = member.rank;
  table->size = kRanks;
  table->context = &member;
  table->all_gather = all_gather;
  table->all_to_all = all_to_all;
  table->close = [](void* context) { ++*static_cast<Member*>(context)->closed; };
  return table;
}

// A checkpoint of 20 tensors of 100,000 bytes, in which tensor t is of bytes t.
std::string write_checkpoint(const std::filesystem::path& folder) {
  std::string header = "{";
  std::string data;
  for (int t = 0; t < 20; ++t) {
    header += std::string(t == 0 ? "" : ",") + "\"t" + std::to_string(t) +
              R"(":{"dtype":"U8","shape":[100000],"data_offsets":[)" + std::to_string(t * 100000) +
              "," + std::to_string((t + 1) * 100000) + "]}";
    data += std::string(100000, static_cast<char>(t));
  }
  header += "}";
  std::string length(8, '\0');
  for (unsigned i = 0; i < 8; ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  const std::string path = (folder / "m.safetensors").string();
  std::ofstream(path, std::ios::binary) << length << header << data;
  return path;
}

struct Outcome {
  std::string error;
  int right = 0;
  LoadStats stats = STREAMER_LOAD_STATS_INIT;
  std::uint64_t bytes_received = 0;
};

Outcome load(const std::string& path, const Communicator& ranks, LoadOptions options = {}) {
  Outcome outcome;
  options.communicator = &ranks;
  options.settings.emplace_back("debug.distributed_buffer_bytes", "1MiB");
  auto checkpoint = Checkpoint::open({path});
  auto load = Load::start(*checkpoint, everything(), options);
  if (!load) {
    outcome.error = load.error().line();
    return outcome;
  }
  for (;;) {
    auto next = load->next();
    if (!next) {
      outcome.error = next.error().line();
      return outcome;
    }
    if (!*next) break;
    const auto bytes = (*next)->bytes();
    const auto value = static_cast<std::byte>(std::stoi(std::string((*next)->name().substr(1))));
    const bool is_right =
        std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == value; });
    outcome.right += is_right ? 1 : 0;
  }
  outcome.stats = load->stats();
  outcome.bytes_received = load->stat("bytes_received").value();
  outcome.stats.notes = "";
  return outcome;
}

}  // namespace

TEST_CASE("ranks share a load over functions of the program", "[communicator]") {
  const test::TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path());
  for (const std::string wrong : {"", "memory_limit is 99999", "a stream is set"}) {
    const bool one_is_wrong = !wrong.empty();
    Meeting meeting;
    int closed = 0;
    std::vector<Member> members;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank)
      members.push_back({&meeting, rank, &closed});
    std::vector<Outcome> outcomes(kRanks);
    std::vector<std::string> agreed(kRanks);
    {
      std::vector<Communicator> communicators;
      for (Member& member : members)
        communicators.push_back(Communicator::of(table_of(member)));
      std::vector<std::thread> threads;
      for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
        threads.emplace_back([&, rank] {
          LoadOptions options;
          if (rank == 1 && wrong.starts_with("memory"))
            options.settings.emplace_back("memory_limit", "99999");
          if (rank == 1 && wrong.starts_with("a stream")) options.stream = &options;
          outcomes[rank] = load(path, communicators[rank], options);
          const Error mine(streamer_error_new(STREAMER_ERROR_IO, "the disk is on fire"));
          auto outcome = communicators[rank].agree(rank == 2 ? &mine : nullptr);
          if (!outcome) agreed[rank] = outcome.error().line();
        });
      }
      for (std::thread& thread : threads)
        thread.join();
      CHECK(communicators[2].rank() == 2);
      CHECK(communicators[2].size() == kRanks);
    }
    CHECK(closed == kRanks);
    CHECK(agreed[0] == "rank 2: the disk is on fire");
    CHECK(agreed[2] == "the disk is on fire");
    std::uint64_t read = 0;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      const Outcome& outcome = outcomes[rank];
      if (one_is_wrong) {
        CHECK_THAT(outcome.error, Catch::Contains(wrong));
        CHECK(outcome.error.starts_with("rank 1: ") == (rank != 1));
        continue;
      }
      CHECK(outcome.error.empty());
      CHECK(outcome.right == 20);
      CHECK(outcome.stats.ranks == kRanks);
      CHECK(outcome.stats.rank == rank);
      CHECK(outcome.bytes_received > 1'000'000);
      read += outcome.stats.bytes_read;
    }
    if (!one_is_wrong) CHECK(read >= 2'000'000);
  }
}

TEST_CASE("a communicator that cannot be one is refused, and one that fails is told",
          "[communicator]") {
  const test::TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path());
  Meeting meeting;
  int closed = 0;
  Member member{&meeting, 0, &closed};
  const auto error_of = [&](const std::function<void(streamer_communicator&)>& change) {
    auto table = table_of(member);
    change(*table);
    return load(path, Communicator::of(std::move(table))).error;
  };
  CHECK_THAT(error_of([](auto& t) { t.struct_size = 0; }), Catch::Contains("struct_size"));
  CHECK_THAT(error_of([](auto& t) { t.rank = 3; }), Catch::Contains("rank is 3"));
  CHECK_THAT(error_of([](auto& t) { t.all_gather = nullptr; }), Catch::Contains("all_gather"));
  CHECK_THAT(error_of([](auto& t) { t.all_to_all = nullptr; }), Catch::Contains("all_to_all"));
  CHECK_THAT(error_of([](auto& t) { t.device.kind = 9; }), Catch::Contains("device"));
  CHECK_THAT(error_of([](auto& t) { t.all_gather = refuse; }), Catch::StartsWith("xxxxxxxx"));
  // Alone, a rank asks nobody.
  const auto alone = [](auto& t) {
    t.size = 1;
    t.all_gather = refuse;
  };
  CHECK(error_of(alone).empty());

  streamer_error* error = nullptr;
  CHECK(streamer_communicator_agree(nullptr, nullptr, nullptr, &error) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  streamer_error_free(error);
  CHECK(streamer_communicator_open_mpi(nullptr, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_communicator_open_nccl(nullptr, {}, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  streamer_communicator_close(nullptr);
  streamer_error* const odd = streamer_error_new(7, nullptr);
  REQUIRE(odd != nullptr);
  CHECK(std::string(streamer_error_line(odd)).empty());
  streamer_error_free(odd);
}
