// SPDX-License-Identifier: Apache-2.0
#pragma once
// Safetensors objects, opened and checked, as one set of tensors.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "operation.hpp"
#include "result.hpp"
#include "settings.hpp"
#include "tensor.hpp"

namespace streamer {

// One stored file. Views live as long as the Checkpoint.
struct ObjectInfo {
  std::string_view uri;
  std::uint64_t bytes = 0;
  std::uint64_t header_bytes = 0;  // of the JSON header, without the 8 bytes of its length
  std::size_t tensor_count = 0;
  // __metadata__, in the order of the file.
  std::vector<std::pair<std::string_view, std::string_view>> metadata;
  // Differs if the bytes may differ: the ETag of a remote object (its date if the store sends
  // none), or the times and the inode of a file.
  std::string_view version;
};

// Bytes [offset, offset + bytes) of an object of any kind.
struct ObjectRange {
  std::string uri;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

// Each object is pinned to the version it had when it was opened. Immutable: any number of threads
// and loads may use it at once. Loads and tensors keep what they need of it, so it may be destroyed
// before them.
class Checkpoint {
 public:
  // Each URI is a safetensors file, a directory, from which one whole model is opened, or a shard
  // index (see streamer_checkpoint_open). Reads only the headers, those of many objects at once,
  // and checks every rule of the format. Blocks until that is done or the operation, if given, is
  // cancelled or out of time. Errors: not_found, permission_denied, corrupt (the message starts
  // with the rule), unsupported, io.
  static Result<Checkpoint> open(const std::vector<std::string>& uris,
                                 const Settings& settings = {},
                                 const Operation* operation = nullptr) {
    std::vector<const char*> pointers;
    for (const std::string& uri : uris)
      pointers.push_back(uri.c_str());
    // data() of an empty vector may be NULL, which the C ABI refuses.
    pointers.push_back(nullptr);
    streamer_checkpoint* opened = nullptr;
    streamer_error* error = nullptr;
    if (streamer_checkpoint_open(pointers.data(), uris.size(), settings.get(),
                                 detail::handle_of(operation), &opened, &error) != STREAMER_OK) {
      return Error(error);
    }
    return Checkpoint(opened);
  }

  // A sharded state, in which each rank has its own files: opens rank's parts under folder,
  // starting at part 0. pattern is a file name with {rank} and {part}, each once. Additional
  // errors: not_found if there is no part, corrupt if one in between is missing.
  static Result<Checkpoint> open_rank(
      const std::string& folder, std::uint32_t rank, const Settings& settings = {},
      const std::string& pattern = "model-rank-{rank}-part-{part}.safetensors",
      const Operation* operation = nullptr) {
    streamer_checkpoint* opened = nullptr;
    streamer_error* error = nullptr;
    if (streamer_checkpoint_open_rank(folder.c_str(), pattern.c_str(), rank, settings.get(),
                                      detail::handle_of(operation), &opened,
                                      &error) != STREAMER_OK) {
      return Error(error);
    }
    return Checkpoint(opened);
  }

  // Files that are not safetensors: range i is the tensor named "i", U8, one row. Additional
  // errors: invalid_argument if a range ends beyond its object.
  static Result<Checkpoint> open_ranges(const std::vector<ObjectRange>& ranges,
                                        const Settings& settings = {},
                                        const Operation* operation = nullptr) {
    // One more element: data() of an empty vector may be NULL, which the C ABI refuses.
    std::vector<streamer_object_range> given(ranges.size() + 1, STREAMER_OBJECT_RANGE_INIT);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      given[i].uri = ranges[i].uri.c_str();
      given[i].offset = ranges[i].offset;
      given[i].bytes = ranges[i].bytes;
    }
    streamer_checkpoint* opened = nullptr;
    streamer_error* error = nullptr;
    if (streamer_checkpoint_open_ranges(given.data(), ranges.size(), settings.get(),
                                        detail::handle_of(operation), &opened,
                                        &error) != STREAMER_OK) {
      return Error(error);
    }
    return Checkpoint(opened);
  }

  class Tensors;
  // A random-access range of TensorInfo, in storage order: by object, then offset, then name.
  Tensors tensors() const noexcept;

  // number must be below tensors().size().
  TensorInfo tensor(std::size_t number) const noexcept {
    streamer_tensor_info info = STREAMER_TENSOR_INFO_INIT;
    streamer_checkpoint_get_tensor_info(checkpoint_.get(), number, &info, nullptr);
    return {number,
            {info.name, info.name_size},
            static_cast<Dtype>(info.dtype),
            {info.shape, info.rank},
            info.bytes,
            info.object,
            info.object_offset};
  }

  // not_found if no tensor has that name.
  Result<TensorInfo> find(std::string_view name) const {
    std::size_t number = 0;
    streamer_error* error = nullptr;
    if (streamer_checkpoint_find(checkpoint_.get(), name.data() == nullptr ? "" : name.data(),
                                 name.size(), &number, &error) != STREAMER_OK) {
      return Error(error);
    }
    return tensor(number);
  }

  // The bytes of all tensors together.
  std::uint64_t bytes() const noexcept { return streamer_checkpoint_bytes(checkpoint_.get()); }

  std::size_t object_count() const noexcept {
    return streamer_checkpoint_object_count(checkpoint_.get());
  }

  // object must be below object_count().
  ObjectInfo object(std::size_t object) const {
    streamer_object_info info = STREAMER_OBJECT_INFO_INIT;
    streamer_checkpoint_get_object_info(checkpoint_.get(), object, &info, nullptr);
    ObjectInfo described{info.uri,          info.bytes, info.header_bytes,
                         info.tensor_count, {},         info.version};
    for (std::size_t i = 0; i < info.metadata_count; ++i) {
      const char* key = nullptr;
      const char* value = nullptr;
      streamer_checkpoint_get_metadata(checkpoint_.get(), object, i, &key, &value, nullptr);
      described.metadata.emplace_back(key, value);
    }
    return described;
  }

  // Which files of a folder were left out, and why: one line each. Lives as long as the Checkpoint.
  std::string_view notes() const noexcept { return streamer_checkpoint_notes(checkpoint_.get()); }

  // For streamer.h.
  const streamer_checkpoint* get() const noexcept { return checkpoint_.get(); }

 private:
  struct Close {
    void operator()(streamer_checkpoint* checkpoint) const noexcept {
      streamer_checkpoint_close(checkpoint);
    }
  };
  explicit Checkpoint(streamer_checkpoint* checkpoint) noexcept : checkpoint_(checkpoint) {}

  std::unique_ptr<streamer_checkpoint, Close> checkpoint_;
};

// Borrows the checkpoint.
class Checkpoint::Tensors {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;  // dereferencing returns a temporary
    using value_type = TensorInfo;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = TensorInfo;

    Iterator() = default;
    Iterator(const Checkpoint* checkpoint, std::size_t number) noexcept
        : checkpoint_(checkpoint), number_(number) {}
    TensorInfo operator*() const noexcept { return checkpoint_->tensor(number_); }
    Iterator& operator++() noexcept {
      ++number_;
      return *this;
    }
    Iterator operator++(int) noexcept { return {checkpoint_, number_++}; }
    friend bool operator==(const Iterator& a, const Iterator& b) noexcept {
      return a.number_ == b.number_;
    }

   private:
    const Checkpoint* checkpoint_ = nullptr;
    std::size_t number_ = 0;
  };

  explicit Tensors(const Checkpoint& checkpoint) noexcept : checkpoint_(&checkpoint) {}

  std::size_t size() const noexcept { return streamer_checkpoint_tensor_count(checkpoint_->get()); }
  bool empty() const noexcept { return size() == 0; }
  // number below size().
  TensorInfo operator[](std::size_t number) const noexcept { return checkpoint_->tensor(number); }
  Iterator begin() const noexcept { return {checkpoint_, 0}; }
  Iterator end() const noexcept { return {checkpoint_, size()}; }

 private:
  const Checkpoint* checkpoint_;
};

inline Checkpoint::Tensors Checkpoint::tensors() const noexcept {
  return Tensors(*this);
}

}  // namespace streamer
