// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that only the boundary knows: how handles, structs and failures cross it. Exceptions
// and C++ types do not.

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/guarded.hpp"
#include "base/result.hpp"
#include "base/settings.hpp"
#include "checkpoint/checkpoint.hpp"
#include "distributed/communicator.hpp"
#include "engine/load.hpp"
#include "streamer.h"

// ---- Handles ----

struct streamer_error {
  streamer::core::ErrorFields fields;
  std::string line;
};

struct streamer_settings {
  streamer::core::Settings settings;
};

struct streamer_listing {
  std::string root;
  std::vector<streamer::core::Entry> entries;
  std::string notes;
};

struct streamer_files {
  struct File {
    std::string path;
    std::uint64_t bytes;
    std::string etag;
    bool was_there;
  };
  std::string folder;
  std::vector<File> files;
};

struct streamer_checkpoint {
  std::shared_ptr<const streamer::core::Checkpoint> checkpoint;
  std::string notes;
  std::vector<std::string> versions;  // of the objects
};

struct streamer_plan {
  std::shared_ptr<const streamer::core::Checkpoint> checkpoint;
  std::vector<streamer::core::PlanRequest> requests;
  std::uint64_t bytes = 0;
  bool has_buffer = false;
};

struct streamer_load {
  std::unique_ptr<streamer::core::Communicator> communicator;  // nullptr: alone; outlives the load
  std::unique_ptr<streamer::core::Load> load;
  std::string checkpoint_notes;
  std::string explanation;
  // The notes that streamer_load_get_stats() returned last: kept so that the pointer lives as long
  // as the load.
  mutable streamer::core::Guarded<std::vector<std::unique_ptr<std::string>>> notes;
};

namespace streamer::capi {

using core::Error;
using core::ErrorKind;
using core::Result;

// Converts to the core's type. Does not check whether the device exists.
Result<core::Device> check_device(streamer_device device);
inline streamer_device to_c(core::Device device) noexcept {
  return {device.kind, device.number};
}

// The caller's communicator, whose functions are there.
Result<std::unique_ptr<core::Communicator>> use_communicator(const streamer_communicator* table);

// A yielded tensor is the engine's own lease: no memory is taken for the handle.
inline streamer_tensor* to_handle(core::TensorLease* lease) noexcept {
  return reinterpret_cast<streamer_tensor*>(lease);
}
inline core::TensorLease* from_handle(const streamer_tensor* tensor) noexcept {
  return reinterpret_cast<core::TensorLease*>(const_cast<streamer_tensor*>(tensor));
}

// ---- Failures ----

// The error to return if an error cannot be allocated. Never freed.
streamer_error* out_of_memory_error() noexcept;

// Stores the error where the caller wants it, and returns its status.
streamer_status fail(Error error, streamer_error** error_out);

// Calls body, which returns a streamer_status or a Result<streamer_status>. No exception leaves it.
// (The other such boundary is the top of a thread: base/fits_in_memory.hpp.)
template <typename Body>
streamer_status guarded(streamer_error** error_out, Body&& body) noexcept {
  try {
    Result<streamer_status> outcome = body();
    if (outcome) return *outcome;
    return fail(std::move(outcome).error(), error_out);
  } catch (const std::bad_alloc&) {
    if (error_out != nullptr) *error_out = out_of_memory_error();
    return STREAMER_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& exception) {
    try {
      return fail(Error(ErrorKind::internal, exception.what()), error_out);
    } catch (...) {
      if (error_out != nullptr) *error_out = out_of_memory_error();
      return STREAMER_ERROR_OUT_OF_MEMORY;
    }
  }
}

inline Error null_argument(const char* name) {
  return Error(ErrorKind::invalid_argument, std::string(name) + " is NULL");
}

#define STREAMER_REQUIRE(pointer) \
  if ((pointer) == nullptr) return ::streamer::capi::null_argument(#pointer)

// Notes as C has them: one line each.
inline std::string joined_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines)
    text += line + "\n";
  return text;
}

// ---- Structs that grow ----

// Stands for whatever a field is, and notes where it ends.
template <std::size_t N>
struct FieldProbe {
  std::array<std::size_t, N>* begins;
  std::array<std::size_t, N>* ends;
  std::size_t number;

  template <typename Field>
  constexpr operator Field() const {  // NOLINT: implicit, as the aggregate wants it
    static_assert(std::is_scalar_v<Field> || std::is_same_v<Field, streamer_device>,
                  "what crosses the boundary are numbers, pointers and devices");
    const std::size_t before = number == 0 ? 0 : (*ends)[number - 1];
    (*begins)[number] = (before + alignof(Field) - 1) / alignof(Field) * alignof(Field);
    (*ends)[number] = (*begins)[number] + sizeof(Field);
    return Field{};
  }
};
struct AnyField {
  template <typename Field>
  constexpr operator Field() const;  // NOLINT: implicit, as the aggregate wants it
};

template <typename Struct, std::size_t... I>
constexpr bool has_fields(std::index_sequence<I...>) {
  return requires {
    Struct{(static_cast<void>(I), AnyField{})...};
  };
}
template <typename Struct, std::size_t N = 1>
constexpr std::size_t count_fields() {
  if constexpr (has_fields<Struct>(std::make_index_sequence<N + 1>())) {
    return count_fields<Struct, N + 1>();
  } else {
    return N;
  }
}

// Whether a struct of ours may end after `size` bytes: not in the middle of a field. Every size
// that any version of the struct had passes; the fields are asked of the struct itself.
template <typename Struct>
constexpr bool ends_between_fields(std::size_t size) {
  constexpr std::size_t kFields = count_fields<Struct>();
  std::array<std::size_t, kFields> begins{};
  std::array<std::size_t, kFields> ends{};
  const auto visit = [&]<std::size_t... I>(std::index_sequence<I...>) {
    // Elements of a braced list are evaluated from left to right.
    return Struct{FieldProbe<kFields>{&begins, &ends, I}...};
  };
  static_cast<void>(visit(std::make_index_sequence<kFields>()));
  for (std::size_t i = 0; i < kFields; ++i) {
    if (size > begins[i] && size < ends[i]) return false;
  }
  return true;
}

// What is wrong with a struct_size of the caller's, if anything is.
template <typename Struct>
Result<void> check_struct_size(std::size_t size) {
  // No struct of ours comes near: a larger size is memory that was never set.
  constexpr std::size_t kMostBytes = 4096;
  if (size < sizeof size || size > kMostBytes) {
    return Error(ErrorKind::invalid_argument,
                 "struct_size is not set; start from the struct's STREAMER_*_INIT macro");
  }
  if (size < sizeof(Struct) && !ends_between_fields<Struct>(size)) {
    return Error(ErrorKind::invalid_argument,
                 "struct_size " + std::to_string(size) +
                     " ends in the middle of a field; start from the struct's STREAMER_*_INIT "
                     "macro");
  }
  return {};
}

// Structs of the caller's that stand in an array, `size` bytes apart.
template <typename Struct>
Result<void> check_array_of(std::size_t size) {
  TRY(check_struct_size<Struct>(size));
  if (size % alignof(Struct) == 0) return {};
  return Error(ErrorKind::invalid_argument,
               "struct_size " + std::to_string(size) +
                   " leaves only the first struct of the array aligned; start from the struct's "
                   "STREAMER_*_INIT macro");
}

// A struct that the caller filled, which may be older (shorter) or newer (longer) than the
// library's. Fields it lacks keep their defaults; fields unknown to the library must be zero.
template <typename Struct>
Result<Struct> copy_in(const void* from, const Struct& defaults) {
  Struct copy = defaults;
  std::size_t size = 0;
  std::memcpy(&size, from, sizeof size);
  TRY(check_struct_size<Struct>(size));
  const auto* const bytes = static_cast<const unsigned char*>(from);
  for (std::size_t i = sizeof(Struct); i < size; ++i) {
    if (bytes[i] == 0) continue;
    return Error(ErrorKind::unsupported,
                 "a struct has a field set that this version of libstreamer does not know");
  }
  std::memcpy(static_cast<void*>(&copy), from, size < sizeof(Struct) ? size : sizeof(Struct));
  copy.struct_size = sizeof(Struct);
  return copy;
}

// Fills a struct of the caller's, not beyond its size; struct_size stays the caller's. With a wrong
// struct_size nothing is written.
template <typename Struct>
Result<void> copy_out(const Struct& from, Struct* to) {
  const std::size_t size = to->struct_size;
  TRY(check_struct_size<Struct>(size));
  std::memcpy(static_cast<void*>(to), &from, size < sizeof(Struct) ? size : sizeof(Struct));
  to->struct_size = size;
  return {};
}

// The same for functions that cannot report an error.
template <typename Struct>
void copy_out_if_sound(const Struct& from, Struct* to) noexcept {
  const std::size_t size = to->struct_size;
  if (size < sizeof size || (size < sizeof(Struct) && !ends_between_fields<Struct>(size))) return;
  std::memcpy(static_cast<void*>(to), &from, size < sizeof(Struct) ? size : sizeof(Struct));
  to->struct_size = size;
}

}  // namespace streamer::capi
