// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <fmt/format.h>

#include <array>

#include "cli/globs.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

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
  // Commands are about reading: with views of the page cache, load and bench would look at no byte.
  std::vector<std::string> settings = {"debug.map_cached=off"};
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
  return make_error(ErrorKind::invalid_argument, text);
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
  auto uris = expand_globs(arguments.uris, settings);
  if (!uris) return std::move(uris).error();
  if (arguments.rank < 0) return Checkpoint::open(*uris, settings, interrupts());
  // One folder is all that the arguments let through; a pattern may be several.
  if (uris->size() != 1)
    return make_error(ErrorKind::invalid_argument,
                      fmt::format("--rank is for one folder, not for {}", uris->size()));
  return Checkpoint::open_rank(uris->front(), static_cast<std::uint32_t>(arguments.rank), settings,
                               arguments.pattern, interrupts());
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
