// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks that are threads of one process, and what they reach each other by.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator.hpp"

namespace streamer::test {

class RankWorld {
 public:
  explicit RankWorld(std::uint32_t ranks, bool on_devices = false)
      : on_devices_(on_devices), posts_(ranks), gone_(ranks) {
    for (std::uint32_t rank = 0; rank < ranks; ++rank)
      members_.push_back(std::make_unique<Member>(*this, rank));
  }

  core::Communicator& of(std::uint32_t rank) { return *members_[rank]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(posts_.size()); }

  // As when a rank's process ends.
  void leave(std::uint32_t rank) {
    const std::lock_guard lock(mutex_);
    gone_[rank] = true;
    changed_.notify_all();
  }
  // What was wrong with the calls; empty: nothing.
  std::string violations() {
    const std::lock_guard lock(mutex_);
    return violations_;
  }
  std::uint64_t collectives() {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

 private:
  struct Post {
    std::span<const std::byte> mine;
    std::vector<core::Outgoing> outgoing;
    bool is_exchange = false;
    bool is_there = false;
  };

  class Member final : public core::Communicator {
   public:
    Member(RankWorld& world, std::uint32_t rank) : world_(world), rank_(rank) {}
    std::uint32_t rank() const noexcept override { return rank_; }
    std::uint32_t size() const noexcept override { return world_.size(); }
    core::Device device() const noexcept override {
      if (!world_.on_devices_) return core::kHost;
      return {core::kCudaKind, static_cast<std::int32_t>(rank_)};
    }
    core::Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                  std::chrono::milliseconds timeout) override {
      return world_.meet(rank_, {mine, {}, false, true}, timeout, [&] {
        for (std::uint32_t from = 0; from < size(); ++from) {
          const auto theirs = world_.posts_[from].mine;
          if (theirs.size() * size() != all.size() || world_.posts_[from].is_exchange)
            world_.violations_ += "ranks gather different things; ";
          else if (!theirs.empty())
            std::memcpy(all.data() + from * theirs.size(), theirs.data(), theirs.size());
        }
      });
    }
    core::Result<void> all_to_all(std::span<const core::Outgoing> send,
                                  std::span<const core::Incoming> receive,
                                  std::chrono::milliseconds timeout) override {
      return world_.meet(rank_, {{}, {send.begin(), send.end()}, true, true}, timeout, [&] {
        std::vector<std::size_t> next(size());  // by rank: which of its messages
        for (const core::Incoming& to : receive) {
          const auto& theirs = world_.posts_[to.rank].outgoing;
          std::size_t& at = next[to.rank];
          while (at < theirs.size() && theirs[at].rank != rank_)
            ++at;
          if (to.rank == rank_ || at == theirs.size() || theirs[at].bytes != to.bytes ||
              to.bytes == 0) {
            world_.violations_ += "ranks expect different bytes; ";
            return;
          }
          std::memcpy(to.data, theirs[at++].data, to.bytes);
        }
        for (std::uint32_t from = 0; from < size(); ++from) {
          const auto& theirs = world_.posts_[from].outgoing;
          if (!world_.posts_[from].is_exchange ||
              std::any_of(theirs.begin() + static_cast<std::ptrdiff_t>(next[from]), theirs.end(),
                          [&](const core::Outgoing& one) { return one.rank == rank_; })) {
            world_.violations_ += "a rank sends what nobody expects; ";
          }
        }
      });
    }

   private:
    RankWorld& world_;
    const std::uint32_t rank_;
  };

  bool all_are(bool there) const {
    return std::all_of(posts_.begin(), posts_.end(),
                       [&](const Post& post) { return post.is_there == there; });
  }

  // Waits for all, takes, and waits until all took.
  core::Result<void> meet(std::uint32_t rank, Post post, std::chrono::milliseconds timeout,
                          const std::function<void()>& take) {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + timeout;
    const std::uint64_t generation = generation_;
    posts_[rank] = std::move(post);
    changed_.notify_all();
    const auto failure = [&]() -> core::Result<void> {
      for (std::uint32_t other = 0; other < size(); ++other) {
        if (gone_[other])
          return core::Error(core::ErrorKind::io, "rank " + std::to_string(other) + " is gone");
      }
      return core::Error(core::ErrorKind::timed_out, "a rank did not come");
    };
    const auto someone_is_gone = [&] {
      return std::find(gone_.begin(), gone_.end(), true) != gone_.end();
    };
    const bool came = changed_.wait_until(lock, until, [&] {
      return generation_ != generation || all_are(true) || someone_is_gone();
    });
    if (!came || (generation_ == generation && !all_are(true))) return failure();
    take();
    if (++taken_ == size()) {
      taken_ = 0;
      ++generation_;
      for (Post& done : posts_)
        done.is_there = false;
      changed_.notify_all();
      return {};
    }
    changed_.wait(lock, [&] { return generation_ != generation; });
    return {};
  }

  const bool on_devices_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Post> posts_;
  std::vector<bool> gone_;
  std::uint32_t taken_ = 0;
  std::uint64_t generation_ = 0;
  std::string violations_;
  std::vector<std::unique_ptr<Member>> members_;
};

// Calls body(rank) on a thread for each rank, and waits for all.
inline void on_ranks(std::uint32_t ranks, const std::function<void(std::uint32_t)>& body) {
  std::vector<std::thread> threads;
  for (std::uint32_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back(body, rank);
  for (std::thread& thread : threads)
    thread.join();
}

}  // namespace streamer::test
