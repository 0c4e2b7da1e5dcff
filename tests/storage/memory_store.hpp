// SPDX-License-Identifier: Apache-2.0
#pragma once
// A store of another kind, whole, in one file; CONTRIBUTING shows it.

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "storage/store.hpp"

namespace streamer::core {

// Objects in memory of the process, for URIs like memory://bucket/key.
class MemoryStore final : public Store {
 public:
  void put(const std::string& path, std::vector<std::byte> bytes) {
    objects_.with([&](auto& objects) {
      objects[path] = {std::move(bytes), std::to_string(++versions_)};
    });
  }
  void remove(const std::string& path) {
    objects_.with([&](auto& objects) { objects.erase(path); });
  }

  // The version that is there now is the one that later reads must find.
  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override {
    return objects_.with([&](auto& objects) -> Result<Opened> {
      const auto found = objects.find(uri.path());
      if (found == objects.end())
        return Error(ErrorKind::not_found, "there is no such object").at(uri.text());
      const std::vector<std::byte>& bytes = found->second.bytes;
      Opened opened;
      opened.object.uri = uri;
      opened.object.size = bytes.size();
      opened.object.etag = found->second.version;
      opened.first.assign(bytes.begin(),
                          bytes.begin() + static_cast<std::ptrdiff_t>(
                                              std::min<std::uint64_t>(first_bytes, bytes.size())));
      return opened;
    });
  }

  Result<bool> is_folder(const Uri& uri) override {
    return objects_.with([&](auto& objects) -> Result<bool> {
      if (objects.contains(uri.path())) return false;
      const auto first = objects.lower_bound(folder(uri));
      if (first != objects.end() && first->first.starts_with(folder(uri))) return true;
      return Error(ErrorKind::not_found, "there is no such object").at(uri.text());
    });
  }

  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override {
    if (!TRY(is_folder(uri))) {
      const Opened opened = TRY(open(uri, 0));
      return std::vector<Entry>{{uri, opened.object.size, false, opened.object.etag}};
    }
    return objects_.with([&](auto& objects) -> Result<std::vector<Entry>> {
      std::vector<Entry> entries;
      const std::string below = folder(uri);
      for (auto at = objects.lower_bound(below);
           at != objects.end() && at->first.starts_with(below); ++at) {
        const std::size_t slash = at->first.find('/', below.size());
        if (depth == ListDepth::all || slash == std::string::npos) {
          entries.push_back(
              {uri.with_path(at->first), at->second.bytes.size(), false, at->second.version});
          continue;
        }
        const Uri inner = uri.with_path(at->first.substr(0, slash + 1));
        if (entries.empty() || entries.back().uri.path() != inner.path())
          entries.push_back({inner, 0, true, {}});
      }
      return entries;
    });
  }

  // A load calls this on several threads at once.
  Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) override {
    return objects_.with([&](auto& objects) -> Result<void> {
      const auto found = objects.find(object.uri.path());
      if (found == objects.end() || found->second.version != object.etag)
        return Error(ErrorKind::object_changed, "the object was replaced while it was read")
            .at(object.uri.text(), range);
      if (range.size != 0)
        std::memcpy(to.data(), found->second.bytes.data() + range.offset, range.size);
      return {};
    });
  }

 private:
  struct Stored {
    std::vector<std::byte> bytes;
    std::string version;
  };

  static std::string folder(const Uri& uri) {
    return uri.path().ends_with('/') ? uri.path() : uri.path() + "/";
  }

  Guarded<std::map<std::string, Stored>> objects_;
  std::uint64_t versions_ = 0;  // under the lock of objects_
};

}  // namespace streamer::core
