// SPDX-License-Identifier: Apache-2.0
#include "engine/plan.hpp"

#include <cstring>
#include <deque>
#include <random>

#include "engine/elastic_window.hpp"
#include "engine/window.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// The table of what random_files() made, without writing the files.
TensorTable table_of(const std::vector<RawFile>& files) {
  TensorTable table;
  for (std::uint32_t f = 0; f < files.size(); ++f) {
    for (std::size_t t = 0; t < files[f].tensors.size(); ++t) {
      const RawTensor& tensor = files[f].tensors[t];
      std::uint64_t bytes = dtype_row(tensor.dtype).bits / 8;
      for (const std::uint64_t extent : tensor.shape)
        bytes *= extent;
      table.add({std::to_string(f) + "." + std::to_string(t),
                 tensor.dtype,
                 tensor.shape,
                 f,
                 {tensor.offset, bytes}});
    }
  }
  REQUIRE_FALSE(table.finish());
  return table;
}

Plan plan_for(const TensorTable& table, const std::vector<PlanRequest>& requests,
              const PlanOptions& options, bool in_request_order = false) {
  const auto list = make_reading_list(table, requests, in_request_order);
  REQUIRE(list);
  return Plan::make(*list, requests, options);
}

struct Case {
  std::vector<RawFile> files;
  std::vector<PlanRequest> requests;
  std::deque<std::vector<std::byte>> buffers;  // of the caller
  PlanOptions options;
  bool in_request_order = false;
};

PlanRequest random_request(const TensorTable& table, std::uint32_t tensor,
                           std::mt19937_64& engine) {
  PlanRequest request{.tensor = tensor};
  const TensorView view = table[tensor];
  const std::uint64_t kind = engine() % 4;
  const auto pick_range = [&](std::uint64_t extent) {
    request.start = engine() % (extent + 1);
    request.stop = request.start + engine() % (extent + 1 - request.start);
  };
  if (kind == 0) {
    request.part = Part::bytes;
    pick_range(view.bytes.size);
  } else if (kind == 1) {
    request.part = Part::slice;
    request.dimension = static_cast<std::uint32_t>(engine() % view.shape.size());
    pick_range(view.shape[request.dimension]);
  }
  return request;
}

Case random_case(std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  Case made;
  const auto files = static_cast<std::uint32_t>(1 + engine() % 3);
  const auto tensors = static_cast<std::uint32_t>(1 + engine() % 30);
  made.files = random_files(seed, files, tensors, 100'000);
  const TensorTable table = table_of(made.files);
  std::uint64_t largest = 1;
  for (std::uint32_t t = 0; t < table.size(); ++t) {
    for (std::uint64_t copies = engine() % 5 == 0 ? engine() % 3 : 1; copies > 0; --copies) {
      PlanRequest request = random_request(table, t, engine);
      const std::uint64_t bytes = requested_bytes(table[t], request)->total_bytes();
      if (engine() % 4 == 0) {
        request.destination = made.buffers.emplace_back(bytes + 1).data();
      } else {
        largest = std::max(largest, bytes);
      }
      made.requests.push_back(request);
    }
  }
  if (engine() % 3 == 0) std::shuffle(made.requests.begin(), made.requests.end(), engine);
  const std::uint64_t alignments[] = {0, 1, 64, 4096};
  made.options = {.chunk_bytes = 4096 + engine() % 70'000,
                  .coalesce_gap_bytes = engine() % 3 * 8192,
                  .tensor_alignment_bytes = alignments[engine() % 4],
                  .window_bytes = engine() % 2 == 0 ? 0 : largest + engine() % (2 * largest)};
  if (engine() % 3 == 0) made.options.block_bytes = 1 + engine() % (2 * largest);
  made.in_request_order = engine() % 2 == 0;
  return made;
}

// Carries a plan out as one reader and one consumer would, and compares what every item holds when
// it is complete. Items are released late and out of order, as far as the window lets chunks
// through.
class Rehearsal {
 public:
  Rehearsal(const Case& rehearsed, std::uint64_t seed)
      : case_(rehearsed),
        table_(table_of(rehearsed.files)),
        plan_(plan_for(table_, rehearsed.requests, rehearsed.options, rehearsed.in_request_order)),
        arena_(plan_.memories()[0].arena_bytes + 2 * kPageBytes),
        engine_(seed) {
    // The arena starts on a page, as the real one does.
    base_ =
        arena_.data() + (kPageBytes - reinterpret_cast<std::uintptr_t>(arena_.data()) % kPageBytes);
    for (const PlanItem& item : plan_.items()) {
      positions_.push_back(item.place.in_arena  ? item.place.value
                           : positions_.empty() ? 0
                                                : positions_.back());
      chunks_left_.push_back(item.chunks);
    }
    const std::uint64_t ring_bytes = plan_.memories()[0].ring_bytes;
    if (ring_bytes == 0) positions_.clear();
    window_ = std::make_unique<Window>(ring_bytes, positions_);
    for (std::uint32_t i = 0; i < plan_.items().size(); ++i) {
      const PlanItem& item = plan_.items()[i];
      if (!item.place.in_arena || item.bytes == 0) window_->release(i);
      if (item.chunks == 0) CHECK(item.bytes == 0);
    }
    if (plan_.blocks().empty()) return;
    std::uint64_t largest = 0;
    for (const Block& block : plan_.blocks())
      largest = std::max(largest, block.bytes());
    elastic_ = std::make_unique<ElasticWindow>(
        plan_.blocks(),
        ElasticWindow::Limits{.first_ahead_bytes = 1 + engine_() % (2 * largest),
                              .most_bytes = engine_() % 2 == 0 ? 0 : largest + engine_() % largest,
                              .most_kept_bytes = engine_() % largest},
        [this](std::uint64_t offset, std::uint64_t bytes) {
          REQUIRE(offset + bytes <= arena_.size());
          std::memset(base_ + offset, 0xee, bytes);
        });
  }

  void run() {
    for (const Chunk& chunk : plan_.chunks()) {
      CHECK(chunk.size > 0);
      CHECK(chunk.size <= std::max(case_.options.chunk_bytes, kPageBytes));
      while (!(elastic_ ? elastic_->advance(chunk.position_end, false)
                        : window_->admits(chunk.position_end))) {
        release_one();
      }
      land(chunk);
    }
    for (const std::uint32_t left : chunks_left_)
      CHECK(left == 0);
  }

 private:
  std::uint64_t arena_offset(Place place) const {
    return elastic_ ? elastic_->offset_of(place.value) : plan_.arena_offset(place);
  }
  std::byte* address(Place place) {
    return place.in_arena ? base_ + arena_offset(place) : reinterpret_cast<std::byte*>(place.value);
  }

  void land(const Chunk& chunk) {
    const RawFile& file = case_.files[chunk.object];
    std::uint32_t pieces = 0;
    std::uint64_t wanted_end = 0;
    plan_.for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
      if (piece.place.in_arena) {
        REQUIRE(piece.place.value + piece.size <= chunk.position_end);
        REQUIRE(arena_offset(piece.place) + piece.size <= plan_.memories()[0].arena_bytes);
      }
      std::memcpy(address(piece.place), file.bytes.data() + piece.offset, piece.size);
      ++pieces;
      wanted_end = piece.offset + piece.size;
    });
    CHECK(pieces == chunk.pieces);
    CHECK(wanted_end == chunk.end());
    for (std::uint32_t i = chunk.first_item; i <= chunk.last_item; ++i) {
      if (plan_.items()[i].bytes == 0) continue;
      REQUIRE(chunks_left_[i] > 0);
      if (--chunks_left_[i] == 0) complete(i);
    }
  }

  void complete(std::uint32_t i) {
    check(i);
    if (!plan_.items()[i].place.in_arena) return;
    held_.push_back(i);
    if (elastic_) static_cast<void>(elastic_->yielded(plan_.items()[i].bytes));
  }

  void check(std::uint32_t i) {
    const PlanItem& item = plan_.items()[i];
    const PlanRequest& request = case_.requests[item.request];
    const TensorView tensor = table_[request.tensor];
    const std::size_t number =
        std::stoul(std::string(tensor.name.substr(tensor.name.find('.') + 1)));
    const RawFile& file = case_.files[tensor.object];
    const auto expected = expected_bytes(file, file.tensors[number], request);
    REQUIRE(expected.size() == item.bytes);
    const std::byte* const got = address(item.place);
    REQUIRE(std::equal(expected.begin(), expected.end(), got));
    if (item.place.in_arena) {
      const std::uint64_t alignment = std::max<std::uint64_t>(dtype_row(tensor.dtype).bits / 8,
                                                              case_.options.tensor_alignment_bytes);
      REQUIRE(reinterpret_cast<std::uintptr_t>(got) % alignment == 0);
    }
  }

  void release_one() {
    REQUIRE_FALSE(held_.empty());  // a window that is shut with nothing held would never open
    const std::size_t pick = engine_() % held_.size();
    check(held_[pick]);  // nobody wrote over it while it was held
    if (elastic_) {
      static_cast<void>(elastic_->released(plan_.items()[held_[pick]].place.value));
    } else {
      window_->release(held_[pick]);
    }
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(pick));
  }

  const Case& case_;
  const TensorTable table_;
  const Plan plan_;
  std::vector<std::byte> arena_;
  std::byte* base_ = nullptr;
  std::mt19937_64 engine_;
  std::vector<std::uint64_t> positions_;
  std::vector<std::uint32_t> chunks_left_;
  std::unique_ptr<Window> window_;
  std::unique_ptr<ElasticWindow> elastic_;  // instead, if the plan is in blocks
  std::vector<std::uint32_t> held_;
};

}  // namespace

TEST_CASE("any plan brings every item's bytes, and a held item is never written over", "[plan]") {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    CAPTURE(seed);
    const Case made = random_case(seed);
    Rehearsal(made, seed).run();
  }
}

TEST_CASE("neighbours in the file are read together and land as the file has them", "[plan]") {
  RawFile file;
  for (std::uint64_t t = 0; t < 1000; ++t) {
    file.tensors.push_back({Dtype::f32, {1024}, 1000 + t * 4096});
  }
  const TensorTable table = table_of({file});
  std::vector<PlanRequest> requests;
  for (std::uint32_t t = 0; t < 1000; ++t)
    requests.push_back({.tensor = t});
  const Plan plan = plan_for(table, requests, {});
  CHECK(plan.chunks().size() == 2);
  for (const Chunk& chunk : plan.chunks())
    CHECK(chunk.pieces == 1);
  // Congruent with the file modulo a page, so that direct reads land in place.
  CHECK(plan.items()[0].place.value % kPageBytes == 1000);
  CHECK(plan.memories()[0].arena_bytes < 1000 * 4096 + 2 * kPageBytes);
}

TEST_CASE("a slice with small gaps is one request, one with large gaps skips them", "[plan]") {
  RawFile file;
  file.tensors.push_back({Dtype::u8, {64, 65536}, 0});
  const TensorTable table = table_of({file});
  const std::vector<PlanRequest> requests = {
      {.tensor = 0, .part = Part::slice, .dimension = 1, .start = 0, .stop = 32768}};
  const Plan skipping = plan_for(table, requests, {.coalesce_gap_bytes = 16 * kKiB});
  CHECK(skipping.chunks().size() == 64);
  std::uint64_t read = 0;
  for (const Chunk& chunk : skipping.chunks())
    read += chunk.size;
  CHECK(read == 64 * 32768);
  const Plan together = plan_for(table, requests, {.coalesce_gap_bytes = 64 * kKiB});
  CHECK(together.chunks().size() == 2);
}

TEST_CASE("a slice waits for its last run, also where that ends beside the next item", "[plan]") {
  // Column 1 of two, and the tensor behind it: neighbours in the file and in the caller's memory.
  RawFile file;
  file.tensors.push_back({Dtype::u8, {2, 200'000}, 0});
  file.tensors.push_back({Dtype::u8, {100}, 400'000});
  const TensorTable table = table_of({file});
  std::vector<std::byte> memory(200'100);
  const std::vector<PlanRequest> requests = {{.tensor = 0,
                                              .part = Part::slice,
                                              .dimension = 1,
                                              .start = 100'000,
                                              .stop = 200'000,
                                              .destination = memory.data()},
                                             {.tensor = 1, .destination = memory.data() + 200'000}};
  const Plan plan = plan_for(table, requests, {.chunk_bytes = 128 * kKiB, .coalesce_gap_bytes = 0});
  // Every chunk that brings a byte of the slice is one that it waits for.
  std::uint32_t chunks = 0;
  for (const Chunk& chunk : plan.chunks())
    chunks += chunk.offset < 400'000 ? 1 : 0;
  CHECK(plan.items()[0].chunks == chunks);
}

TEST_CASE("items without bytes are complete from the start", "[plan]") {
  RawFile file;
  file.tensors.push_back({Dtype::f32, {0, 7}, 0});
  const TensorTable table = table_of({file});
  const std::vector<PlanRequest> requests = {{.tensor = 0}};
  const Plan plan = plan_for(table, requests, {});
  CHECK(plan.chunks().empty());
  CHECK(plan.items()[0].chunks == 0);
  CHECK(plan.memories()[0].arena_bytes == 0);
}
