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
#include "engine/counters.hpp"
#include "engine/integrity.hpp"
#include "engine/landing.hpp"
#include "engine/load_sizes.hpp"
#include "engine/process_settings.hpp"
#include "engine/reader_pool.hpp"
#include "engine/source.hpp"
#include "engine/sources.hpp"
#include "engine/staging.hpp"
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline engine {

namespace {

// One to fill and one to copy.
constexpr std::uint64_t kFewestSegments = 2;
constexpr std::uint64_t kMostSegments = 1 << 20;

// By memory of the list; the host's is nullptr. Errors: device, invalid_argument.
Result<std::vector<GpuRuntime*>> runtimes_for(const ReadingList& list, const LoadOptions& options) {
  std::vector<GpuRuntime*> runtimes;
  for (const MemoryNeed& need : list.memories) {
    GpuRuntime* runtime = nullptr;
    if (!need.device.is_host()) runtime = TRY(runtime_of(need.device, options.gpu));
    runtimes.push_back(runtime);
  }
  return runtimes;
}

// GPUDirect Storage is NVIDIA's: nullptr if it is not wanted, or if a device is of another kind.
Result<const CuFile*> cu_file_for(const ReadingList& list, const LoadSettings& settings) {
  const auto gpudirect = settings.get(setting::kGpudirect);
  bool is_wanted = list.memories.size() > 1 && gpudirect.has_value();
  for (const MemoryNeed& need : list.memories)
    is_wanted = is_wanted && (need.device.is_host() || need.device.kind == kCudaKind);
  if (!is_wanted) return static_cast<const CuFile*>(nullptr);
  return TRY(CuFile::get(gpudirect == "on" ? "libcufile.so.0" : *gpudirect));
}

// host_window: how much host memory the load may take; 0: no limit.
Staging::Options staging_options(const LoadSettings& settings, const LoadOptions& options,
                                 std::uint64_t host_window) {
  Staging::Options staging;
  // Direct reads cover whole pages, and a chunk may begin and end in the middle of one.
  staging.segment_bytes = settings.get(setting::kStagingSegmentBytes) + 2 * kPageBytes;
  std::uint64_t bytes = settings.get(setting::kStagingBytes);
  // memory_limit minimum covers tensors only: pinned memory comes on top.
  if (host_window != 0 && settings.get(setting::kMemoryLimit).mode != MemoryLimit::Mode::minimum)
    bytes = std::min(bytes, host_window);
  staging.segments = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(bytes / staging.segment_bytes, kFewestSegments, kMostSegments));
  staging.streams = settings.get(setting::kDeviceStreams);
  if (options.consumer_stream != nullptr) {
    staging.consumer_device = options.device;
    staging.consumer_stream = options.consumer_stream;
  }
  return staging;
}

// By memory of the plan; nullptr for the host's.
std::vector<std::unique_ptr<DeviceMemory>> device_memories(const Plan& plan,
                                                           const std::vector<GpuRuntime*>& runtimes,
                                                           const LoadSettings& settings) {
  std::vector<std::unique_ptr<DeviceMemory>> memories(plan.memories().size());
  for (std::size_t i = 1; i < plan.memories().size(); ++i) {
    const PlanMemory& memory = plan.memories()[i];
    memories[i] =
        std::make_unique<DeviceMemory>(*runtimes[i], memory.device.number, memory.arena_bytes,
                                       settings.get(setting::kDeviceAllocator));
  }
  return memories;
}

// Why tensors of cached files may not be views of them; empty if they may: nothing has to see their
// bytes on the way, and nobody limits how much memory loads take, of which views are a part while
// they are looked at.
std::string_view why_not_mapped(const LoadSettings& settings, const LoadOptions& options,
                                const ProcessShare& process) {
  if (!settings.get(setting::kMapCached)) return "debug.map_cached is off";
  if (settings.get(setting::kFileIo) != FileIo::automatic) return "file_io says how files are read";
  if (settings.get(setting::kVerify)) return "every byte is verified on its way";
  if (settings.get(setting::kMaxBandwidth) != 0)
    return "max_bandwidth counts every byte on its way";
  if (process.is_capped()) return "process_max_bandwidth counts every byte on its way";
  const MemoryLimit::Mode limit = settings.get(setting::kMemoryLimit).mode;
  if (limit != MemoryLimit::Mode::automatic && limit != MemoryLimit::Mode::unlimited)
    return "memory_limit counts views too";
  if (process.limits().memory_bytes != 0) return "process_memory_limit counts views too";
  if (options.host_allocator.allocate != nullptr) return "the program allocates the memory";
  if (options.source != nullptr) return "ranks share what is read";
  if (options.pool != nullptr) return "loads of one pool of readers take turns";
  return {};
}

Result<void> check_order(const Integrity& integrity) {
  const Object* const object = integrity.needs_order();
  if (object == nullptr) return {};
  return Error(ErrorKind::unsupported,
               "SHA-256 needs the bytes in order, but bytes on their way to a device arrive in any "
               "order: verify against a CRC (CRC32, CRC32C, CRC64NVME), or load to the host")
      .at(object->uri.text());
}

}  // namespace

struct Load::Running {
  Running(LoadTensors* tensors_in, std::vector<SourceObject> objects_in,
          const LoadSettings& settings_in, LoadOptions options_in, const LoadSizes& sizes_in)
      : tensors(tensors_in),
        objects(std::move(objects_in)),
        settings(settings_in),
        options(std::move(options_in)),
        sizes(sizes_in) {}

  ~Running() {
    if (fork_generation() == generation) {
      threads.clear();  // joins
      if (options.pool != nullptr) options.pool->end(this);
      sources.clear();
      // Copies in progress still write to memory of the caller and read segments: they end before
      // the tensors are released.
      staging.reset();
      // The Load's own reference, and those of the items that will never be yielded.
      tensors->let_go(1 + static_cast<std::uint32_t>(plan().items().size()) - yielded);
      return;
    }
    // After fork() the threads exist only in the parent, and may have held locks: touch neither.
    for (Thread& thread : threads)
      thread.abandon();
    static_cast<void>(staging.release());
  }

  [[nodiscard]] Landing& landing() const noexcept { return tensors->landing(); }
  [[nodiscard]] const Plan& plan() const noexcept { return landing().plan(); }

  // The consumer's own.
  std::optional<std::uint32_t> take_ready() {
    if (options.order == Order::completion) return landing().take_ready();
    if (!has_ready()) return std::nullopt;
    return yielded;
  }
  [[nodiscard]] bool has_ready() const {
    if (options.order == Order::completion) return landing().has_ready();
    return yielded < plan().items().size() && landing().is_whole(yielded);
  }

  // Whether a stuck load may still go on, because other loads hold the memory and recently gave
  // some back.
  [[nodiscard]] bool hopes_for_other_loads() {
    if (!landing().waits_for_other_loads()) return false;
    const SteadyTime now = std::chrono::steady_clock::now();
    const std::uint64_t gifts = landing().share().process().gifts();
    if (!hope || hope->gifts != gifts) hope = Hope{now + kPatienceWithOtherLoads, gifts};
    return now < hope->until;
  }
  [[nodiscard]] std::optional<SteadyTime> wakes_at(std::optional<SteadyTime> deadline) const {
    if (!hope || !landing().waits_for_other_loads()) return deadline;
    return deadline ? std::min(*deadline, hope->until) : hope->until;
  }

  // Whether the load has nothing left to do. An ordered source must also serve the other ranks.
  [[nodiscard]] bool is_over() const {
    return options.source == nullptr || !landing().has_threads();
  }
  template <typename Visit>
  void for_each_source(Visit&& visit) const {
    for (const auto& source : sources)
      visit(*source);
    if (options.source) visit(*options.source);
  }

  LoadTensors* const tensors;  // held once
  const std::vector<SourceObject> objects;
  const LoadSettings settings;
  const LoadOptions options;
  const LoadSizes sizes;
  const std::uint32_t generation = fork_generation();
  const SteadyTime started = std::chrono::steady_clock::now();
  std::uint32_t yielded = 0;  // the consumer's own, as the next one
  struct Hope {
    SteadyTime until;
    std::uint64_t gifts;  // what others had given back when it began
  };
  std::optional<Hope> hope;
  std::atomic<std::uint64_t> consumer_wait_ns{0};
  std::unique_ptr<Staging> staging;              // nullptr: no device
  std::vector<std::unique_ptr<Source>> sources;  // none if the options name one
  // Set before the consumer has the load:
  std::uint32_t readers = 0;  // threads of sources that were started
  std::unique_ptr<const LoadCounters> counters =
      std::make_unique<LoadCounters>(1);  // of those threads
  std::vector<Thread> threads;            // last: joined before what they use is gone
};

Load::Load(std::unique_ptr<Running> running) : running_(std::move(running)) {}

Load::~Load() {
  Running& running = *running_;
  if (fork_generation() != running.generation) return;
  // A rank that has everything must not cancel: its source goes on until the other ranks have
  // theirs.
  const bool has_all = running.yielded == running.plan().items().size();
  if (running.options.source && has_all) running.threads.clear();
  cancel();
  if (!log_enabled(LogLevel::info)) return;
  static_cast<void>(fits_in_memory([&] { log_line(LogLevel::info, summary(stats())); }));
}

Result<std::unique_ptr<Load>> Load::start(std::shared_ptr<const Checkpoint> checkpoint,
                                          std::vector<PlanRequest> requests, LoadOptions options,
                                          const LoadSettings& settings) {
  // The host without a destination means the device of the options.
  for (PlanRequest& request : requests) {
    if (request.destination == nullptr && request.device == kHost) request.device = options.device;
  }
  const TensorTable& tensors = checkpoint->tensors;
  OrderedSource* const ordered = options.source.get();
  const bool in_request_order = options.read_order == ReadOrder::item && ordered == nullptr;
  ReadingList list = TRY(make_reading_list(tensors, requests, in_request_order));
  std::optional<std::vector<std::uint32_t>> pieces;
  if (ordered != nullptr) pieces = ordered->arrange(list);
  const std::vector<GpuRuntime*> runtimes = TRY(runtimes_for(list, options));
  const CuFile* const cu_file = TRY(cu_file_for(list, settings));
  auto objects = TRY(source_objects(*checkpoint));
  // An ordered source has its own buffers.
  ReadingFrom from = ordered == nullptr ? reading_from(objects) : ReadingFrom{};
  from.takes_turns = options.pool != nullptr;
  // An ordered source places its items itself; an allocator's memory is all there from the
  // beginning.
  const HostMemoryUse use{
      .limits_tensors_alone = options.limits_tensors_alone,
      .is_elastic = ordered == nullptr && options.host_allocator.allocate == nullptr};
  ProcessShare& process = ProcessShare::mine();
  if (!process.has_limits()) process.set_first_limits(TRY(read_process_limits(Settings())));
  LoadSizes sizes = TRY(size_load(settings, list, tensors, from, use, Machine::read()));
  const bool is_automatic =
      settings.get(setting::kMemoryLimit).mode == MemoryLimit::Mode::automatic;
  if (is_automatic && process.limits().memory_bytes == 0)
    process.set_automatic_memory(sizes.limit_bytes);
  if (sizes.block_bytes != 0 && options.block_bytes != 0) sizes.block_bytes = options.block_bytes;
  if (sizes.block_bytes != 0 && options.ahead_bytes != 0) sizes.ahead_bytes = options.ahead_bytes;
  const Staging::Options staging = staging_options(settings, options, sizes.window_bytes);
  const std::uint64_t gap_bytes = TRY(coalesce_gap_bytes(*checkpoint, settings));
  sizes.decisions.push_back({"gap", format_bytes(gap_bytes),
                             "unwanted bytes that are read rather than skipped: what arrives in "
                             "the time that one more request takes"});
  if (staging.segments != 0 && runtimes.size() > 1) {
    sizes.decisions.push_back({"staging", format_bytes(staging.segments * staging.segment_bytes),
                               "pinned memory for each device, no more than the memory limit"});
  }
  std::unique_ptr<MappedFiles> mapped;
  std::vector<std::uint64_t> origins;
  if (const auto why_not = why_not_mapped(settings, options, process);
      from.files && !why_not.empty()) {
    sizes.decisions.push_back({"mapped files", "none", std::string(why_not)});
  } else if (from.files) {
    std::string reason;
    mapped = MappedFiles::map(objects, list, requests, reason);
    if (mapped) origins = mapped->origins();
    const auto count =
        std::count_if(origins.begin(), origins.end(), [](auto at) { return at != 0; });
    sizes.decisions.push_back(
        {"mapped files", fmt::format("{} of {}", count, objects.size()), std::move(reason)});
  }
  PlanOptions layout{
      .chunk_bytes = sizes.chunk_bytes,
      .coalesce_gap_bytes = gap_bytes,
      .tensor_alignment_bytes = settings.get(setting::kTensorAlignment),
      .window_bytes = sizes.window_bytes,
      .block_bytes = sizes.block_bytes,
      .device_window_bytes = sizes.device_window_bytes,
      .device_alignment_bytes = std::max<std::uint64_t>(settings.get(setting::kDeviceAlignment), 1),
      .staged_chunk_bytes = settings.get(setting::kStagingSegmentBytes),
      .mapped_origins = origins,
      .pieces = pieces ? std::optional(std::span(std::as_const(*pieces))) : std::nullopt};
  Plan plan = Plan::make(list, requests, layout);
  if (ordered != nullptr) TRY(ordered->check(plan));
  // An elastic window keeps count of what it touches, so the system need not commit memory for the
  // whole arena: the model may be larger than the machine.
  const bool keeps_count = !plan.blocks().empty() && sizes.window_bytes != 0;
  auto arena = Arena::reserve(plan.memories()[0].arena_bytes,
                              keeps_count ? Arena::Promise::none : Arena::Promise::all,
                              options.host_allocator);
  const bool has_ring_instead = !arena && keeps_count;
  if (has_ring_instead) {
    layout.block_bytes = 0;
    plan = Plan::make(list, requests, layout);
    arena = Arena::reserve(plan.memories()[0].arena_bytes);
  }
  LoadMemory memory{
      .arena = TRY(std::move(arena)),
      .devices = device_memories(plan, runtimes, settings),
      .elastic = {.first_ahead_bytes = sizes.ahead_bytes,
                  .most_bytes = sizes.window_bytes,
                  // What a consumer frees at once is soon needed: fresh pages cost more.
                  .most_kept_bytes = 2 * sizes.ahead_bytes},
      .mapped = std::move(mapped)};
  auto* const made = LoadTensors::make(std::move(checkpoint), std::move(requests), std::move(plan),
                                       std::move(memory), settings.get(setting::kMaxBandwidth));
  // From here on a failure goes through ~Load(), which ends whatever has been started.
  std::unique_ptr<Load> load(new Load(
      std::make_unique<Running>(made, std::move(objects), settings, std::move(options), sizes)));
  Landing& landing = made->landing();
  if (has_ring_instead)
    landing.notes().add(
        "the system has no address space for the whole model (ulimit -v, or "
        "vm.overcommit_memory=2): tensors go through one window of the memory limit");
  if (ordered != nullptr) {
    ordered->land_in(landing);
  } else {
    Running& running = *load->running_;
    if (const auto verify = settings.get(setting::kVerify)) {
      auto integrity =
          TRY(Integrity::make(made->checkpoint(), landing.plan(), *verify, landing.notes()));
      TRY(check_order(*integrity));
      landing.verify_by(std::move(integrity));
    }
    ReaderPool* const pool = running.options.pool;
    if (runtimes.size() > 1) running.staging = TRY(Staging::make(landing, staging));
    running.sources = TRY(make_sources({.landing = landing,
                                        .staging = running.staging.get(),
                                        .objects = running.objects,
                                        .chunks = {},
                                        .settings = running.settings,
                                        .sizes = running.sizes,
                                        .threads = 0,
                                        .cu_file = cu_file,
                                        .loops = pool == nullptr ? nullptr : &pool->loops()}));
    // Last: from here on a device may fail the load from another thread.
    if (running.staging) TRY(running.staging->start());
  }
  TRY(load->start_threads());
  return load;
}

Result<void> Load::start_threads() {
  Running& running = *running_;
  Landing& landing = running.landing();
  struct OneThread {
    Source* source;
    std::uint32_t number;
  };
  // One thread per source is required; more only make it faster.
  std::vector<OneThread> wanted;
  running.for_each_source([&](Source& source) { wanted.push_back({&source, 0}); });
  const std::size_t needed = wanted.size();
  running.for_each_source([&](Source& source) {
    for (std::uint32_t number = 1; number < source.threads(); ++number)
      wanted.push_back({&source, number});
  });
  running.counters = std::make_unique<LoadCounters>(std::max<std::size_t>(wanted.size(), 1));
  running.readers = static_cast<std::uint32_t>(wanted.size());
  landing.begin(*running.counters, running.readers);
  const auto body_of = [&](std::size_t i) -> std::function<void()> {
    return [one = wanted[i], &landing, &mine = (*running.counters)[i]] {
      // Allocated in advance: there may be no memory for it when it is needed.
      Error out_of_memory(ErrorKind::out_of_memory, "not enough memory to read");
      if (!fits_in_memory([&] { one.source->run(one.number, mine); }))
        landing.fail(std::move(out_of_memory));
      landing.threads_ended(1);
    };
  };
  if (ReaderPool* const pool = running.options.pool) {
    std::vector<std::function<void()>> bodies;
    for (std::size_t i = 0; i < wanted.size(); ++i)
      bodies.push_back(body_of(i));
    return pool->run(&running, std::move(bodies), needed);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Source& source = *wanted[i].source;
    const std::string number = source.threads() == 1 ? "" : std::to_string(wanted[i].number);
    auto thread = Thread::start(fmt::format("streamer-{}{}", source.name(), number), body_of(i));
    if (thread) {
      running.threads.push_back(*std::move(thread));
      continue;
    }
    if (i < needed) return std::move(thread).error();
    landing.notes().add(fmt::format("only {} of {} readers could be started: {}", i, wanted.size(),
                                    thread.error().message()));
    running.for_each_source([&](Source& one) {
      one.set_threads(static_cast<std::uint32_t>(
          std::count_if(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(i),
                        [&](const OneThread& started) { return started.source == &one; })));
    });
    running.readers = static_cast<std::uint32_t>(i);
    landing.threads_ended(static_cast<std::uint32_t>(wanted.size() - i));
    break;
  }
  return {};
}

Result<void> Load::check_process() const {
  if (fork_generation() == running_->generation) return {};
  return Error(ErrorKind::unsupported,
               "this load was started before fork() and its readers are in the parent; start the "
               "load in the process that uses it");
}

Result<Load::Next> Load::next(std::optional<SteadyTime> deadline) {
  TRY(check_process());
  Running& running = *running_;
  Landing& landing = running.landing();
  for (;;) {
    if (landing.is_stopped()) {
      return landing.failure();
    }
    const bool has_all = running.yielded == running.plan().items().size();
    if (has_all && running.is_over()) {
      // Checked again: a source that fails reports it before its thread ends.
      if (landing.is_stopped()) continue;
      return Next{Outcome::end};
    }
    auto item = has_all ? std::nullopt : running.take_ready();
    // Checked before the second look, which then finds everything that readers finished before they
    // got stuck.
    const bool is_stuck = !item && landing.is_stuck();
    if (is_stuck && !has_all) item = running.take_ready();
    if (item) {
      if (auto held = landing.hold_item(*item); !held) {
        landing.fail(std::move(held).error());
        continue;
      }
      ++running.yielded;
      running.hope.reset();
      landing.item_yielded(*item);
      return Next{Outcome::tensor, &running.tensors->yield(*item)};
    }
    const auto is_hopeless = [&] {
      // In this order: a load to which other loads just gave something back is not stuck any more.
      return running.options.when_full == WhenFull::fail && !running.hopes_for_other_loads() &&
             landing.is_stuck();
    };
    if (is_stuck && is_hopeless()) return window_is_full();

    // A look by a caller that waits on fd() in its own event loop.
    const bool is_look = deadline && *deadline == SteadyTime();
    if (is_look) landing.news().expect();
    // From here on no change is missed: each condition is checked once more before sleeping.
    const std::uint32_t ticket = landing.news().prepare();
    const bool may_wait = !deadline || std::chrono::steady_clock::now() < *deadline;
    const bool stuck_now = is_hopeless();
    const bool has_news =
        landing.is_stopped() || (has_all ? running.is_over() : running.has_ready());
    if (!may_wait || stuck_now || has_news) {
      landing.news().retract();
      if (!may_wait && !has_news && !stuck_now) return Next{Outcome::not_ready};
      if (is_look) landing.news().unexpect();
      continue;
    }
    const auto began = std::chrono::steady_clock::now();
    // An elastic window may run further ahead while the consumer has nothing.
    landing.set_consumer_waits(true);
    // A caller with a deadline is not kept from it.
    if (!deadline && landing.touch_ahead()) {
      landing.news().retract();
    } else {
      landing.news().wait(ticket, running.wakes_at(deadline));
    }
    landing.set_consumer_waits(false);
    const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - began;
    add(running.consumer_wait_ns, static_cast<std::uint64_t>(waited.count()));
  }
}

Error Load::window_is_full() const {
  const auto memories = running_->plan().memories();
  if (running_->landing().waits_for_other_loads()) {
    const ProcessUse use = running_->landing().share().process().use();
    return Error(
        ErrorKind::memory_limit,
        fmt::format("the {} loads of this process hold {} of the {} that they may hold together, "
                    "and none gave any back for {} s, so no other tensor can become ready: release "
                    "tensors, or raise process_memory_limit (all of this load needs {} bytes)",
                    use.loads, format_bytes(use.memory_bytes), format_bytes(use.memory_limit_bytes),
                    kPatienceWithOtherLoads.count(), running_->plan().wanted_bytes()));
  }
  const bool is_of_host = memories[0].ring_bytes != 0 || running_->landing().is_host_full();
  const auto limited = std::find_if(memories.begin(), memories.end(), [](const PlanMemory& memory) {
    return memory.ring_bytes != 0;
  });
  const PlanMemory& full = is_of_host || limited == memories.end() ? memories[0] : *limited;
  const std::uint64_t room = full.ring_bytes;
  const std::uint64_t limit = &full == memories.data() ? running_->sizes.limit_bytes : room;
  return Error(
      ErrorKind::memory_limit,
      fmt::format(
          "the {} of {} bytes ({}{}) is used up by tensors that were yielded and not yet released, "
          "so no other can become ready: release them, or raise it; a loop that holds one tensor "
          "while it takes the next needs room for a little more than three of the largest (the "
          "whole load needs {} bytes)",
          is_of_host ? "memory_limit" : "device_memory_limit", limit, format_bytes(limit),
          room == 0 || room == limit ? ""
                                     : fmt::format(", {} of it for tensors", format_bytes(room)),
          running_->plan().wanted_bytes()));
}

void Load::cancel() noexcept {
  running_->landing().fail(Error(ErrorKind::cancelled, "the load was cancelled"));
  running_->for_each_source([](Source& source) { source.stop(); });
}

Result<int> Load::fd() {
  TRY(check_process());
  return running_->landing().news().fd();
}

LoadStats Load::stats() const {
  const Running& running = *running_;
  const Landing& landing = running.landing();
  LoadStats stats;
  stats.items_total = running.plan().items().size();
  stats.bytes_total = running.plan().wanted_bytes();
  stats.readers = running.readers;
  const std::uint64_t limit = running.sizes.limit_bytes;
  stats.memory_limit = limit == 0 ? UINT64_MAX : limit;
  stats.arena_bytes = landing.used_arena_bytes();
  for (const auto& memory : landing.memory().devices) {
    if (memory) stats.device_bytes += memory->bytes();
  }
  const std::uint64_t wall_ns = running.counters->add_to(stats);
  if (running.staging) running.staging->add_to(stats);
  stats.bytes_read =
      stats.bytes_direct + stats.bytes_page_cache + stats.bytes_buffered + stats.bytes_network;
  // Waiting for storage is not measured: it is what is left of the threads' time.
  const std::uint64_t accounted = stats.reader_cpu_ns + stats.cpu_wait_ns + stats.window_wait_ns +
                                  stats.bandwidth_wait_ns + stats.staging_wait_ns;
  stats.storage_wait_ns = wall_ns - std::min(wall_ns, accounted);
  running.for_each_source([&](const Source& source) { source.add_to(stats); });
  const std::int64_t finished = landing.finished_ns();
  const std::chrono::nanoseconds until = finished != 0
                                             ? std::chrono::nanoseconds(finished)
                                             : std::chrono::steady_clock::now().time_since_epoch();
  stats.elapsed_ns =
      static_cast<std::uint64_t>((until - running.started.time_since_epoch()).count());
  stats.objects = running.objects.size();
  if (landing.integrity() != nullptr)
    stats.objects_verified = landing.integrity()->objects_verified();
  stats.consumer_wait_ns = running.consumer_wait_ns.load(std::memory_order_relaxed);
  return stats;
}

std::string Load::explain() const {
  std::string text;
  for (const Decision& decision : running_->sizes.decisions)
    text += fmt::format("{}: {}: {}\n", decision.name, decision.value, decision.reason);
  return text;
}

std::string Load::notes() const {
  std::string notes = running_->landing().notes().text();
  running_->for_each_source([&](const Source& source) { notes += source.notes(); });
  return notes;
}

}  // namespace streamer::core::inline engine
