// SPDX-License-Identifier: Apache-2.0
#pragma once
// A list of files with a checksum each, as sha256sum(1) writes it.

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline engine {

class Manifest {
 public:
  // Lines "HEX  NAME" (SHA-256) or "KIND:HEX  NAME", with KIND crc32, crc32c, crc64nvme or sha256;
  // empty lines and lines that begin with '#' mean nothing. Fails with corrupt and the number of
  // the line on anything else.
  static Result<Manifest> parse(std::string_view text);
  // From a path or URI.
  static Result<Manifest> read(Stores& stores, const std::string& uri);

  // Matches the end of the object's URI: the name is the whole path or what follows one of its
  // slashes. The longest name wins.
  [[nodiscard]] const ExpectedChecksum* find(const Uri& object) const noexcept;

 private:
  std::map<std::string, ExpectedChecksum, std::less<>> by_name_;
};

}  // namespace streamer::core::inline engine
