// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that can be tuned, in one table: name, environment variables, default, meaning.
// A value set in code wins over the environment, which wins over the default.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/timestamp.hpp"

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
  bool is_secret = false;  // its value is never shown
};

// Static storage; sorted by name.
[[nodiscard]] std::span<const SettingRow> setting_rows() noexcept;

// Credentials that the program gives, and asks for again when they expire.
struct GivenCredentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  std::optional<SystemTime> expires;
  Secret bearer_token;
};
using CredentialsCallback = std::function<Result<GivenCredentials>()>;

class Settings {
 public:
  // Checks name and value at once. With a prefix, the value holds for URIs that begin with it, and
  // wins over one without or with a shorter one.
  Result<void> set(std::string_view name, std::string_view value, std::string_view prefix = "");
  void set_credentials_callback(CredentialsCallback callback, std::string_view prefix);

  // The longest prefix among those that were given which uri begins with; empty if there is none.
  [[nodiscard]] std::string prefix_for(std::string_view uri) const;
  // What holds for a URI, without prefixes.
  [[nodiscard]] Settings for_uri(std::string_view uri) const;

  // The text in force: set in code, else in the environment, else the default. Only for names of
  // the table. The environment is read now, not earlier.
  [[nodiscard]] std::string text(std::string_view name) const;
  // What said so, for people: "the setting x", or the variable's name.
  [[nodiscard]] std::string source_of(std::string_view name) const;
  // Only what was set in code.
  [[nodiscard]] std::optional<std::string> text_in_code(std::string_view name) const;
  // nullptr if there is none.
  [[nodiscard]] std::shared_ptr<const CredentialsCallback> credentials_callback() const noexcept {
    return credentials_callback_;
  }

 private:
  using Values = std::map<std::string, std::string, std::less<>>;
  struct ForPrefix {
    Values values;
    std::shared_ptr<const CredentialsCallback> credentials_callback;
  };

  Values values_;
  std::shared_ptr<const CredentialsCallback> credentials_callback_;
  // By prefix. The order of strings puts a longer one behind the shorter that it begins with.
  std::map<std::string, ForPrefix, std::less<>> for_prefix_;
};

struct MemoryLimit {
  enum class Mode { automatic, unlimited, minimum, bytes };
  Mode mode = Mode::automatic;
  std::uint64_t bytes = 0;  // only for Mode::bytes
};

enum class FileIo { automatic, direct, buffered };
// Where memory of a device comes from: cudaMalloc, or its memory pool (cudaMallocAsync).
enum class DeviceAllocator { malloc, pool };

// The settings of a load, read once when it starts.
struct LoadSettings {
  MemoryLimit memory_limit;
  std::uint32_t concurrency = 0;                    // readers; 0: chosen by us
  std::uint64_t chunk_bytes = 0;                    // 0: chosen by us
  std::uint64_t bandwidth_bytes_per_s = 0;          // 0: no cap
  std::optional<std::uint64_t> coalesce_gap_bytes;  // gaps up to this are dropped; by us if not set
  std::uint64_t tensor_alignment_bytes = 0;         // 0: the size of the tensor's element
  std::uint64_t device_memory_limit = 0;            // 0: no limit
  std::uint64_t device_alignment_bytes = 512;
  DeviceAllocator device_allocator = DeviceAllocator::malloc;
  std::uint32_t device_streams = 1;
  std::string gpudirect = {};                // the library to use; empty: none
  std::uint64_t staging_bytes = 256 * kMiB;  // of each device
  std::uint64_t staging_segment_bytes = 2 * kMiB;
  std::uint32_t direct_depth = 0;  // direct reads in flight per reader; 0: chosen by us
  FileIo file_io = FileIo::automatic;
  bool io_uring = true;
  std::uint32_t target_gbps = 0;            // 0: not known
  std::uint32_t connections = 0;            // of a load over a network; 0: chosen while it runs
  std::uint64_t least_connection_rate = 0;  // bytes per second; 0: none
  std::chrono::milliseconds progress_timeout{120'000};
  bool hedges = true;
  std::string verify = {};  // "store", "required", or a manifest; empty: nothing is verified
};

// The settings of a store behind a network, read once when it is made.
struct RemoteSettings {
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds stall_timeout{10'000};
  std::uint32_t attempts = 10;
};

// Of a load that ranks share.
struct DistributedSettings {
  std::uint64_t buffer_bytes = 128 * kMiB;
  bool partition_by_file = false;
  bool spans_nodes = false;
  std::chrono::milliseconds timeout{600'000};
};

// The longest that a call may take that opens, lists, pulls, takes a snapshot or diagnoses;
// nullopt: as long as it takes.
Result<std::optional<std::chrono::milliseconds>> read_operation_timeout(const Settings& settings);

// All fail on a value in the environment that set() would refuse, naming the variable.
Result<RemoteSettings> read_remote_settings(const Settings& settings);
Result<DistributedSettings> read_distributed_settings(const Settings& settings);
Result<LoadSettings> read_load_settings(const Settings& settings);

}  // namespace streamer::core
