// SPDX-License-Identifier: Apache-2.0
#include "engine/mapped_files.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/log.hpp"

namespace streamer::core::inline engine {

namespace {

// A mapping costs a few system calls, and pages that begin and end in the middle of one.
constexpr std::uint64_t kLeastBytes = kMiB;
// How far pages are mapped ahead of the consumer, and how near it comes before that goes on.
constexpr std::uint64_t kAheadBytes = 64 * kMiB;
constexpr std::uint64_t kNearBytes = kAheadBytes / 2;

// Whether an item may be a view of its file.
bool may_be_view(const Wanted& wanted, std::span<const PlanRequest> requests) {
  return wanted.memory == 0 && wanted.range.count == 1 &&
         requests[wanted.request].destination == nullptr;
}

// By object: the bytes from the first view to the last; size 0: none, or too few.
std::vector<ByteRange> ranges_of_views(const ReadingList& list,
                                       std::span<const PlanRequest> requests, std::size_t objects) {
  std::vector<ByteRange> ranges(objects);
  std::vector<std::uint64_t> bytes(objects);
  for (const Wanted& wanted : list.wanted) {
    const std::uint64_t size = wanted.range.total_bytes();
    if (size == 0 || !may_be_view(wanted, requests)) continue;
    ByteRange& range = ranges[wanted.object];
    const std::uint64_t end = wanted.range.offset + size;
    if (range.size == 0) range = {wanted.range.offset, size};
    const std::uint64_t begin = std::min(range.offset, wanted.range.offset);
    range = {begin, std::max(range.end(), end) - begin};
    bytes[wanted.object] += size;
  }
  for (std::size_t i = 0; i < objects; ++i) {
    // Pages between views are not worth asking for.
    if (bytes[i] < kLeastBytes || bytes[i] < ranges[i].size / 2) ranges[i] = {};
  }
  return ranges;
}

}  // namespace

std::unique_ptr<MappedFiles> MappedFiles::map(std::span<const SourceObject> objects,
                                              const ReadingList& list,
                                              std::span<const PlanRequest> requests,
                                              std::string& said) {
  const std::vector<ByteRange> ranges = ranges_of_views(list, requests, objects.size());
  said = "too few bytes of whole tensors in a file";
  struct Candidate {
    MappedFile::Probe probe;
    std::uint32_t object;
  };
  std::vector<Candidate> candidates;
  for (std::uint32_t i = 0; i < objects.size(); ++i) {
    if (ranges[i].size == 0 || !objects[i].store->has_files()) continue;
    // Before a thread is started for them.
    auto file = MappedFile::probe(*objects[i].object, ranges[i]);
    if (file) {
      candidates.push_back({*std::move(file), i});
    } else {
      said = fmt::format("{}: {}", objects[i].object->uri.text(), file.error().message());
    }
  }
  if (candidates.empty()) return nullptr;
  std::unique_ptr<MappedFiles> files(new MappedFiles);
  files->objects_of_load_ = objects.size();
  if (const auto started = files->start_thread(); !started) {
    said = started.error().message();
    return nullptr;
  }
  struct Mapped {
    std::unique_ptr<MappedFile> file;
    std::uint32_t object;
  };
  std::vector<Mapped> mapped;
  const auto thread = static_cast<pid_t>(files->thread_id_.load(std::memory_order_relaxed));
  for (Candidate& one : candidates) {
    const std::uint32_t i = one.object;
    auto file = MappedFile::map(*objects[i].object, ranges[i], std::move(one.probe), thread);
    if (file) {
      mapped.push_back({*std::move(file), i});
    } else {
      said = fmt::format("{}: {}", objects[i].object->uri.text(), file.error().message());
    }
  }
  if (mapped.empty()) return nullptr;
  if (mapped.size() == objects.size()) said = "they are in the page cache";
  std::sort(mapped.begin(), mapped.end(), [&](const Mapped& a, const Mapped& b) {
    return a.file->address_of(ranges[a.object].offset) <
           b.file->address_of(ranges[b.object].offset);
  });
  for (Mapped& one : mapped) {
    files->files_.push_back(std::move(one.file));
    files->objects_.push_back(one.object);
  }
  return files;
}

MappedFiles::~MappedFiles() {
  if (fork_generation() != generation_) {
    thread_.abandon();
    return;
  }
  is_over_.store(true, std::memory_order_relaxed);  // published by notify()
  wake_.notify();
  thread_.join();
}

std::vector<std::uint64_t> MappedFiles::origins() const {
  std::vector<std::uint64_t> origins(objects_of_load_);
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const MappedFile& file = *files_[i];
    origins[objects_[i]] =
        reinterpret_cast<std::uintptr_t>(file.address_of(file.begin())) - file.begin();
  }
  return origins;
}

std::uint64_t MappedFiles::uncached_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& file : files_)
    bytes += file->uncached_bytes();
  return std::min(bytes, bytes_);
}

std::uint32_t MappedFiles::file_at(const std::byte* address) const noexcept {
  const auto after = std::partition_point(files_.begin(), files_.end(), [&](const auto& file) {
    return file->address_of(file->begin()) <= address;
  });
  if (after == files_.begin()) return kNoView;
  const auto found = after - 1;
  return (*found)->contains(address) ? static_cast<std::uint32_t>(found - files_.begin()) : kNoView;
}

void MappedFiles::begin(const Plan& plan) {
  const auto items = plan.items();
  view_of_.assign(items.size(), kNoView);
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const PlanItem& item = items[i];
    if (item.bytes == 0 || item.chunks != 0 || item.place.in_arena || item.place.memory != 0)
      continue;
    const auto* const address = reinterpret_cast<const std::byte*>(item.place.value);
    const std::uint32_t at = file_at(address);
    if (at == kNoView) continue;
    MappedFile& file = *files_[at];
    const ByteRange range{file.offset_of(address), item.bytes};
    view_of_[i] = static_cast<std::uint32_t>(views_.size());
    views_.push_back({at, range});
    file.add_view(range);
    for (std::uint32_t unit = file.unit_of(range.offset); unit <= file.unit_of(range.end() - 1);
         ++unit) {
      if (!ahead_.empty() && ahead_.back().file == at && ahead_.back().unit == unit) continue;
      ahead_.push_back({at, unit, bytes_});
      // Units of an item that is larger come one after the other.
      ahead_.back().position += (unit - file.unit_of(range.offset)) * MappedFile::kUnitBytes;
    }
    bytes_ += item.bytes;
  }
  states_ = std::make_unique<std::atomic<State>[]>(views_.size());
  // release: the thread that sees it also sees the views.
  has_begun_.store(true, std::memory_order_release);
  wake_.notify();
}

// ---- The consumer, and holders ----

Result<void> MappedFiles::hold(std::uint32_t item) {
  const std::uint32_t number = view_of_[item];
  if (number == kNoView) return {};
  const View& view = views_[number];
  const std::uint64_t before = latest_end_.load(std::memory_order_relaxed);
  latest_begin_.store(before, std::memory_order_relaxed);
  latest_end_.store(before + view.range.size, std::memory_order_relaxed);
  // If the thread is about to sleep and this is missed, the next item wakes it.
  if (before + view.range.size >= wake_at_.load(std::memory_order_relaxed)) wake_.notify();
  // Both sequentially consistent, as are their counterparts in move_views_of(): either that finds
  // the view held, or this finds that the lease ends.
  states_[number].store(State::held, std::memory_order_seq_cst);
  if (!files_[view.file]->is_ending()) return {};
  return files_[view.file]->move_aside(view.range);
}

void MappedFiles::release(std::uint32_t item) noexcept {
  const std::uint32_t number = view_of_[item];
  if (number == kNoView) return;
  // relaxed: a view that is moved although it was just released costs memory for a moment.
  states_[number].store(State::released, std::memory_order_relaxed);
  files_[views_[number].file]->release(views_[number].range);
}

// ---- The thread ----

Result<void> MappedFiles::start_thread() {
  sigset_t lease_breaks;
  sigemptyset(&lease_breaks);
  sigaddset(&lease_breaks, SIGIO);
  signals_ = UniqueFd(::signalfd(-1, &lease_breaks, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return os_failure("create a signalfd", errno);
  TRY(wake_.open());
  thread_ = TRY(Thread::start("streamer-map", [this] { run(); }));
  std::uint32_t id = 0;
  while ((id = thread_id_.load(std::memory_order_relaxed)) == 0)
    futex_wait(thread_id_, 0, std::nullopt);
  return {};
}

void MappedFiles::run() {
  thread_id_.store(static_cast<std::uint32_t>(::gettid()), std::memory_order_relaxed);
  futex_wake_all(thread_id_);
  std::array<pollfd, 2> wait = {pollfd{wake_.fd(), POLLIN, 0}, pollfd{signals_.get(), POLLIN, 0}};
  for (;;) {
    wake_.arm();
    if (is_over_.load(std::memory_order_relaxed)) return;
    // acquire: pairs with the release in begin(). Until then signals wait: the files are not known.
    const bool has_begun = has_begun_.load(std::memory_order_acquire);
    const bool is_busy = has_begun && read_ahead();
    ::poll(wait.data(), has_begun ? 2 : 1, is_busy ? 0 : -1);
    wake_.disarm();
    wake_.drain();
    // One signal may stand for several leases.
    signalfd_siginfo signal;
    if (has_begun && ::read(signals_.get(), &signal, sizeof signal) == sizeof signal)
      look_after_leases();
  }
}

bool MappedFiles::read_ahead() noexcept {
  // What the consumer has passed, it has mapped itself by looking at it.
  const std::uint64_t passed = latest_begin_.load(std::memory_order_relaxed);
  while (next_ahead_ < ahead_.size() && ahead_[next_ahead_].position < passed)
    ++next_ahead_;
  if (next_ahead_ == ahead_.size()) {
    wake_at_.store(UINT64_MAX, std::memory_order_relaxed);
    return false;
  }
  const Ahead& next = ahead_[next_ahead_];
  if (next.position >= latest_end_.load(std::memory_order_relaxed) + kAheadBytes) {
    wake_at_.store(next.position - kNearBytes, std::memory_order_relaxed);
    return false;
  }
  files_[next.file]->read_ahead(next.unit);
  ++next_ahead_;
  return true;
}

void MappedFiles::look_after_leases() {
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    if (!files_[i]->is_ending() && files_[i]->is_wanted()) move_views_of(i);
  }
}

void MappedFiles::move_views_of(std::uint32_t file) {
  MappedFile& ending = *files_[file];
  log_line(LogLevel::info,
           fmt::format("{} is opened for writing: tensors that are in use are moved "
                       "to memory of their own",
                       ending.object().uri.text()));
  ending.begin_to_give_up();
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (views_[i].file != file || states_[i].load(std::memory_order_seq_cst) != State::held)
      continue;
    auto moved = ending.move_aside(views_[i].range);
    if (moved) continue;
    // Whoever wants to write then waits until the kernel loses its patience.
    log_line(LogLevel::error, fmt::format("{} is opened for writing while its tensors are in use, "
                                          "and they cannot be moved: {}",
                                          ending.object().uri.text(), moved.error().message()));
    return;
  }
  ending.give_up();
}

}  // namespace streamer::core::inline engine
