// SPDX-License-Identifier: Apache-2.0
// The one table of schemes: which store reads what.
#include <fmt/format.h>

#include "storage/file_store.hpp"
#include "storage/store.hpp"

namespace streamer::core {

namespace {

struct SchemeRow {
  std::string_view scheme;
  Store* (*store)();
};

template <typename OneStore>
Store* the_store() {
  static OneStore store;
  return &store;
}

constexpr SchemeRow kSchemes[] = {
    {"file", the_store<FileStore>},
};

}  // namespace

Result<Store*> store_for(const Uri& uri) {
  std::string known;
  for (const SchemeRow& row : kSchemes) {
    if (row.scheme == uri.scheme) return row.store();
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.scheme);
  }
  return Error(ErrorKind::unsupported,
               fmt::format("this version reads no {}:// URIs; it reads: {}", uri.scheme, known))
      .at(fmt::format("{}://{}", uri.scheme, uri.path));
}

}  // namespace streamer::core
