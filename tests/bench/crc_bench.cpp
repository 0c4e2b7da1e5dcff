// SPDX-License-Identifier: Apache-2.0
// CRCs by each method as ratios to the tables and to reading memory, and what verifying costs a
// load over http. Medians; what is compared takes turns. Usage: crc_bench FOLDER-ON-TMPFS [MiB]
// [ROUNDS]
#include <csignal>
#include <cstring>
#include <memory>

#include "base/checksum.hpp"
#include "base/crc.hpp"
#include "base/crypto.hpp"
#include "base/text.hpp"
#include "bench/loopback_nginx.hpp"
#include "engine/load.hpp"
#include "memory/arena.hpp"

using namespace streamer::core;
using namespace streamer::bench;

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Every cache line is touched, and little else is done.
std::uint64_t read_all(std::string_view bytes) {
  std::uint64_t sums[8] = {};
  for (std::size_t at = 0; at + 64 <= bytes.size(); at += 64) {
    std::uint64_t words[8];
    std::memcpy(words, bytes.data() + at, sizeof words);
    for (int i = 0; i < 8; ++i)
      sums[i] ^= words[i];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums)
    all ^= sum;
  return all;
}

struct Way {
  std::string name;
  std::function<std::uint64_t(std::string_view)> run;
  std::vector<double> gb_per_cpu_s = {};
};

template <typename Crc>
void add_ways(const char* name, std::vector<Way>& ways) {
  constexpr const char* kNames[] = {"tables", "folding", "wide folding"};
  for (int method = 0; method <= static_cast<int>(best_crc_method()); ++method) {
    ways.push_back({fmt::format("{}, {}", name, kNames[method]), [method](std::string_view bytes) {
                      return crc_update_by<Crc>(static_cast<CrcMethod>(method), 0, bytes);
                    }});
  }
}

// piece: what is summed again and again, so that it is in the cache or is not.
void compare_methods(std::string_view memory, std::size_t piece, int rounds) {
  std::vector<Way> ways = {{"reading alone", read_all}};
  add_ways<Crc32>("CRC32", ways);
  add_ways<Crc32c>("CRC32C", ways);
  add_ways<Crc64Nvme>("CRC64NVME", ways);
  std::uint64_t unused = 0;
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) {
      const Sample sample = measure([&] {
        for (std::size_t done = 0; done < memory.size(); done += piece)
          unused ^= way.run(memory.substr(piece < memory.size() ? 0 : done, piece));
      });
      way.gb_per_cpu_s.push_back(static_cast<double>(memory.size()) / 1e9 / sample.cpu_seconds);
    }
  }
  fmt::print("{} MiB at a time (sum {}), median of {}\n", piece / kMiB, unused & 1, rounds);
  double tables = 1;
  for (const Way& way : ways) {
    const double rate = median(way.gb_per_cpu_s);
    if (&way == &ways.front() || way.name.ends_with("tables")) tables = rate;
    fmt::print("  {:<24} {:6.2f} GB per CPU second: {:5.2f} of tables, {:.2f} of reading alone\n",
               way.name, rate, rate / tables, rate / median(ways[0].gb_per_cpu_s));
  }
}

class LoadOverHttp {
 public:
  LoadOverHttp(const std::string& verify, std::byte* to) : to_(to) {
    if (!verify.empty()) require(bool(settings_.set(setting::kVerify, verify)), "verify");
    const std::vector<std::string> uris = {
        fmt::format("http://127.0.0.1:{}/bucket/m.safetensors", Nginx::port(false))};
    auto opened = open_checkpoint(uris, std::make_shared<Stores>(settings_));
    if (!opened) require(false, opened.error().line());
    checkpoint_ = *opened;
  }

  void run() const {
    std::vector<PlanRequest> requests;
    for (std::uint32_t t = 0; t < checkpoint_->tensors.size(); ++t)
      requests.push_back({.tensor = t, .destination = to_ + checkpoint_->tensors[t].bytes.offset});
    auto load = Load::start(checkpoint_, std::move(requests), {}, *read_load_settings(settings_));
    require(bool(load), "start");
    for (;;) {
      auto next = (*load)->next(std::nullopt);
      if (!next) require(false, next.error().line());
      if (next->outcome == Load::Outcome::end) break;
      next->lease->release();
    }
    const bool is_verified = (*load)->stats().objects_verified == 1;
    require(is_verified == read_load_settings(settings_)->get(setting::kVerify).has_value(),
            "not verified");
  }

 private:
  Settings settings_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::byte* const to_;
};

void compare_loads(const std::filesystem::path& folder, std::byte* memory, std::uint64_t bytes,
                   int rounds) {
  std::string stored(bytes, '\0');
  std::ifstream(folder / "bucket" / "m.safetensors", std::ios::binary)
      .read(stored.data(), static_cast<std::streamsize>(stored.size()));
  std::vector<std::pair<std::string, LoadOverHttp>> loads;
  loads.emplace_back("not verified", LoadOverHttp("", memory));
  for (const ChecksumKind kind :
       {ChecksumKind::crc32, ChecksumKind::crc32c, ChecksumKind::crc64nvme}) {
    const std::string name(checksum_name(kind));
    const auto manifest = folder / name;
    std::ofstream(manifest) << to_lower(name) << ":"
                            << hex(crc_bytes(kind, crc_update(kind, 0, stored)))
                            << "  m.safetensors\n";
    loads.emplace_back(name, LoadOverHttp(manifest.string(), memory));
  }
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  std::vector<std::vector<double>> costs(loads.size());
  std::vector<std::vector<double>> more(loads.size());
  for (int round = -1; round < rounds; ++round) {
    double without = 0;
    for (std::size_t i = 0; i < loads.size(); ++i) {
      const double cost = measure([&] { loads[i].second.run(); }).cpu_seconds / gigabytes;
      if (i == 0) without = cost;
      if (round < 0) continue;
      costs[i].push_back(cost);
      more[i].push_back(cost - without);
    }
  }
  fmt::print("loads over http, median of {} rounds\n", rounds);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    fmt::print("  {:<14} {:.3f} CPU-s/GB, {:+.3f} ({:+.3f}..{:+.3f}) to that without\n",
               loads[i].first, median(costs[i]), median(more[i]),
               *std::min_element(more[i].begin(), more[i].end()),
               *std::max_element(more[i].begin(), more[i].end()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder =
      argc > 1 ? argv[1] : fmt::format("/dev/shm/crc-bench-{}", ::getpid());
  const std::uint64_t mib = argc > 2 ? parse_unsigned(argv[2]).value_or(512) : 512;
  const int rounds = argc > 3 ? static_cast<int>(parse_unsigned(argv[3]).value_or(7)) : 7;
  ::signal(SIGPIPE, SIG_IGN);
  {
    const Nginx nginx(folder);
    const std::uint64_t bytes = write_checkpoint(folder / "bucket" / "m.safetensors", mib);
    pin_to(1);
    const Arena memory = *Arena::reserve(bytes + kMiB);
    std::memset(memory.data(), 1, memory.bytes());
    const std::string_view all(reinterpret_cast<const char*>(memory.data()), mib * kMiB);
    compare_methods(all, 2 * kMiB, rounds);
    compare_methods(all, all.size(), rounds);
    compare_loads(folder, memory.data(), bytes, rounds);
  }
  std::filesystem::remove_all(folder);
  return 0;
}
