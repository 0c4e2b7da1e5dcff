// SPDX-License-Identifier: Apache-2.0
// What the GPU kit proves and measures: kit_main FOLDER PREFIX MIB MINUTES DEVICE. FOLDER: on the
// disk whose files are read; PREFIX: of the two files with what was found.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/bytes.hpp"
#include "gpu/copy_rate.hpp"
#include "gpu/device_memory.hpp"
#include "gpu/device_thread.hpp"
#include "gpu/gpu_kinds.hpp"
#include "kit_data.hpp"
#include "kit_measure.hpp"
#include "memory/arena.hpp"
#include "streamer/streamer.hpp"

namespace streamer::test {

namespace {

using core::GpuRuntime;
using core::GpuStream;

core::Error as_core(const streamer::Error& error) {
  return core::Error(static_cast<core::ErrorKind>(error.kind()), std::string(error.line()));
}

// Runs body on a thread that has the device, and returns its outcome.
template <typename Body>
auto on_device(GpuRuntime& runtime, int device, const Body& body) -> decltype(body()) {
  decltype(body()) outcome = core::Error(core::ErrorKind::device, "the device cannot be used");
  TRY(core::try_on_device(runtime, device, [&] { outcome = body(); }));
  return outcome;
}

class Kit {
 public:
  Kit(KitReport& report, GpuRuntime& runtime, streamer::Device device, KitFile file)
      : report_(report), runtime_(runtime), device_(device), file_(std::move(file)) {}

  void run(std::uint64_t tmpfs_bytes);

 private:
  using Given = std::vector<std::pair<std::string, std::string>>;

  // One load of everything. take: of each tensor.
  core::Result<void> load(const std::string& uri, const Given& settings, Device to, void* stream,
                          const std::function<core::Result<void>(const Tensor&)>& take);
  core::Result<double> rate(const std::string& uri, const Given& settings, Device device);
  core::Result<double> rate(const std::string& uri, const Given& settings) {
    return rate(uri, settings, device_);
  }
  // Each tensor is compared once it was yielded, or all by a stream that the load only orders.
  core::Result<std::uint64_t> compared(const std::string& uri, const Given& settings);
  core::Result<std::uint64_t> ordered(const std::string& uri, const Given& settings);

  void prove();
  void measure_copies();
  void sweep();
  void measure_sources(std::uint64_t tmpfs_bytes);
  void measure_source(const std::string& name, const std::string& uri, const Given& settings,
                      const std::function<core::Result<double>()>& read);
  core::Result<double> copy(const std::byte* from, std::uint64_t all, std::uint64_t piece,
                            unsigned streams);

  [[nodiscard]] std::string path() const { return file_.path.string(); }

  KitReport& report_;
  GpuRuntime& runtime_;
  const Device device_;
  const KitFile file_;
  double copies_ = 0;  // GB/s
};

core::Result<void> Kit::load(const std::string& uri, const Given& settings, Device to, void* stream,
                             const std::function<core::Result<void>(const Tensor&)>& take) {
  auto checkpoint = Checkpoint::open({uri});
  if (!checkpoint) return as_core(checkpoint.error());
  LoadOptions options;
  options.device = to;
  options.stream = stream;
  options.settings = settings;
  auto started = Load::start(*checkpoint, everything(), options);
  if (!started) return as_core(started.error());
  for (;;) {
    auto tensor = started->next();
    if (!tensor) return as_core(tensor.error());
    if (!*tensor) return {};
    TRY(take(**tensor));
  }
}

core::Result<double> Kit::rate(const std::string& uri, const Given& settings, Device device) {
  const auto once = [&] {
    return load(uri, settings, device, nullptr,
                [](const Tensor&) -> core::Result<void> { return {}; });
  };
  return best_rate(file_.data_bytes, once);
}

core::Result<std::uint64_t> Kit::compared(const std::string& uri, const Given& settings) {
  std::uint64_t bytes = 0;
  const GpuStream stream =
      TRY(on_device(runtime_, device_.number, [&] { return runtime_.create_stream(); }));
  auto outcome =
      load(uri, settings, device_, nullptr, [&](const Tensor& tensor) -> core::Result<void> {
        std::vector<std::byte> back(tensor.bytes().size());
        const auto take_back = [&]() -> core::Result<void> {
          TRY(runtime_.copy_to_host(back.data(), tensor.bytes().data(), back.size(), stream));
          return runtime_.synchronize(stream);
        };
        TRY(on_device(runtime_, device_.number, take_back));
        if (!are_kit_bytes(back.data(), back.size(), file_.offsets[tensor.number()])) {
          return core::Error(core::ErrorKind::device,
                             fmt::format("{} is not what it was", tensor.name()));
        }
        bytes += back.size();
        return {};
      });
  TRY(on_device(runtime_, device_.number, [&] { return runtime_.destroy_stream(stream); }));
  TRY(std::move(outcome));
  return bytes;
}

core::Result<std::uint64_t> Kit::ordered(const std::string& uri, const Given& settings) {
  // Pinned: copies back are queued, and the thread that releases the tensor never waits.
  core::Arena back = TRY(core::Arena::reserve(core::round_up(file_.data_bytes, core::kPageBytes)));
  std::memset(back.data(), 0, back.bytes());
  const auto begin = [&]() -> core::Result<GpuStream> {
    TRY(runtime_.pin(back.data(), back.bytes()));
    return runtime_.create_stream();
  };
  const GpuStream stream = TRY(on_device(runtime_, device_.number, begin));
  auto outcome =
      load(uri, settings, device_, stream, [&](const Tensor& tensor) -> core::Result<void> {
        return on_device(runtime_, device_.number, [&] {
          return runtime_.copy_to_host(back.data() + file_.offsets[tensor.number()],
                                       tensor.bytes().data(), tensor.bytes().size(), stream);
        });
      });
  const auto end = [&]() -> core::Result<void> {
    TRY(runtime_.synchronize(stream));
    TRY(runtime_.destroy_stream(stream));
    return runtime_.unpin(back.data());
  };
  TRY(on_device(runtime_, device_.number, end));
  TRY(std::move(outcome));
  if (!are_kit_bytes(back.data(), file_.data_bytes, 0))
    return core::Error(core::ErrorKind::device, "the consumer's stream did not see every byte");
  return file_.data_bytes;
}

void Kit::prove() {
  const std::string largest = std::to_string(64 << 20);
  report_.prove("bytes", "page cache", [&] { return compared(path(), {}); });
  report_.prove("bytes", "past the page cache", [&] {
    return compared(path(), {{"file_io", "direct"}});
  });
  report_.prove("bytes", "a ring of 64 MiB on the device", [&] {
    return compared(path(), {{"device_memory_limit", largest}});
  });
  report_.prove("bytes", "from the memory pool, 4 streams", [&] {
    return compared(path(), {{"debug.device_allocator", "pool"}, {"debug.device_streams", "4"}});
  });
  report_.prove("streams", "a consumer's stream, no wait on the host", [&] {
    return ordered(path(), {{"debug.device_streams", "3"}});
  });
  report_.prove("streams", "the same, over a ring that is overwritten", [&] {
    return ordered(path(), {{"device_memory_limit", largest}, {"debug.device_streams", "3"}});
  });
  const int devices = *runtime_.device_count();
  for (int number = 0; number < devices; ++number) {
    if (number == device_.number) continue;
    report_.measure("devices", fmt::format("cuda:{}, a load to it", number), "GB/s",
                    [&] { return rate(path(), {}, cuda(number)); });
  }
}

// GB/s of copies in pieces, round-robin over streams.
core::Result<double> Kit::copy(const std::byte* from, std::uint64_t all, std::uint64_t piece,
                               unsigned streams) {
  return on_device(runtime_, device_.number, [&]() -> core::Result<double> {
    core::DeviceMemory memory(runtime_, device_.number, all, core::DeviceAllocator::malloc);
    TRY(memory.allocate());
    std::vector<GpuStream> made;
    for (unsigned i = 0; i < streams; ++i)
      made.push_back(TRY(runtime_.create_stream()));
    auto outcome = best_rate(all, [&]() -> core::Result<void> {
      std::size_t turn = 0;
      for (std::uint64_t at = 0; at < all; at += piece) {
        TRY(runtime_.copy_to_device(memory.data() + at, from + at, std::min(piece, all - at),
                                    made[turn++ % made.size()]));
      }
      return runtime_.synchronize_device();
    });
    for (const GpuStream stream : made)
      TRY(runtime_.destroy_stream(stream));
    return outcome;
  });
}

void Kit::measure_copies() {
  const std::uint64_t all = std::min<std::uint64_t>(256 << 20, file_.data_bytes / 4096 * 4096);
  report_.measure("copies", "a load's calls: pinned segments of 2 MiB", "GB/s",
                  [&]() -> core::Result<double> {
                    copies_ = TRY(core::measure_copy_rate(runtime_, device_.number)) / 1e9;
                    return copies_;
                  });
  auto reserved = core::Arena::reserve(all);
  if (!reserved) return report_.fail("copies", "host memory", reserved.error().line());
  core::Arena& memory = *reserved;
  std::memset(memory.data(), 1, all);
  for (const unsigned streams : {1U, 2U, 4U}) {
    report_.measure("copies", fmt::format("memory that is not pinned, {} streams", streams), "GB/s",
                    [&] { return copy(memory.data(), all, 2 << 20, streams); });
  }
  bool is_pinned = false;
  report_.measure("copies", "pinning memory that is there", "GB/s", [&]() -> core::Result<double> {
    return on_device(runtime_, device_.number, [&]() -> core::Result<double> {
      const auto began = std::chrono::steady_clock::now();
      TRY(runtime_.pin(memory.data(), all));
      is_pinned = true;
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
      return static_cast<double>(all) / 1e9 / took.count();
    });
  });
  for (const std::uint64_t piece :
       {256ULL << 10, 512ULL << 10, 1ULL << 20, 2ULL << 20, 4ULL << 20, 16ULL << 20, 64ULL << 20}) {
    for (const unsigned streams : {1U, 2U, 4U}) {
      report_.measure("copies",
                      fmt::format("pinned, pieces of {} KiB, {} streams", piece >> 10, streams),
                      "GB/s", [&]() -> core::Result<double> {
                        if (!is_pinned) return core::Error(core::ErrorKind::device, "not pinned");
                        return copy(memory.data(), all, piece, streams);
                      });
    }
  }
  if (is_pinned) {
    const auto unpinned =
        on_device(runtime_, device_.number, [&] { return runtime_.unpin(memory.data()); });
    if (!unpinned) report_.fail("copies", "unpinning", unpinned.error().line());
  }
  // The page cache itself, registered and copied from: no copy on the host.
  report_.measure(
      "copies", "the page cache, registered, registering included", "GB/s",
      [&]() -> core::Result<double> {
        const int fd = ::open(path().c_str(), O_RDWR | O_CLOEXEC);
        void* const mapped =
            ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        ::close(fd);
        if (mapped == MAP_FAILED) return core::Error(core::ErrorKind::io, "mmap failed");
        const auto began = std::chrono::steady_clock::now();
        auto outcome = on_device(runtime_, device_.number, [&]() -> core::Result<double> {
          TRY(runtime_.pin(mapped, all));
          const double seconds =
              std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
          const double copied = TRY(copy(static_cast<std::byte*>(mapped), all, 16 << 20, 1));
          TRY(runtime_.unpin(mapped));
          return static_cast<double>(all) / 1e9 /
                 (seconds + static_cast<double>(all) / 1e9 / copied);
        });
        ::munmap(mapped, all);
        return outcome;
      });
}

void Kit::sweep() {
  for (const int staging : {16, 32, 64, 128, 256}) {
    for (const int segment_kib : {512, 1024, 2048, 4096, 8192}) {
      report_.measure(
          "ring", fmt::format("{} MiB in segments of {} KiB", staging, segment_kib), "GB/s", [&] {
            return rate(path(),
                        {{"debug.staging_bytes", fmt::format("{}MiB", staging)},
                         {"debug.staging_segment_bytes", fmt::format("{}KiB", segment_kib)}});
          });
    }
  }
  for (const int streams : {1, 2, 4}) {
    report_.measure("streams", fmt::format("a load over {} streams", streams), "GB/s", [&] {
      return rate(path(), {{"debug.device_streams", std::to_string(streams)}});
    });
  }
  for (const int threads : {1, 2, 4, 8, 16}) {
    report_.measure("threads", fmt::format("{} threads copy from the page cache", threads), "GB/s",
                    [&] {
                      return rate(path(), {{"concurrency", std::to_string(threads)}});
                    });
  }
  trim();
}

// The load, what it reads, what the device takes, and how near it comes to the slower of both.
void Kit::measure_source(const std::string& name, const std::string& uri, const Given& settings,
                         const std::function<core::Result<double>()>& read) {
  double loaded = 0;
  report_.measure(name, "load", "GB/s", [&]() -> core::Result<double> {
    loaded = TRY(rate(uri, settings));
    return loaded;
  });
  double plain = 0;
  report_.measure(name, "read alone", "GB/s", [&]() -> core::Result<double> {
    plain = TRY(read());
    return plain;
  });
  if (loaded == 0 || plain == 0 || copies_ == 0) return;
  const double slower = std::min(plain, copies_);
  report_.add(name, "min(copies, read)", slower, "GB/s");
  report_.add(name, "load / min(copies, read)", loaded / slower, "");
}

void Kit::measure_sources(std::uint64_t tmpfs_bytes) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, 16U);
  const auto read_of = [&](const std::filesystem::path& of, int flags) {
    return [this, of, threads, flags] {
      return best_rate(file_.data_bytes, [&] { return read_plainly(of, threads, flags); });
    };
  };
  measure_source("page cache", path(), {}, read_of(file_.path, 0));
  // Direct reads leave the file as it is: not in the page cache, in the second round neither.
  report_.measure("disk", "MiB dropped from the page cache", "MiB", [&]() -> core::Result<double> {
    TRY(make_cold(file_.path));
    return static_cast<double>(file_.data_bytes >> 20);
  });
  measure_source("disk", path(), {{"file_io", "direct"}}, read_of(file_.path, O_DIRECT));
  report_.measure("disk", "the same through cuFile", "GB/s", [&]() -> core::Result<double> {
    TRY(make_cold(file_.path));
    return rate(path(), {{"gpudirect", "on"}, {"file_io", "direct"}});
  });
  const std::filesystem::path shared =
      std::filesystem::path("/dev/shm") / fmt::format("streamer-kit-{}", ::getpid());
  if (tmpfs_bytes > file_.data_bytes + file_.data_bytes / 8) {
    std::error_code failed;
    std::filesystem::copy_file(file_.path, shared, failed);
    if (failed) {
      report_.add("tmpfs", "load", {}, "GB/s", "not measured: " + failed.message());
    } else {
      measure_source("tmpfs", shared.string(), {}, read_of(shared, 0));
    }
    std::filesystem::remove(shared, failed);
  } else {
    report_.add("tmpfs", "load", {}, "GB/s", "not measured: /dev/shm has no room");
  }
  auto server = KitServer::start(file_.path);
  if (!server) return report_.fail("loopback", "server", server.error().line());
  const std::string url = (*server)->url();
  report_.prove("bytes", "http on loopback", [&] { return compared(url, {}); });
  measure_source("loopback", url, {}, [&] { return rate(url, {}, host()); });
}

void Kit::run(std::uint64_t tmpfs_bytes) {
  prove();
  measure_copies();
  measure_sources(tmpfs_bytes);
  sweep();
}

extern "C" void take_step(const streamer_step_info* step, void* user) {
  auto& report = *static_cast<KitReport*>(user);
  const bool is_ok = step->status == STREAMER_OK;
  if (!is_ok) return report.fail("doctor", step->name, step->detail);
  report.add("doctor", step->name, static_cast<double>(step->elapsed_ns) / 1e6, "ms", step->detail);
}

int run(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "kit_main FOLDER PREFIX MIB MINUTES DEVICE\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);  // sendfile() to a load that ended early raises it
  const std::filesystem::path folder = argv[1];
  KitReport report(argv[2],
                   std::chrono::seconds(static_cast<long>(std::strtod(argv[4], nullptr) * 60)));
  auto device = device_named(argv[5]);
  if (!device) {
    fmt::print(stderr, "{}\n", std::string(device.error().line()));
    return 2;
  }
  const auto diagnosed = diagnose_device(*device, take_step, &report);
  bool is_well = static_cast<bool>(diagnosed);
  if (is_well) {
    auto runtime = core::runtime_of({core::kCudaKind, device->number});
    auto file = make_kit_file(folder / "m.safetensors", std::strtoull(argv[3], nullptr, 10) << 20);
    if (runtime && file) {
      std::error_code unknown;
      const auto space = std::filesystem::space("/dev/shm", unknown);
      Kit(report, **runtime, *device, *std::move(file)).run(unknown ? 0 : space.available);
    } else {
      is_well = false;
      report.fail("kit", "start", runtime ? file.error().line() : runtime.error().line());
    }
  }
  if (!report.write()) {
    std::perror(argv[2]);
    return 1;
  }
  return is_well && !report.has_failed() ? 0 : 1;
}

}  // namespace

}  // namespace streamer::test

int main(int argc, char** argv) {
  return streamer::test::run(argc, argv);
}
