// SPDX-License-Identifier: Apache-2.0
#include "engine/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/fits_in_memory.hpp"
#include "base/fork.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"
#include "engine/feeder.hpp"
#include "engine/file_reader.hpp"
#include "engine/load_core.hpp"
#include "engine/load_sizes.hpp"
#include "engine/network_reader.hpp"
#include "engine/reader_clock.hpp"
#include "engine/staging.hpp"

namespace streamer::core {

namespace {

// What a request costs in bytes that could have come meanwhile: 16 KiB of a disk's time, and 10 ms
// of a connection's.
constexpr std::uint64_t kFileGapBytes = 16 * kKiB;
constexpr std::uint64_t kNetworkGapBytes = kMiB;
// One to fill and one to copy.
constexpr std::uint64_t kFewestSegments = 2;
constexpr std::uint64_t kMostSegments = 1 << 20;

}  // namespace

Result<std::uint64_t> coalesce_gap_bytes(const Checkpoint& checkpoint,
                                         const LoadSettings& settings) {
  if (settings.coalesce_gap_bytes) return *settings.coalesce_gap_bytes;
  for (const CheckpointObject& entry : checkpoint.objects) {
    Store* const store = TRY(checkpoint.stores->of(entry.object.uri));
    if (store->remote() != nullptr) return kNetworkGapBytes;
  }
  return kFileGapBytes;
}

namespace {

// By object.
Result<std::vector<bool>> which_are_remote(const Checkpoint& checkpoint) {
  std::vector<bool> are_remote;
  for (const CheckpointObject& entry : checkpoint.objects) {
    Store* const store = TRY(checkpoint.stores->of(entry.object.uri));
    are_remote.push_back(store->remote() != nullptr);
  }
  return are_remote;
}

// Which chunks go over the network.
ReaderShares share_out(const std::vector<bool>& are_remote, const Plan& plan,
                       std::uint32_t file_readers) {
  ReaderShares shares;
  const auto chunks = plan.chunks();
  for (std::uint32_t i = 0; i < chunks.size(); ++i)
    (are_remote[chunks[i].object] ? shares.network_chunks : shares.file_chunks).push_back(i);
  shares.file_readers =
      std::min(file_readers, static_cast<std::uint32_t>(shares.file_chunks.size()));
  shares.network_readers = network_reader_count(shares.network_chunks.size());
  return shares;
}

// nullptr if the list needs none. Errors: device.
Result<CudaRuntime*> runtime_for(const ReadingList& list, const LoadOptions& options) {
  if (list.memories.size() == 1) return static_cast<CudaRuntime*>(nullptr);
  CudaRuntime* cuda = options.cuda;
  if (cuda == nullptr) cuda = TRY(cuda_runtime());
  const int count = TRY(cuda->device_count());
  for (const MemoryNeed& need : list.memories) {
    if (need.device < count) continue;
    return Error(
        ErrorKind::invalid_argument,
        fmt::format("there is no cuda:{}: this machine shows {} ({} to cuda:{}); mind "
                    "CUDA_VISIBLE_DEVICES",
                    need.device, count == 1 ? "one device" : fmt::format("{} devices", count),
                    "cuda:0", count - 1));
  }
  return cuda;
}

// host_window: how much host memory the load may take; 0: no limit.
Staging::Options staging_options(const LoadSettings& settings, const LoadOptions& options,
                                 std::uint64_t host_window) {
  Staging::Options staging;
  // Read as whole pages, a chunk may begin and end within one.
  staging.segment_bytes = settings.staging_segment_bytes + 2 * kPageBytes;
  std::uint64_t bytes = settings.staging_bytes;
  if (host_window != 0 && settings.memory_limit.mode != MemoryLimit::Mode::minimum)
    bytes = std::min(bytes, host_window);
  staging.segments = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(bytes / staging.segment_bytes, kFewestSegments, kMostSegments));
  staging.streams = settings.device_streams;
  if (options.consumer_stream != nullptr) {
    staging.consumer_device = options.device;
    staging.consumer_stream = options.consumer_stream;
  }
  return staging;
}

Result<void> check_order(const Integrity& integrity) {
  const Object* const object = integrity.needs_order();
  if (object == nullptr) return {};
  return Error(
             ErrorKind::unsupported,
             "a SHA-256 needs the bytes in order, and those on their way to a device come as they "
             "come: verify against a CRC (CRC32, CRC32C, CRC64NVME), or load to the host")
      .at(object->uri.text());
}

}  // namespace

// ---- TensorLease ----

void TensorLease::begin(LoadCore& core, std::uint32_t index) noexcept {
  core_ = &core;
  index_ = index;
  // relaxed: nobody else has the lease yet.
  holders_.store(1, std::memory_order_relaxed);
}

void TensorLease::retain() noexcept {
  holders_.fetch_add(1, std::memory_order_relaxed);
}

void TensorLease::release() noexcept {
  // release: what this holder did with the memory is over. acquire: the last one passes that on for
  // all. Whoever finds itself the only holder needs no locked operation: only a holder makes
  // another.
  const bool is_only_holder = holders_.load(std::memory_order_acquire) == 1;
  if (is_only_holder || holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    core_->release_item(index_);
  }
}

TensorView TensorLease::tensor() const noexcept {
  return core_->checkpoint->tensors[tensor_number()];
}

std::uint32_t TensorLease::tensor_number() const noexcept {
  return core_->requests[item()].tensor;
}

Part TensorLease::part() const noexcept {
  return core_->requests[item()].part;
}

std::span<const std::uint64_t> TensorLease::shape() const noexcept {
  if (part() == Part::whole) return tensor().shape;
  return core_->part_shapes.find(item())->second;
}

std::byte* TensorLease::data() const noexcept {
  const PlanItem& planned = core_->plan.items()[index_];
  if (planned.bytes == 0) return nullptr;
  return core_->address(planned.place);
}

std::int32_t TensorLease::device() const noexcept {
  return core_->plan.memories()[core_->plan.items()[index_].place.memory].device;
}

std::uint64_t TensorLease::bytes() const noexcept {
  return core_->plan.items()[index_].bytes;
}

std::uint32_t TensorLease::item() const noexcept {
  return core_->plan.items()[index_].request;
}

std::uint64_t TensorLease::tag() const noexcept {
  return core_->requests[item()].tag;
}

// ---- Load ----

struct Load::Running {
  Running(LoadCore* core_in, std::vector<const Object*> objects, const LoadSettings& settings,
          LoadOptions options_in, const LoadSizes& sizes_in, const CuFile* cu_file)
      : core(core_in),
        files(objects, core_in->plan, settings.file_io, cu_file, core_in->notes),
        network(sizes_in.connections, std::max(core_in->network_readers, 1U),
                sizes_in.network_buffer_bytes),
        options(options_in),
        sizes(sizes_in) {}

  ~Running() {
    if (fork_generation() == generation) {
      threads.clear();  // joins
      // Copies under way write to memory of the caller, and read segments.
      staging.reset();
      // For the Load, and for the items that nobody will be given any more.
      core->let_go(1 + static_cast<std::uint32_t>(core->plan.items().size()) - yielded);
      return;
    }
    // After fork() the threads are the parent's and the core's locks may be theirs: leave both
    // alone.
    for (Thread& thread : threads)
      thread.abandon();
    static_cast<void>(staging.release());
  }

  // The consumer's own.
  std::optional<std::uint32_t> take_ready() {
    const auto items = core->plan.items();
    if (options.order == Order::completion) return core->ready.pop();
    if (yielded == items.size() || !core->countdowns[yielded].is_complete()) return std::nullopt;
    return yielded;
  }
  [[nodiscard]] bool has_ready() const {
    if (options.order == Order::completion) return core->ready.has_ready();
    return yielded < core->plan.items().size() && core->countdowns[yielded].is_complete();
  }

  // Whether all that the load owes is done. A feeder owes others what they need, too.
  [[nodiscard]] bool is_over() const {
    return options.feeder == nullptr || core->readers_running.load(std::memory_order_acquire) == 0;
  }

  LoadCore* const core;  // held once
  FileSet files;
  NetworkShare network;
  const LoadOptions options;
  const LoadSizes sizes;
  const std::uint32_t generation = fork_generation();
  const SteadyTime started = std::chrono::steady_clock::now();
  std::uint32_t readers_missing = 0;  // set before the consumer has the load
  std::uint32_t yielded = 0;          // the consumer's own
  std::atomic<std::uint64_t> consumer_wait_ns{0};
  std::unique_ptr<Staging> staging;  // nullptr: no device
  std::vector<Thread> threads;       // last: join before what they use is gone
};

Load::Load(std::unique_ptr<Running> running) : running_(std::move(running)) {}

Load::~Load() {
  Running& running = *running_;
  if (fork_generation() != running.generation) return;
  // Who has everything does not give up: a feeder goes on until others have theirs.
  const bool has_all = running.yielded == running.core->plan.items().size();
  if (running.options.feeder && has_all) running.threads.clear();
  cancel();
  if (!log_enabled(LogLevel::info)) return;
  static_cast<void>(fits_in_memory([&] { log_line(LogLevel::info, summary(stats())); }));
}

Result<std::unique_ptr<Load>> Load::start(std::shared_ptr<const Checkpoint> checkpoint,
                                          std::vector<PlanRequest> requests, LoadOptions options,
                                          const LoadSettings& settings) {
  for (PlanRequest& request : requests) {
    if (request.destination == nullptr && request.device == kHost) request.device = options.device;
  }
  const TensorTable& tensors = checkpoint->tensors;
  Feeder* const feeder = options.feeder.get();
  const bool in_request_order = options.read_order == ReadOrder::item && feeder == nullptr;
  ReadingList list = TRY(make_reading_list(tensors, requests, in_request_order));
  std::vector<std::uint32_t> landings;
  if (feeder != nullptr) landings = feeder->arrange(list);
  CudaRuntime* const cuda = TRY(runtime_for(list, options));
  const CuFile* cu_file = nullptr;
  if (cuda != nullptr && !settings.gpudirect.empty())
    cu_file = TRY(CuFile::get(settings.gpudirect));
  const std::vector<bool> are_remote = TRY(which_are_remote(*checkpoint));
  // A feeder has no buffers of readers.
  const auto is_among = [&](bool remote) {
    return feeder == nullptr &&
           std::find(are_remote.begin(), are_remote.end(), remote) != are_remote.end();
  };
  const LoadSizes sizes =
      TRY(size_load(settings, list, tensors, {.files = is_among(false), .network = is_among(true)},
                    options.limits_tensors_alone));
  const Staging::Options staging = staging_options(settings, options, sizes.window_bytes);
  const std::uint64_t gap_bytes = TRY(coalesce_gap_bytes(*checkpoint, settings));
  Plan plan = Plan::make(list, requests,
                         {.chunk_bytes = sizes.chunk_bytes,
                          .coalesce_gap_bytes = gap_bytes,
                          .tensor_alignment_bytes = settings.tensor_alignment_bytes,
                          .window_bytes = sizes.window_bytes,
                          .device_window_bytes = sizes.device_window_bytes,
                          .device_alignment_bytes = settings.device_alignment_bytes,
                          .staged_chunk_bytes = settings.staging_segment_bytes,
                          .landings = feeder == nullptr ? decltype(PlanOptions::landings)()
                                                        : std::span(std::as_const(landings))});
  if (feeder != nullptr) TRY(feeder->check(plan));
  Arena arena = TRY(Arena::reserve(plan.memories()[0].arena_bytes));
  std::vector<std::unique_ptr<DeviceMemory>> device_memories(plan.memories().size());
  for (std::size_t i = 1; i < plan.memories().size(); ++i) {
    const PlanMemory& memory = plan.memories()[i];
    device_memories[i] = std::make_unique<DeviceMemory>(*cuda, memory.device, memory.arena_bytes,
                                                        settings.device_allocator);
  }

  ReaderShares shares = share_out(are_remote, plan, sizes.file_readers);
  if (feeder != nullptr) shares.file_readers = 1;  // it counts as one
  std::vector<const Object*> objects;
  for (const CheckpointObject& object : checkpoint->objects)
    objects.push_back(&object.object);
  auto* const core =
      new LoadCore(std::move(checkpoint), std::move(requests), std::move(plan), std::move(arena),
                   std::move(device_memories), settings.bandwidth_bytes_per_s, std::move(shares));
  auto running =
      std::make_unique<Running>(core, std::move(objects), settings, options, sizes, cu_file);
  std::unique_ptr<Load> load(new Load(std::move(running)));
  TRY(core->open_wakes());
  if (feeder != nullptr) {
    TRY(load->start_feeder());
    return load;
  }
  if (!settings.verify.empty()) {
    core->integrity =
        TRY(Integrity::make(*core->checkpoint, core->plan, settings.verify, core->notes));
    TRY(check_order(*core->integrity));
  }
  if (cuda != nullptr) load->running_->staging = TRY(Staging::make(*core, *cuda, staging));
  TRY(load->start_readers(settings));
  return load;
}

Result<void> Load::start_feeder() {
  auto body = [this] {
    LoadCore& core = *running_->core;
    ReaderCounters& mine = core.counters[0];
    const std::int64_t began = steady_now_ns();
    Error out_of_memory(ErrorKind::out_of_memory, "there is no memory to exchange bytes with");
    if (!fits_in_memory([&] { running_->options.feeder->feed(core, mine); }))
      core.fail(std::move(out_of_memory));
    add(mine.reader_cpu_ns, thread_cpu_ns());
    add(mine.wall_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
    core.readers_running.fetch_sub(1, std::memory_order_release);
    core.ready_or_stuck.notify();
  };
  running_->threads.push_back(TRY(Thread::start("streamer-ranks", std::move(body))));
  return {};
}

Result<void> Load::start_readers(const LoadSettings& settings) {
  LoadCore& core = *running_->core;
  const std::uint32_t file_readers = core.readers - core.network_readers;
  const auto start = [&](std::uint32_t i) -> Result<void> {
    auto body = [this, settings, i, file_readers] {
      Running& parts = *running_;
      if (i < file_readers) {
        FileReader(*parts.core, parts.files, settings, i, parts.sizes.reader_buffer_bytes).run();
      } else {
        NetworkReader(*parts.core, parts.network, settings, i, i - file_readers).run();
      }
    };
    running_->threads.push_back(TRY(Thread::start(
        fmt::format("streamer-{}{}", i < file_readers ? "read" : "net", i), std::move(body))));
    return {};
  };
  // One of each kind is needed; the others are welcome.
  std::vector<std::uint32_t> numbers;
  if (file_readers != 0) numbers.push_back(0);
  if (core.network_readers != 0) numbers.push_back(file_readers);
  const std::size_t needed = numbers.size();
  for (std::uint32_t i = 1; i < core.readers; ++i) {
    if (i != file_readers) numbers.push_back(i);
  }
  for (std::size_t started = 0; started < numbers.size(); ++started) {
    auto outcome = start(numbers[started]);
    if (outcome) continue;
    if (started < needed) return outcome;
    go_on_with(static_cast<std::uint32_t>(started), outcome.error());
    break;
  }
  return {};
}

// The readers beyond the first `started` could not be started.
void Load::go_on_with(std::uint32_t started, const Error& failure) {
  LoadCore& core = *running_->core;
  const std::uint32_t file_readers = core.readers - core.network_readers;
  // They come behind those of files, but for the first.
  const std::uint32_t of_network = started - std::min(started, file_readers);
  running_->network.set_readers(std::max(1U, of_network));
  core.notes.add(fmt::format("only {} of {} readers could be started: {}", started, core.readers,
                             failure.message()));
  const std::uint32_t missing = core.readers - started;
  running_->readers_missing = missing;
  core.readers_running.fetch_sub(missing, std::memory_order_release);
}

Result<Load::Next> Load::next(std::optional<SteadyTime> deadline) {
  Running& running = *running_;
  LoadCore& core = *running.core;
  if (fork_generation() != running.generation) {
    return Error(ErrorKind::unsupported,
                 "this load was started before fork() and its readers are in the parent; start a "
                 "load in the process that uses it");
  }
  for (;;) {
    if (core.is_stopped()) {
      return core.failure.with([](const std::optional<Error>& failure) { return failure->copy(); });
    }
    const bool has_all = running.yielded == core.plan.items().size();
    if (has_all && running.is_over()) {
      // Asked again: a feeder that failed said so before it was over.
      if (core.is_stopped()) continue;
      return Next{Outcome::end};
    }
    auto item = has_all ? std::nullopt : running.take_ready();
    // Asked before a second look: what readers finished before they got stuck is then seen.
    const bool is_stuck = !item && core.is_stuck();
    if (is_stuck && !has_all) item = running.take_ready();
    if (item) {
      ++running.yielded;
      TensorLease& lease = core.leases[*item];
      lease.begin(core, *item);
      return Next{Outcome::tensor, &lease};
    }
    if (is_stuck && running.options.when_full == WhenFull::fail) return window_is_full();

    // For a caller that does not wait here but in a loop of its own.
    const bool is_look = deadline && *deadline == SteadyTime();
    if (is_look) core.ready_or_stuck.expect();
    const std::uint32_t ticket = core.ready_or_stuck.prepare();
    const bool may_wait = !deadline || std::chrono::steady_clock::now() < *deadline;
    const bool stuck_now = running.options.when_full == WhenFull::fail && core.is_stuck();
    const bool has_news = core.is_stopped() || (has_all ? running.is_over() : running.has_ready());
    if (!may_wait || stuck_now || has_news) {
      core.ready_or_stuck.retract();
      if (!may_wait && !has_news && !stuck_now) return Next{Outcome::not_ready};
      if (is_look) core.ready_or_stuck.unexpect();
      continue;
    }
    const auto began = std::chrono::steady_clock::now();
    core.ready_or_stuck.wait(ticket, deadline);
    const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - began;
    add(running.consumer_wait_ns, static_cast<std::uint64_t>(waited.count()));
  }
}

Error Load::window_is_full() const {
  const LoadCore& core = *running_->core;
  const auto memories = core.plan.memories();
  const bool is_of_host = memories[0].ring_bytes != 0;
  const auto limited = std::find_if(memories.begin(), memories.end(), [](const PlanMemory& memory) {
    return memory.ring_bytes != 0;
  });
  const std::uint64_t limit =
      is_of_host || limited == memories.end() ? running_->sizes.limit_bytes : limited->ring_bytes;
  return Error(
      ErrorKind::memory_limit,
      fmt::format("the {} of {} bytes ({}) is used up by tensors that were yielded and not "
                  "yet released, so no other can become ready: release them, or raise it "
                  "(all of this load needs {} bytes)",
                  is_of_host ? "memory_limit" : "device_memory_limit", limit, format_bytes(limit),
                  core.plan.wanted_bytes()));
}

void Load::cancel() noexcept {
  running_->core->fail(Error(ErrorKind::cancelled, "the load was cancelled"));
  if (running_->options.feeder) running_->options.feeder->stop();
}

Result<int> Load::fd() {
  return running_->core->ready_or_stuck.fd();
}

LoadStats Load::stats() const {
  const LoadCore& core = *running_->core;
  LoadStats stats;
  stats.items_total = core.plan.items().size();
  stats.bytes_total = core.plan.wanted_bytes();
  stats.readers = core.readers - running_->readers_missing;
  const std::uint64_t limit = running_->sizes.limit_bytes;
  stats.memory_limit = limit == 0 ? UINT64_MAX : limit;
  stats.arena_bytes = core.arena.bytes();
  for (const auto& memory : core.device_memories) {
    if (memory) stats.device_bytes += memory->bytes();
  }
  if (running_->staging) stats.staging_bytes = running_->staging->bytes();
  std::uint64_t wall_ns = 0;
  const auto read = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  // Readers, and the copiers behind them.
  for (std::size_t i = 0; i < core.readers + core.plan.memories().size(); ++i) {
    const ReaderCounters& counters = core.counters[i];
    add_reader(stats, counters);
    stats.uses_io_uring |= read(counters.uses_io_uring) ? 1U : 0U;
    wall_ns += read(counters.wall_ns);
  }
  stats.buffer_bytes =
      read(core.buffer_bytes) + stats.most_connections * running_->network.receive_buffer_bytes();
  stats.bytes_read =
      stats.bytes_direct + stats.bytes_page_cache + stats.bytes_buffered + stats.bytes_network;
  const std::uint64_t accounted =
      stats.reader_cpu_ns + stats.window_wait_ns + stats.bandwidth_wait_ns + stats.staging_wait_ns;
  stats.storage_wait_ns = wall_ns - std::min(wall_ns, accounted);
  if (running_->options.feeder) {
    stats.storage_wait_ns = 0;  // not the feeder's, but that of those who read for it
    running_->options.feeder->add_to(stats);
  }
  const std::int64_t finished = read(core.finished_ns);
  const std::chrono::nanoseconds until = finished != 0
                                             ? std::chrono::nanoseconds(finished)
                                             : std::chrono::steady_clock::now().time_since_epoch();
  stats.elapsed_ns =
      static_cast<std::uint64_t>((until - running_->started.time_since_epoch()).count());
  stats.objects = core.checkpoint->objects.size();
  if (core.integrity) stats.objects_verified = core.integrity->objects_verified();
  stats.consumer_wait_ns = read(running_->consumer_wait_ns);
  return stats;
}

std::string Load::notes() const {
  if (!running_->options.feeder) return running_->core->notes.text();
  return running_->core->notes.text() + running_->options.feeder->notes();
}

}  // namespace streamer::core
