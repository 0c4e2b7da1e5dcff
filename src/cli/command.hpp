// SPDX-License-Identifier: Apache-2.0
#pragma once
// The subcommands, and what they share: their arguments, and how a load is made of them.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/output.hpp"
#include "streamer/streamer.hpp"

namespace streamer::cli {

// What load, digest and bench take.
struct LoadArguments {
  std::vector<std::string> uris;
  std::string memory_limit;
  std::string concurrency;
  std::string max_bandwidth;
  std::vector<std::string> settings;  // name=value
  std::vector<std::string> globs;
  std::vector<std::string> names;
  bool may_be_empty = false;  // a glob may match nothing
  std::string order = "completion";
  std::string device = "host";
  std::int64_t rank = -1;  // of a sharded state; negative: the whole of what the URIs name
  bool is_distributed = false;
  std::string pattern = "model-rank-{rank}-part-{part}.safetensors";
};

struct PullArguments {
  std::string uri;
  std::string folder;
  std::vector<std::string> allow;
  std::vector<std::string> ignore;
  std::string max_bandwidth;
  std::vector<std::string> settings;
};

// Each runs one subcommand and returns its exit code. What it prints is JSON if prints_json().
int run_ls(const std::string& uri, const std::vector<std::string>& settings, bool is_deep);
int run_inspect(const LoadArguments& arguments);
int run_pull(const PullArguments& arguments);
int run_snapshot(const PullArguments& arguments);
// uri or device may be empty, for those that are not asked for.
int run_doctor(const std::string& uri, const std::string& device,
               const std::vector<std::string>& settings);
int run_settings(const std::vector<std::string>& names, bool with_debug);
// action: ls, verify or rm. uri: empty for all that is cached, which rm must be told to mean.
int run_cache(const std::string& action, const std::string& uri, bool is_all,
              const std::vector<std::string>& settings);
int run_load(const LoadArguments& arguments, bool explains);
int run_digest(const LoadArguments& arguments);
int run_bench(const LoadArguments& arguments, int rounds);

// From texts such as "name=value".
Result<Settings> make_settings(const std::vector<std::string>& settings);

// What the URIs name, or of a folder the parts of one rank.
Result<Checkpoint> open_checkpoint(const LoadArguments& arguments, const Settings& settings);

// An opened checkpoint and what of it to load, how.
struct LoadRequest {
  Checkpoint checkpoint;
  Plan plan;
  LoadOptions options;
};

// A wrong argument is an Error as any other.
Result<LoadRequest> make_request(const LoadArguments& arguments);

// Takes every tensor of the load, calling tick() at least ten times a second. Ctrl-C cancels the
// load.
Result<void> take_all(Load& load, const std::function<Result<void>(Tensor)>& take,
                      const std::function<void()>& tick);

}  // namespace streamer::cli
