// SPDX-License-Identifier: Apache-2.0
#include "storage/uri.hpp"
namespace streamer::core {
Uri child(const Uri& uri, std::string_view name) {
  Uri below = uri;
  if (below.path.empty() || below.path.back() != '/') below.path += '/';
  below.path += name;
  return below;
}
}  // namespace streamer::core
