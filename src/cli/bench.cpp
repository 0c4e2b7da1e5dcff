// SPDX-License-Identifier: Apache-2.0
// streamer bench: rounds of loads against rounds of plain reads of the same files, and of plain
// copies to the device, in turn.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "base/counted.hpp"
#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

struct Sample {
  double seconds = 0;
  double cpu_seconds = 0;
};

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

Sample measure(const std::function<void()>& body) {
  const double cpu_before = cpu_seconds();
  const auto began = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  return {took.count(), cpu_seconds() - cpu_before};
}

struct Summary {
  double median = 0;
  double lowest = 0;
  double highest = 0;
};

Summary summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

// Memory as a load's own: fresh, and of huge pages where the system gives them.
class FreshMemory {
 public:
  explicit FreshMemory(std::uint64_t bytes) : bytes_(bytes) {
    void* const mapped =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return;
    data_ = static_cast<char*>(mapped);
    ::madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  FreshMemory(const FreshMemory&) = delete;
  FreshMemory& operator=(const FreshMemory&) = delete;
  ~FreshMemory() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }
  char* data() const { return data_; }

 private:
  const std::uint64_t bytes_;
  char* data_ = nullptr;
};

// The same work without libstreamer: the files, in blocks of 2 MiB, to fresh memory, by as many
// threads. False if a file could not be read.
bool read_plainly(const Checkpoint& checkpoint, std::uint64_t threads) {
  constexpr std::uint64_t kBlockBytes = 2 << 20;
  struct File {
    int fd;
    std::uint64_t first_block;
    std::uint64_t blocks;
  };
  std::vector<File> files;
  std::uint64_t blocks = 0;
  bool is_readable = true;
  for (std::size_t i = 0; i < checkpoint.object_count(); ++i) {
    const ObjectInfo object = checkpoint.object(i);
    const std::uint64_t own = (object.bytes + kBlockBytes - 1) / kBlockBytes;
    files.push_back({::open(std::string(object.uri).c_str(), O_RDONLY | O_CLOEXEC), blocks, own});
    is_readable = is_readable && files.back().fd >= 0;
    blocks += own;
  }
  const FreshMemory memory(std::max<std::uint64_t>(blocks, 1) * kBlockBytes);
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> failed{!is_readable || memory.data() == nullptr};
  const auto read_some = [&] {
    for (std::uint64_t block = next++; block < blocks && !failed && !was_interrupted();
         block = next++) {
      const auto file = std::find_if(files.begin(), files.end(), [&](const File& f) {
        return block < f.first_block + f.blocks;
      });
      const auto offset = static_cast<off_t>((block - file->first_block) * kBlockBytes);
      char* const to = memory.data() + block * kBlockBytes;
      if (::pread(file->fd, to, kBlockBytes, offset) < 0) failed = true;
    }
  };
  std::vector<std::thread> readers;
  for (std::uint64_t i = 0; i < threads; ++i)
    readers.emplace_back(read_some);
  for (std::thread& reader : readers)
    reader.join();
  for (const File& file : files) {
    if (file.fd >= 0) ::close(file.fd);
  }
  return !failed;
}

class Bench {
 public:
  explicit Bench(LoadRequest request) : request_(std::move(request)) {
    for (std::size_t i = 0; i < request_.checkpoint.object_count(); ++i) {
      const std::string_view uri = request_.checkpoint.object(i).uri;
      if (uri.find("://") != std::string_view::npos) is_local_ = false;
    }
  }

  // The first round warms up and does not count.
  Result<void> run(int rounds) {
    for (int round = 0; round <= rounds; ++round) {
      Result<void> loaded;
      const Sample ours = measure([&] { loaded = load_once(); });
      if (!loaded) return loaded;
      if (request_.options.device != host()) {
        auto rate = copy_rate(request_.options.device);
        if (!rate) return std::move(rate).error();
        if (round != 0) copies_.push_back(*rate / 1e9);
      }
      if (!is_local_) {
        if (round != 0) ours_.push_back(ours);
        continue;
      }
      const Sample plain =
          measure([&] { is_plain_ok_ = read_plainly(request_.checkpoint, readers_); });
      // A load of nothing more than the error.
      if (was_interrupted()) return load_once();
      if (round == 0) continue;
      ours_.push_back(ours);
      plain_.push_back(plain);
    }
    return {};
  }

  void print() const {
    const double gigabytes = static_cast<double>(bytes_) / 1e9;
    std::uint64_t file_bytes = 0;
    for (std::size_t i = 0; i < request_.checkpoint.object_count(); ++i) {
      file_bytes += request_.checkpoint.object(i).bytes;
    }
    const Summary ours = speeds(ours_, gigabytes);
    const Summary plain =
        plain_.empty() ? Summary() : speeds(plain_, static_cast<double>(file_bytes) / 1e9);
    std::vector<double> cpu;
    for (const Sample& sample : ours_)
      cpu.push_back(sample.cpu_seconds / gigabytes);
    const double cpu_median = summarize(cpu).median;
    const double ratio = is_plain_ok_ ? ours.median / plain.median : 0;
    const Summary copies = copies_.empty() ? Summary() : summarize(copies_);
    // The slowest stage is what a load could reach at most.
    double ceiling = is_plain_ok_ ? plain.median : copies.median;
    if (!copies_.empty()) ceiling = std::min(ceiling, copies.median);
    if (prints_json()) {
      write_to(stdout,
               "{{\"bytes\":{},\"rounds\":{},\"readers\":{},\"gigabytes_per_second\":{:.3f},"
               "\"lowest\":{:.3f},\"highest\":{:.3f},\"cpu_seconds_per_gigabyte\":{:.4f},"
               "\"plain_gigabytes_per_second\":{:.3f},\"ratio_to_plain\":{:.3f},"
               "\"copy_gigabytes_per_second\":{:.3f},\"ratio_to_copy\":{:.3f},"
               "\"ratio_to_ceiling\":{:.3f}}}\n",
               bytes_, ours_.size(), readers_, ours.median, ours.lowest, ours.highest, cpu_median,
               plain.median, ratio, copies.median,
               copies_.empty() ? 0 : ours.median / copies.median,
               ceiling == 0 ? 0 : ours.median / ceiling);
      return;
    }
    write_to(stdout, "load        {:7.2f} GB/s ({:.2f}..{:.2f}), {:.3f} CPU seconds per GB, {}\n",
             ours.median, ours.lowest, ours.highest, cpu_median, core::counted(readers_, "reader"));
    if (!copies_.empty()) {
      write_to(stdout, "copies      {:7.2f} GB/s ({:.2f}..{:.2f}), pinned memory to the device\n",
               copies.median, copies.lowest, copies.highest);
      write_to(stdout, "load / copies: {:.3f}\n", ours.median / copies.median);
    }
    if (!is_local_) {
      write_to(stdout, "objects of a store: there are no plain reads to compare with\n");
      return;
    }
    write_to(stdout, "plain reads {:7.2f} GB/s ({:.2f}..{:.2f}), as many threads, the same files\n",
             plain.median, plain.lowest, plain.highest);
    write_to(stdout, "load / plain reads: {:.3f} (medians of {} rounds in turn)\n", ratio,
             ours_.size());
    if (!copies_.empty())
      write_to(stdout, "load / the slower of both: {:.3f}\n", ours.median / ceiling);
  }

 private:
  Result<void> load_once() {
    auto load = Load::start(request_.plan, request_.options);
    if (!load) return std::move(load).error();
    auto taken = take_all(
        *load, [](Tensor) { return Result<void>(); }, [] {});
    const LoadStats stats = load->stats();
    readers_ = stats.readers;
    bytes_ = stats.bytes_total;
    return taken;
  }

  static Summary speeds(const std::vector<Sample>& samples, double gigabytes) {
    std::vector<double> values;
    for (const Sample& sample : samples)
      values.push_back(gigabytes / sample.seconds);
    return summarize(values);
  }

  const LoadRequest request_;
  bool is_local_ = true;  // all of it, so that plain reads can be compared with
  std::uint64_t readers_ = 0;
  std::uint64_t bytes_ = 0;
  bool is_plain_ok_ = false;
  std::vector<Sample> ours_;
  std::vector<Sample> plain_;
  std::vector<double> copies_;  // GB/s
};

}  // namespace

int run_bench(const LoadArguments& arguments, int rounds) {
  auto request = make_request(arguments);
  if (!request) return report(request.error());
  Bench bench(*std::move(request));
  auto ran = bench.run(rounds);
  if (!ran) return report(ran.error());
  bench.print();
  return finish_output();
}

}  // namespace streamer::cli
