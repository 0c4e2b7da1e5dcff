// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that can be tuned, in one table: name, environment variables, default, meaning.
// A value set in code wins over the environment, which wins over the default.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core {

struct SettingRow {
  const char* name;
  // In order of precedence; the first that is set and not empty counts. Second may be null.
  const char* variable;
  const char* compatible_variable;
  const char* default_text;
  // What a value may be, for messages and docs.
  const char* values;
  const char* meaning;
};

// Static storage; sorted by name.
[[nodiscard]] std::span<const SettingRow> setting_rows() noexcept;

class Settings {
 public:
  // Checks name and value at once.
  Result<void> set(std::string_view name, std::string_view value);

  // The text in force: set in code, else in the environment, else the default. Only for names of
  // the table. The environment is read now, not earlier.
  [[nodiscard]] std::string text(std::string_view name) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

struct MemoryLimit {
  enum class Mode { automatic, unlimited, minimum, bytes };
  Mode mode = Mode::automatic;
  std::uint64_t bytes = 0;  // only for Mode::bytes
};

enum class FileIo { automatic, direct, buffered };

// The settings of a load, read once when it starts.
struct LoadSettings {
  MemoryLimit memory_limit;
  std::uint32_t concurrency = 0;             // readers; 0: chosen by us
  std::uint64_t chunk_bytes = 0;             // 0: chosen by us
  std::uint64_t bandwidth_bytes_per_s = 0;   // 0: no cap
  std::uint64_t coalesce_gap_bytes = 0;      // gaps up to this are read and dropped
  std::uint64_t tensor_alignment_bytes = 0;  // 0: the size of the tensor's element
  std::uint32_t direct_depth = 0;            // direct reads in flight per reader; 0: chosen by us
  FileIo file_io = FileIo::automatic;
  bool io_uring = true;
};

// Fails on a value in the environment that set() would refuse, naming the variable.
Result<LoadSettings> read_load_settings(const Settings& settings);

}  // namespace streamer::core
