// SPDX-License-Identifier: Apache-2.0
// Ratios of loads from files to raw ceilings, measured in the same run: rounds of raw and ours take
// turns, medians and spreads are printed. Usage: file_bench [FOLDER] [MiB] [ROUNDS]
// [small]; with the last word, small tensors only.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/chunk_queue.hpp"
#include "engine/landing.hpp"
#include "engine/load.hpp"
#include "memory/arena.hpp"
#include "support/raw_checkpoint.hpp"

#if STREAMER_HAVE_LIBURING
#include <liburing.h>
#endif

using namespace streamer::core;
using namespace streamer::test;

namespace {

struct Sample {
  double seconds = 0;
  double cpu_seconds = 0;
  double page_faults = 0;
};

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

Sample measure(const std::function<void()>& body) {
  rusage before{};
  rusage after{};
  ::getrusage(RUSAGE_SELF, &before);
  const auto began = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  ::getrusage(RUSAGE_SELF, &after);
  return {took.count(),
          seconds_of(after.ru_utime) + seconds_of(after.ru_stime) - seconds_of(before.ru_utime) -
              seconds_of(before.ru_stime),
          static_cast<double>(after.ru_minflt - before.ru_minflt)};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void require(bool condition, const char* what) {
  if (condition) return;
  fmt::print(stderr, "{}\n", what);
  std::exit(1);
}

// Runs the bodies in turn, `rounds` times after one round that does not count.
std::vector<std::vector<Sample>> take_turns(const std::vector<std::function<void()>>& bodies,
                                            const std::function<void()>& before, int rounds) {
  std::vector<std::vector<Sample>> samples(bodies.size());
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      before();
      const Sample sample = measure(bodies[i]);
      if (round >= 0) samples[i].push_back(sample);
    }
  }
  return samples;
}

std::vector<double> column(const std::vector<Sample>& samples, double Sample::*field,
                           double scale) {
  std::vector<double> values;
  for (const Sample& sample : samples)
    values.push_back(sample.*field * scale);
  return values;
}

struct Row {
  double gb_per_s;
  double cpu_per_gb;
};

Row print_row(const std::string& name, const std::vector<Sample>& samples, double gigabytes) {
  std::vector<double> speeds;
  for (const Sample& sample : samples)
    speeds.push_back(gigabytes / sample.seconds);
  const Row row{median(speeds), median(column(samples, &Sample::cpu_seconds, 1 / gigabytes))};
  fmt::print("  {:<34} {:6.2f} GB/s ({:.2f}..{:.2f})  {:.3f} CPU-s/GB  {:.0f} faults/GB\n", name,
             row.gb_per_s, *std::min_element(speeds.begin(), speeds.end()),
             *std::max_element(speeds.begin(), speeds.end()), row.cpu_per_gb,
             median(column(samples, &Sample::page_faults, 1 / gigabytes)));
  return row;
}

void print_ratio(const Row& raw, const Row& ours) {
  fmt::print("  ours/raw: speed {:.3f}, CPU {:.3f}\n\n", ours.gb_per_s / raw.gb_per_s,
             ours.cpu_per_gb / raw.cpu_per_gb);
}

class Bench {
 public:
  Bench(std::filesystem::path folder, std::uint64_t bytes, int rounds)
      : folder_(std::move(folder)), bytes_(bytes), rounds_(rounds) {
    memory_ = *Arena::reserve(bytes_ + kPageBytes);
    std::memset(memory_.data(), 1, memory_.bytes());
    write_file();
  }
  ~Bench() { std::filesystem::remove(path_); }

  void cached() {
    fmt::print("page cache to touched memory of the caller\n");
    warm();
    const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 2U, 16U);
    std::vector<std::function<void()>> bodies = {[&] { load_into_memory({}); }};
    std::vector<std::string> names = {"ours"};
    for (const std::uint64_t chunk : {256 * kKiB, kMiB, 2 * kMiB, 8 * kMiB}) {
      bodies.emplace_back([&, chunk] { raw_preads(threads, chunk); });
      names.push_back(fmt::format("raw pread, {} threads x {} KiB", threads, chunk / kKiB));
    }
    compare(names, bodies, [] {});
  }

  void cold() {
    fmt::print("cold file to touched memory of the caller\n");
    std::vector<std::function<void()>> bodies = {[&] { load_into_memory({}); }};
    std::vector<std::string> names = {"ours"};
#if STREAMER_HAVE_LIBURING
    for (const unsigned depth : {4U, 8U, 16U, 32U}) {
      bodies.emplace_back([&, depth] { raw_io_uring(depth, 2 * kMiB); });
      names.push_back(fmt::format("raw O_DIRECT io_uring, {} x 2 MiB", depth));
    }
#endif
    compare(names, bodies, [&] { drop(); });
  }

  void fresh_memory() {
    fmt::print("page cache to memory of the library\n");
    warm();
    const auto checkpoint = tensors_of(4 * kMiB);
    LoadSettings limited;
    limited.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 64 * kMiB});
    const auto samples = take_turns(
        {[&] { load(checkpoint, {}); }, [&] { load(checkpoint, limited); }}, [] {}, rounds_);
    print_row("no limit", samples[0], gigabytes());
    print_row("limit of 64 MiB", samples[1], gigabytes());
    fmt::print("\n");
  }

  void small_tensors() {
    fmt::print(
        "page cache to touched memory of the caller: many small tensors against one large\n");
    warm();
    const std::uint64_t count = std::min<std::uint64_t>(100'000, bytes_ / 4096);
    const auto small = tensors_of(4096, count);
    const auto large = tensors_of(4096 * count, 1);
    const auto samples = take_turns(
        {[&] { load(small, {}, memory_.data()); }, [&] { load(large, {}, memory_.data()); }}, [] {},
        rounds_);
    const double gb = static_cast<double>(4096 * count) / 1e9;
    const Row many = print_row(fmt::format("{} tensors of 4 KiB", count), samples[0], gb);
    const Row one = print_row("one tensor", samples[1], gb);
    fmt::print("  many/one: speed {:.3f}\n\n", many.gb_per_s / one.gb_per_s);
  }

  void scheduler() {
    constexpr std::uint32_t kChunks = 1'000'000;
    fmt::print("the scheduler alone: claim, admit, land, push, pop; {} chunks\n", kChunks);
    RawFile file;
    for (std::uint32_t t = 0; t < kChunks; ++t)
      file.tensors.push_back({Dtype::u8, {4096}, t * 4096ULL});
    const TemporaryFolder folder;
    const auto checkpoint = make_raw_checkpoint(folder.path(), {file});
    for (const unsigned readers : {1U, 2U}) {
      std::vector<double> per_chunk;
      for (int round = 0; round < rounds_; ++round)
        per_chunk.push_back(schedule(checkpoint, readers));
      fmt::print("  {} readers: {:.0f} ns per chunk\n", readers, median(per_chunk));
    }
  }

 private:
  double gigabytes() const {
    return static_cast<double>(bytes_) / 1e9;
  }

  void write_file() {
    path_ = folder_ / "streamer-file-bench";
    const auto block = random_bytes(8 * kMiB, 1);
    std::ofstream file(path_, std::ios::binary);
    for (std::uint64_t at = 0; at < bytes_; at += block.size()) {
      file.write(reinterpret_cast<const char*>(block.data()),
                 static_cast<std::streamsize>(std::min<std::uint64_t>(block.size(), bytes_ - at)));
    }
    file.close();
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    require(::fsync(fd.get()) == 0, "fsync of the bench's file");
  }

  void warm() {
    raw_preads(1, 8 * kMiB);
  }
  void drop() {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    require(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) == 0, "dropping the page cache");
  }

  std::shared_ptr<const Checkpoint> tensors_of(std::uint64_t tensor_bytes,
                                               std::uint64_t most = UINT64_MAX) const {
    auto checkpoint = std::make_shared<Checkpoint>();
    checkpoint->stores = std::make_shared<Stores>(Settings());
    checkpoint->objects.emplace_back().object = *stat_file(Uri("file", path_.string()));
    std::uint32_t number = 0;
    for (std::uint64_t at = 0; at + tensor_bytes <= bytes_ && number < most; at += tensor_bytes) {
      const std::uint64_t shape[] = {tensor_bytes};
      const std::string name = std::to_string(number++);
      checkpoint->tensors.add({name, Dtype::u8, shape, 0, {at, tensor_bytes}});
    }
    require(!checkpoint->tensors.finish(), "the bench's tensors");
    return checkpoint;
  }

  void load(const std::shared_ptr<const Checkpoint>& checkpoint, const LoadSettings& settings,
            std::byte* destination = nullptr) {
    std::vector<PlanRequest> requests(checkpoint->tensors.size());
    for (std::uint32_t t = 0; t < requests.size(); ++t) {
      requests[t].tensor = t;
      if (destination != nullptr)
        requests[t].destination = destination + checkpoint->tensors[t].bytes.offset;
    }
    auto started = Load::start(checkpoint, std::move(requests), {}, settings);
    require(started.has_value(), "starting a load");
    for (;;) {
      auto next = (*started)->next(std::nullopt);
      require(next.has_value(), "the next tensor");
      if (next->outcome == Load::Outcome::end) return;
      next->lease->release();
    }
  }

  void load_into_memory(const LoadSettings& settings) {
    load(tensors_of(64 * kMiB), settings, memory_.data());
  }

  void raw_preads(unsigned threads, std::uint64_t chunk) {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    std::atomic<std::uint64_t> next{0};
    std::vector<std::thread> readers;
    for (unsigned i = 0; i < threads; ++i) {
      readers.emplace_back([&] {
        for (;;) {
          const std::uint64_t at = next.fetch_add(chunk);
          if (at >= bytes_) return;
          const std::uint64_t size = std::min(chunk, bytes_ - at);
          require(::pread(fd.get(), memory_.data() + at, size, static_cast<off_t>(at)) ==
                      static_cast<ssize_t>(size),
                  "raw pread");
        }
      });
    }
    for (std::thread& reader : readers)
      reader.join();
  }

#if STREAMER_HAVE_LIBURING
  void raw_io_uring(unsigned depth, std::uint64_t chunk) {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_DIRECT));
    require(static_cast<bool>(fd), "O_DIRECT");
    io_uring ring{};
    require(::io_uring_queue_init(depth, &ring, 0) == 0, "io_uring");
    std::uint64_t at = 0;
    unsigned in_flight = 0;
    while (at < bytes_ || in_flight > 0) {
      while (at < bytes_ && in_flight < depth) {
        io_uring_sqe* const entry = ::io_uring_get_sqe(&ring);
        ::io_uring_prep_read(entry, fd.get(), memory_.data() + at,
                             static_cast<unsigned>(std::min(chunk, bytes_ - at)), at);
        at += chunk;
        ++in_flight;
      }
      ::io_uring_submit_and_wait(&ring, 1);
      io_uring_cqe* done = nullptr;
      while (::io_uring_peek_cqe(&ring, &done) == 0) {
        require(done->res > 0, "raw io_uring read");
        ::io_uring_cqe_seen(&ring, done);
        --in_flight;
      }
    }
    ::io_uring_queue_exit(&ring);
  }
#endif

  // Prints all, and the ratio of the first to the best of the others.
  void compare(const std::vector<std::string>& names,
               const std::vector<std::function<void()>>& bodies,
               const std::function<void()>& before) {
    const auto samples = take_turns(bodies, before, rounds_);
    const Row ours = print_row(names[0], samples[0], gigabytes());
    Row best{0, 0};
    for (std::size_t i = 1; i < names.size(); ++i) {
      const Row raw = print_row(names[i], samples[i], gigabytes());
      if (raw.gb_per_s > best.gb_per_s) best = raw;
    }
    print_ratio(best, ours);
  }

  // Nanoseconds of a reader's time per chunk, with nothing read.
  double schedule(const std::shared_ptr<const Checkpoint>& checkpoint, unsigned readers) {
    std::vector<PlanRequest> requests(checkpoint->tensors.size());
    for (std::uint32_t t = 0; t < requests.size(); ++t)
      requests[t].tensor = t;
    Plan plan = Plan::make(*make_reading_list(checkpoint->tensors, requests, false), requests,
                           {.chunk_bytes = 4096, .window_bytes = 64 * kMiB});
    const auto chunks = static_cast<double>(plan.chunks().size());
    std::vector<std::uint32_t> numbers(plan.chunks().size());
    std::iota(numbers.begin(), numbers.end(), 0U);
    ChunkQueue queue(std::move(numbers));
    Landing landing(std::move(plan), LoadMemory{}, 0);
    const LoadCounters counters(readers);
    landing.begin(counters, readers);
    const Sample sample = measure([&] { race(landing, queue, counters); });
    return sample.cpu_seconds * 1e9 / chunks;
  }

  static void race(Landing& landing, ChunkQueue& queue, const LoadCounters& counters) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < counters.size(); ++i) {
      threads.emplace_back([&, i] {
        while (const auto claimed = queue.claim()) {
          const Chunk& chunk = landing.plan().chunks()[*claimed];
          while (!landing.admits(chunk))
            std::this_thread::yield();
          landing.chunk_landed(chunk, counters[i]);
        }
      });
    }
    for (std::size_t left = landing.plan().items().size(); left > 0;) {
      const auto item = landing.take_ready();
      if (!item) {
        std::this_thread::yield();
        continue;
      }
      landing.release_item(*item);
      --left;
    }
    for (std::thread& thread : threads)
      thread.join();
  }

  const std::filesystem::path folder_;
  const std::uint64_t bytes_;
  const int rounds_;
  std::filesystem::path path_;
  Arena memory_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder =
      argc > 1 ? std::filesystem::path(argv[1]) : std::filesystem::temp_directory_path();
  const std::uint64_t mebibytes = argc > 2 ? std::stoull(argv[2]) : 1024;
  const int rounds = argc > 3 ? std::stoi(argv[3]) : 5;
  Bench bench(folder, mebibytes * kMiB, rounds);
  if (argc > 4 && std::string_view(argv[4]) == "small") {
    bench.small_tensors();
    return 0;
  }
  bench.scheduler();
  bench.cached();
  bench.cold();
  bench.fresh_memory();
  bench.small_tensors();
}
