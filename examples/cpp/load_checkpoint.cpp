// SPDX-License-Identifier: Apache-2.0
// Streams a checkpoint to host memory and prints each tensor as soon as it is there.
#include <cstdio>

#include "streamer/streamer.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const auto checkpoint = streamer::Checkpoint::open({argv[1]});
  if (!checkpoint) {
    std::fprintf(stderr, "%s\n", checkpoint.error().line());
    return 1;
  }
  auto load = streamer::Load::start(*checkpoint);
  if (!load) {
    std::fprintf(stderr, "%s\n", load.error().line());
    return 1;
  }
  for (;;) {
    auto tensor = load->next();
    if (!tensor) {
      std::fprintf(stderr, "%s\n", tensor.error().line());
      return 1;
    }
    if (!*tensor) break;  // all were yielded
    std::printf("%10zu bytes at %p: %s\n", (*tensor)->bytes().size(),
                static_cast<void*>((*tensor)->bytes().data()), (*tensor)->name().data());
  }
  const streamer::LoadStats stats = load->stats();
  std::printf("%.3f GB, of which %.3f were read at %.2f GB/s, held back by: %s\n",
              static_cast<double>(stats.bytes_ready) / 1e9,
              static_cast<double>(stats.bytes_read) / 1e9,
              static_cast<double>(stats.bytes_read) / static_cast<double>(stats.elapsed_ns),
              streamer::held_back_by(stats).data());
  return 0;
}
