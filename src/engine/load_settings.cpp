// SPDX-License-Identifier: Apache-2.0
#include "engine/load_settings.hpp"

#include "base/text.hpp"

namespace streamer::core::setting {

std::optional<MemoryLimit> MemoryLimitType::read(std::string_view text) const {
  using Mode = MemoryLimit::Mode;
  if (text == "auto") return MemoryLimit{};
  if (text == "unlimited" || text == "-1") return MemoryLimit{.mode = Mode::unlimited};
  if (text == "minimum") return MemoryLimit{.mode = Mode::minimum};
  const auto bytes = parse_bytes(text);
  if (!bytes) return std::nullopt;
  if (*bytes == 0) return MemoryLimit{.mode = Mode::minimum};
  return MemoryLimit{.mode = Mode::bytes, .bytes = *bytes};
}

std::string MemoryLimitType::values() const {
  return "auto, unlimited (or -1), minimum (or 0), or bytes (such as 8GiB)";
}

}  // namespace streamer::core::setting

namespace streamer::core::inline engine {

Result<LoadSettings> read_load_settings(const Settings& settings) {
  return settings.read<Scope::load>(kLoadSettings);
}

}  // namespace streamer::core::inline engine
