// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/slice.hpp"

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

struct Shape {
  std::vector<std::uint64_t> extents;
  Dtype dtype = Dtype::u8;

  TensorView view() const {
    std::uint64_t bits = dtype_row(dtype).bits;
    for (const std::uint64_t extent : extents)
      bits *= extent;
    return {"t", dtype, extents, 0, {1000, bits / 8}};
  }
};

}  // namespace

TEST_CASE("a slice's runs are exactly its elements, in order", "[slice]") {
  const Shape shape{{3, 4, 5}, Dtype::bf16};
  const TensorView tensor = shape.view();
  for (std::uint32_t d = 0; d < 3; ++d) {
    for (std::uint64_t start = 0; start <= shape.extents[d]; ++start) {
      for (std::uint64_t stop = start; stop <= shape.extents[d]; ++stop) {
        CAPTURE(d, start, stop);
        std::vector<std::uint64_t> expected;  // offsets of bytes
        for (std::uint64_t i = 0; i < 60; ++i) {
          const std::uint64_t along[] = {i / 20, i / 5 % 4, i % 5};
          if (along[d] < start || along[d] >= stop) continue;
          expected.push_back(1000 + 2 * i);
          expected.push_back(1001 + 2 * i);
        }
        const auto range = slice_bytes(tensor, {d, start, stop});
        REQUIRE(range);
        std::vector<std::uint64_t> got;
        for (std::uint64_t run = 0; run < range->count; ++run) {
          for (std::uint64_t byte = 0; byte < range->run_bytes; ++byte) {
            got.push_back(range->offset + run * range->stride_bytes + byte);
          }
        }
        CHECK(got == expected);
        CHECK(slice_shape(tensor, {d, start, stop})[d] == stop - start);
        if (d == 0 && start != stop) CHECK(range->count == 1);
      }
    }
  }
}

TEST_CASE("a full slice of any dimension is one run", "[slice]") {
  const Shape shape{{3, 4, 5}, Dtype::f32};
  for (std::uint32_t d = 0; d < 3; ++d) {
    const auto range = slice_bytes(shape.view(), {d, 0, shape.extents[d]});
    REQUIRE(range);
    CHECK(range->count == 1);
    CHECK(range->run_bytes == 240);
  }
}

TEST_CASE("slices of less than a byte must fall on bytes", "[slice]") {
  const Shape shape{{4, 6}, Dtype::f4};
  CHECK(slice_bytes(shape.view(), {1, 2, 4}).has_value());
  CHECK(slice_bytes(shape.view(), {0, 1, 3}).has_value());
  const auto odd = slice_bytes(shape.view(), {1, 1, 4});
  REQUIRE_FALSE(odd);
  CHECK(odd.error().kind() == ErrorKind::invalid_argument);
  const Shape rows{{4, 3}, Dtype::f4};  // a row is 12 bits
  CHECK(slice_bytes(rows.view(), {0, 0, 2}).has_value());
  CHECK_FALSE(slice_bytes(rows.view(), {0, 1, 2}).has_value());
  CHECK_FALSE(slice_bytes(rows.view(), {1, 0, 2}).has_value());
}

TEST_CASE("bounds that a tensor does not have are refused with its name", "[slice]") {
  const Shape shape{{3, 4}};
  for (const Slice slice : {Slice{2, 0, 1}, Slice{0, 2, 1}, Slice{0, 0, 4}, Slice{1, 5, 5}}) {
    const auto range = slice_bytes(shape.view(), slice);
    REQUIRE_FALSE(range);
    CHECK_THAT(range.error().message(), Catch::Contains("\"t\""));
  }
  CHECK_FALSE(slice_bytes(Shape{{}}.view(), {0, 0, 0}).has_value());
}

TEST_CASE("a tensor without elements has slices without bytes, however huge its other dimensions",
          "[slice]") {
  const std::vector<std::uint64_t> extents = {0, UINT64_MAX, UINT64_MAX};
  const TensorView tensor{"t", Dtype::f64, extents, 0, {8, 0}};
  const auto range = slice_bytes(tensor, {1, 3, UINT64_MAX});
  REQUIRE(range);
  CHECK(range->total_bytes() == 0);
}
