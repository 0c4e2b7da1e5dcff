// SPDX-License-Identifier: Apache-2.0
// Replays the corpus, then changes its headers at random and checks each: mutate_headers CORPUS
// COUNT [SEED]. Deterministic: the same seed makes the same headers.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/header_fuzz.hpp"

using namespace streamer::test;

namespace {

struct Seed {
  std::string header;
  std::uint64_t data_bytes;
};

// A corpus file is a line with the number of data bytes, then the header.
std::vector<Seed> read_corpus(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Seed> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    Seed seed;
    file >> seed.data_bytes;
    file.get();
    seed.header.assign(std::istreambuf_iterator<char>(file), {});
    seeds.push_back(std::move(seed));
  }
  return seeds;
}

class Mutator {
 public:
  Mutator(const std::vector<Seed>& seeds, std::uint64_t seed) : seeds_(seeds), engine_(seed) {}

  Seed next() {
    Seed made = seeds_[below(seeds_.size())];
    for (std::uint64_t changes = 1 + below(4); changes > 0; --changes)
      change(made);
    return made;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : engine_() % n; }

  void change(Seed& seed) {
    static constexpr std::string_view kWords[] = {"0",
                                                  "1",
                                                  "-1",
                                                  "18446744073709551615",
                                                  "18446744073709551616",
                                                  "1e400",
                                                  "null",
                                                  "true",
                                                  "{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ",",
                                                  ":",
                                                  "\"",
                                                  "\\",
                                                  "\\u0000",
                                                  "\\ud800",
                                                  "\xFF",
                                                  "\xC0\x80",
                                                  "F32",
                                                  "F4",
                                                  "U8",
                                                  "\"dtype\"",
                                                  "\"shape\"",
                                                  "\"data_offsets\"",
                                                  "\"__metadata__\"",
                                                  " ",
                                                  "\n"};
    std::string& text = seed.header;
    const std::size_t at = below(text.size() + 1);
    switch (below(7)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(engine_());
        break;
      case 1:
        text.erase(at, 1 + below(8));
        break;
      case 2:
        text.insert(at, kWords[below(std::size(kWords))]);
        break;
      case 3: {
        const std::size_t from = below(text.size() + 1);
        text.insert(at, text.substr(from, below(40)));
        break;
      }
      case 4:
        if (at < text.size() && text[at] >= '0' && text[at] <= '9') {
          text[at] = static_cast<char>('0' + below(10));
        }
        break;
      case 5: {
        // A digit somewhere after this place: numbers matter most here.
        const std::size_t digit = text.find_first_of("0123456789", at);
        if (digit != std::string::npos) text.replace(digit, 1, kWords[below(6)]);
        break;
      }
      default:
        seed.data_bytes = below(4) == 0 ? engine_() : seed.data_bytes + below(3) - 1;
    }
  }

  const std::vector<Seed>& seeds_;
  std::mt19937_64 engine_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::vector<Seed> seeds = read_corpus(argv[1]);
  const std::uint64_t count = std::stoull(argv[2]);
  const std::uint64_t first_seed = argc > 3 ? std::stoull(argv[3]) : 1;
  std::printf("%zu headers of the corpus, %llu changed ones, seed %llu\n", seeds.size(),
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(first_seed));
  std::uint64_t valid = 0;
  for (const Seed& seed : seeds)
    valid += check_header(seed.header, seed.data_bytes) ? 1 : 0;
  must(valid == seeds.size(), "every header of the corpus is valid");
  valid = 0;
  Mutator mutator(seeds, first_seed);
  for (std::uint64_t i = 0; i < count; ++i) {
    const Seed made = mutator.next();
    // Beyond 2^63 offsets of files end.
    valid += check_header(made.header, made.data_bytes & INT64_MAX) ? 1 : 0;
  }
  std::printf("%llu of them are valid\n", static_cast<unsigned long long>(valid));
  must(count < 1000 || valid > count / 1000, "some changed headers are still valid");
}
