// SPDX-License-Identifier: Apache-2.0
// streamer inspect: what a checkpoint contains, and whether it is valid.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/counted.hpp"
#include "cli/command.hpp"

namespace streamer::cli {

namespace {

std::string shape_text(const TensorInfo& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.shape, ", "));
}

void print_table(const Checkpoint& checkpoint) {
  std::size_t name_width = 4;
  std::size_t shape_width = 5;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    name_width = std::max(name_width, escaped(tensor.name).size());
    shape_width = std::max(shape_width, shape_text(tensor).size());
  }
  write_to(stdout, "{:<{}}  {:<11}  {:<{}}  {:>14}\n", "NAME", name_width, "DTYPE", "SHAPE",
           shape_width, "BYTES");
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    write_to(stdout, "{:<{}}  {:<11}  {:<{}}  {:>14}\n", escaped(tensor.name), name_width,
             name(tensor.dtype), shape_text(tensor), shape_width, tensor.bytes);
  }
  for (std::size_t i = 0; i < checkpoint.object_count(); ++i) {
    const ObjectInfo object = checkpoint.object(i);
    write_to(stdout, "{}: {}, {}\n", escaped(object.uri),
             core::counted(object.tensor_count, "tensor"), human_bytes(object.bytes));
    for (const auto& [key, value] : object.metadata) {
      write_to(stdout, "  {} = {}\n", escaped(key), escaped(value));
    }
  }
  print_notes(checkpoint.notes());
  write_to(stdout, "{} tensors, {} ({} bytes) in {} files: valid\n", checkpoint.tensors().size(),
           human_bytes(checkpoint.bytes()), checkpoint.bytes(), checkpoint.object_count());
}

void print_json(const Checkpoint& checkpoint) {
  write_to(stdout, "{{\"bytes\":{},\"objects\":[", checkpoint.bytes());
  for (std::size_t i = 0; i < checkpoint.object_count(); ++i) {
    const ObjectInfo object = checkpoint.object(i);
    write_to(stdout, "{}\n{{\"uri\":{},\"bytes\":{},\"header_bytes\":{},\"metadata\":{{",
             i == 0 ? "" : ",", json_string(object.uri), object.bytes, object.header_bytes);
    const char* separator = "";
    for (const auto& [key, value] : object.metadata) {
      write_to(stdout, "{}{}:{}", separator, json_string(key), json_string(value));
      separator = ",";
    }
    write_to(stdout, "}}}}");
  }
  write_to(stdout, "],\"tensors\":[");
  const char* separator = "";
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    write_to(stdout,
             "{}\n{{\"name\":{},\"dtype\":\"{}\",\"shape\":[{}],\"bytes\":{},\"object\":{},"
             "\"object_offset\":{}}}",
             separator, json_string(tensor.name), name(tensor.dtype), fmt::join(tensor.shape, ","),
             tensor.bytes, tensor.object, tensor.object_offset);
    separator = ",";
  }
  write_to(stdout, "],\"notes\":{}}}\n", json_string(checkpoint.notes()));
}

}  // namespace

int run_inspect(const LoadArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  auto checkpoint = open_checkpoint(arguments, *settings);
  if (!checkpoint) return report(checkpoint.error());
  prints_json() ? print_json(*checkpoint) : print_table(*checkpoint);
  return finish_output();
}

}  // namespace streamer::cli
