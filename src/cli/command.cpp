// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::corrupt:
      return kExitCorrupt;
    case ErrorKind::invalid_argument:
    case ErrorKind::unsupported:
      return kExitUsage;
    case ErrorKind::memory_limit:
    case ErrorKind::out_of_memory:
      return kExitMemory;
    case ErrorKind::device:
      return kExitDevice;
    case ErrorKind::cancelled:
      return interrupted_exit_code();
    case ErrorKind::internal:
      return kExitInternal;
    default:
      return kExitStorage;
  }
}

}  // namespace

int report(const Error& error) {
  std::fflush(stdout);
  write_to(stderr, "streamer: {}\n", escaped(error.line()));
  return exit_code_of(error.kind());
}

namespace {

using NamedValues = std::vector<std::pair<std::string, std::string>>;

// The arguments were checked to contain a '='.
NamedValues named_values(const std::vector<std::string>& settings) {
  NamedValues values;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    values.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  return values;
}

Result<LoadOptions> make_options(const LoadArguments& arguments) {
  LoadOptions options;
  auto device = device_named(arguments.device);
  if (!device) return std::move(device).error();
  options.device = *device;
  options.order = arguments.order == "plan" ? Order::plan : Order::completion;
  return options;
}

// All settings go to the checkpoint: its loads inherit them.
Result<Settings> all_settings_of(const LoadArguments& arguments) {
  std::vector<std::string> settings;
  const std::array<std::pair<const char*, const std::string*>, 3> common = {{
      {"memory_limit", &arguments.memory_limit},
      {"concurrency", &arguments.concurrency},
      {"max_bandwidth", &arguments.max_bandwidth},
  }};
  for (const auto& [name, value] : common) {
    if (!value->empty()) settings.push_back(fmt::format("{}={}", name, *value));
  }
  settings.insert(settings.end(), arguments.settings.begin(), arguments.settings.end());
  return make_settings(settings);
}

Error explain_no_match(const Checkpoint& checkpoint, const std::string& glob) {
  std::string text = fmt::format("--match \"{}\" matches none of the {} tensors", glob,
                                 checkpoint.tensors().size());
  if (!checkpoint.tensors().empty()) {
    text += fmt::format(", which have names such as \"{}\"", escaped(checkpoint.tensors()[0].name));
  }
  text += "; give another pattern, or --allow-empty to load nothing";
  return Error(streamer_error_new(STREAMER_ERROR_INVALID_ARGUMENT, text.c_str()));
}

Result<Plan> make_plan(const Checkpoint& checkpoint, const LoadArguments& arguments) {
  auto plan = Plan::of(checkpoint);
  if (!plan) return plan;
  for (const std::string& glob : arguments.globs) {
    auto added = plan->add_matching(glob);
    if (!added) return std::move(added).error();
    if (*added == 0 && !arguments.may_be_empty) return explain_no_match(checkpoint, glob);
  }
  for (const std::string& wanted : arguments.names) {
    auto tensor = checkpoint.find(wanted);
    if (!tensor) return std::move(tensor).error();
    auto added = plan->add(*tensor);
    if (!added) return std::move(added).error();
  }
  if (arguments.globs.empty() && arguments.names.empty()) {
    auto added = plan->add_everything();
    if (!added) return std::move(added).error();
  }
  return plan;
}

}  // namespace

Result<Settings> make_settings(const std::vector<std::string>& settings) {
  Settings made;
  for (const auto& [name, value] : named_values(settings)) {
    auto set = made.set(name, value);
    if (!set) return std::move(set).error();
  }
  return made;
}

Result<Checkpoint> open_checkpoint(const LoadArguments& arguments, const Settings& settings) {
  if (arguments.rank < 0) return Checkpoint::open(arguments.uris, settings, interrupts());
  // One folder is all that the arguments let through.
  return Checkpoint::open_rank(arguments.uris.front(), static_cast<std::uint32_t>(arguments.rank),
                               settings, arguments.pattern, interrupts());
}

Result<LoadRequest> make_request(const LoadArguments& arguments) {
  auto settings = all_settings_of(arguments);
  if (!settings) return std::move(settings).error();
  auto checkpoint = open_checkpoint(arguments, *settings);
  if (!checkpoint) return std::move(checkpoint).error();
  auto plan = make_plan(*checkpoint, arguments);
  if (!plan) return std::move(plan).error();
  auto options = make_options(arguments);
  if (!options) return std::move(options).error();
  return LoadRequest{*std::move(checkpoint), *std::move(plan), *std::move(options)};
}

void print_notes(std::string_view notes) {
  while (!notes.empty()) {
    const std::size_t end = notes.find('\n');
    write_to(stdout, "note: {}\n", escaped(notes.substr(0, end)));
    notes.remove_prefix(end == std::string_view::npos ? notes.size() : end + 1);
  }
}

std::string escaped(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return shown;
}

namespace {

// Length of the UTF-8 sequence at the start of text, 0 if there is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) && continues(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text[0];
    if (length == 0) {
      json += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return json + "\"";
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kNames.size(); ++unit)
    value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kNames[unit]);
}

int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return kExitOk;
  std::perror("streamer: writing the output");
  return kExitStorage;
}

Result<void> take_all(Load& load, const std::function<Result<void>(Tensor)>& take,
                      const std::function<void()>& tick) {
  for (;;) {
    auto waited = load.next_for(std::chrono::milliseconds(50));
    if (!waited) return std::move(waited).error();
    if (waited->is_end) return {};
    if (waited->tensor) {
      auto taken = take(*std::move(waited->tensor));
      if (!taken) return taken;
    }
    tick();
    if (was_interrupted()) load.cancel();
  }
}

}  // namespace streamer::cli
