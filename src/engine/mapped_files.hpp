// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cached files of a load whose tensors are views of mappings: see mapped_file.hpp. One thread
// maps pages ahead of the consumer and moves views aside when somebody wants to change a file.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fork.hpp"
#include "base/futex.hpp"
#include "base/result.hpp"
#include "base/thread.hpp"
#include "base/unique_fd.hpp"
#include "base/wake_fd.hpp"
#include "engine/mapped_file.hpp"
#include "engine/plan.hpp"
#include "engine/source_object.hpp"

namespace streamer::core::inline engine {

class MappedFiles {
 public:
  // Maps each file of the list whose wanted bytes are all cached, and of which there are enough
  // that it pays. nullptr: none. said: how many, or why not.
  static std::unique_ptr<MappedFiles> map(std::span<const SourceObject> objects,
                                          const ReadingList& list,
                                          std::span<const PlanRequest> requests, std::string& said);
  ~MappedFiles();

  // By object: the address that its byte 0 would have; 0: it is not mapped.
  [[nodiscard]] std::vector<std::uint64_t> origins() const;

  // Before the consumer has the load: the plan's views are of these files.
  void begin(const Plan& plan);
  // The bytes of all views, and how many of them were not in the page cache.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t uncached_bytes() const noexcept;

  // The consumer, once per item of the plan, before it is handed out. Items that are no views are
  // ignored. Fails with object_changed if the file changed before its turn came.
  Result<void> hold(std::uint32_t item);
  // Any thread, once per item that was handed out.
  void release(std::uint32_t item) noexcept;

 private:
  enum class State : std::uint8_t { waits, held, released };
  struct View {
    std::uint32_t file = 0;
    ByteRange range;
  };
  // A unit of a file, and how many bytes of views come before it.
  struct Ahead {
    std::uint32_t file = 0;
    std::uint32_t unit = 0;
    std::uint64_t position = 0;
  };
  static constexpr std::uint32_t kNoView = UINT32_MAX;

  MappedFiles() = default;
  Result<void> start_thread();
  void run();
  void look_after_leases();
  void move_views_of(std::uint32_t file);
  [[nodiscard]] std::uint32_t file_at(const std::byte* address) const noexcept;
  // False if the consumer is not near enough yet.
  [[nodiscard]] bool read_ahead() noexcept;

  const std::uint32_t generation_ = fork_generation();
  std::vector<std::unique_ptr<MappedFile>> files_;  // by address
  std::vector<std::uint32_t> objects_;              // by file: its number
  std::size_t objects_of_load_ = 0;
  std::uint64_t bytes_ = 0;

  std::vector<std::uint32_t> view_of_;  // by item
  std::vector<View> views_;
  std::unique_ptr<std::atomic<State>[]> states_;  // by view
  std::vector<Ahead> ahead_;                      // in the order of the plan

  // Bytes of views that the consumer was handed before the latest one, and with it. Relaxed: hints.
  std::atomic<std::uint64_t> latest_begin_{0};
  std::atomic<std::uint64_t> latest_end_{0};
  std::atomic<std::uint64_t> wake_at_{UINT64_MAX};  // the latest_end_ at which the thread goes on
  std::size_t next_ahead_ = 0;                      // the thread's own
  std::atomic<bool> has_begun_{false};
  std::atomic<bool> is_over_{false};
  std::atomic<std::uint32_t> thread_id_{0};  // once it runs
  UniqueFd signals_;
  WakeFd wake_;
  Thread thread_;
};

}  // namespace streamer::core::inline engine
