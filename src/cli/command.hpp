// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the subcommands share: arguments of a load, how things are printed.

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_code.hpp"
#include "streamer/streamer.hpp"

namespace streamer::cli {

// As fmt::print, but a failed write is no exception: finish_output() finds it at the end.
template <typename... Arguments>
void write_to(std::FILE* file, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  const std::string text = fmt::format(format, std::forward<Arguments>(arguments)...);
  std::fwrite(text.data(), 1, text.size(), file);
}

// Prints "streamer: URI: message" on stderr; returns the exit code of the error's kind.
int report(const Error& error);

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
  bool as_json = false;
};

// Each runs one subcommand and returns its exit code.
int run_ls(const std::string& uri, const std::vector<std::string>& settings, bool is_deep,
           bool as_json);
int run_inspect(const LoadArguments& arguments, bool as_json);
int run_pull(const PullArguments& arguments);
int run_snapshot(const PullArguments& arguments);
int run_doctor(const std::string& uri, const std::vector<std::string>& settings);
int run_settings(bool with_debug, bool as_json);
int run_load(const LoadArguments& arguments, bool as_json, bool explains);
int run_digest(const LoadArguments& arguments);
int run_bench(const LoadArguments& arguments, int rounds, bool as_json);

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

// Prints its text, whatever is in it: control characters as \xNN.
std::string escaped(std::string_view text);
// "note: ..." for each line.
void print_notes(std::string_view notes);
// A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD.
std::string json_string(std::string_view text);
// "1.50 GiB".
std::string human_bytes(std::uint64_t bytes);
// Ends a command that wrote to stdout: flushes, and turns a failure (a full disk) into an exit
// code.
int finish_output();

// Takes every tensor of the load, calling tick() at least ten times a second. Ctrl-C cancels the
// load.
Result<void> take_all(Load& load, const std::function<Result<void>(Tensor)>& take,
                      const std::function<void()>& tick);

}  // namespace streamer::cli
