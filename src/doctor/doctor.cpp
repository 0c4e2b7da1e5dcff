// SPDX-License-Identifier: Apache-2.0
#include "doctor/doctor.hpp"

#include <fmt/format.h>

#include <optional>

#include "base/counted.hpp"
#include "base/text.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/format.hpp"
#include "checkpoint/model_files.hpp"
#include "doctor/remote_way.hpp"

namespace streamer::core::inline doctor {

namespace {

bool may_be_model(std::string_view name) {
  return has_format_suffix(name) || is_shard_index(name);
}

// Whether a program may still load a file of the folder that it names.
bool is_about_folder(const Error& error) {
  return error.kind() == ErrorKind::permission_denied || error.kind() == ErrorKind::not_found ||
         error.kind() == ErrorKind::unsupported;
}

}  // namespace

Result<void> diagnose(const std::shared_ptr<Stores>& stores, const Uri& uri, const OpenRules& rules,
                      const DoctorReport& report) {
  DoctorSteps steps(report);
  Store* store = nullptr;
  if (!steps.run("settings", [&]() -> Result<std::string> {
        store = TRY(stores->of(uri));
        return fmt::format("{} is read by the {} backend", uri.text(), uri.scheme());
      }))
    return steps.failure();
  if (RemoteStore* const remote = store->remote()) TRY(diagnose_way(*remote, uri, report));

  std::optional<Uri> object;
  bool is_model = may_be_model(uri.last_component());
  const bool is_listed = steps.run("list", [&]() -> Result<std::string> {
    const bool is_folder = TRY(store->is_folder(uri));
    if (!is_folder) object = uri;
    is_model = is_model || is_folder;  // which no load takes if it is none
    const Uri folder = is_folder ? uri : folder_of(uri);
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    auto entries = store->list(folder, ListDepth::children);
    if (!entries && object && is_about_folder(entries.error()))
      return fmt::format("not needed for a file, and not possible: {}", entries.error().line());
    for (const Entry& entry : TRY(std::move(entries))) {
      if (entry.is_folder) continue;
      ++files;
      bytes += entry.size;
      if (!is_folder) continue;
      const bool is_first_shard = has_format_suffix(entry.uri.last_component()) &&
                                  !(object && has_format_suffix(object->last_component()));
      if (!object || is_first_shard) object = entry.uri;
    }
    return fmt::format("{} files, {}, directly in {}", files, format_bytes(bytes), folder.text());
  });
  if (!is_listed) return steps.failure();
  if (store->remote() != nullptr) {
    for (const auto& [name, detail] : store->remote()->findings(uri))
      steps.run(name, [&detail = detail]() -> Result<std::string> { return detail; });
  }
  if (!object) {
    steps.run("stat", [&]() -> Result<std::string> {
      // Says which file of a model is why, such as a link to nowhere.
      const std::string text = uri.text();
      if (is_model) static_cast<void>(TRY(open_checkpoint(std::span(&text, 1), stores, rules)));
      return Error(ErrorKind::not_found, "there is no file to read; check the path").at(uri.text());
    });
    return steps.failure();
  }
  Opened opened;
  if (!steps.run("stat", [&]() -> Result<std::string> {
        opened = TRY(store->open(*object, 1));
        const std::string version =
            opened.object.etag.empty() ? "" : ", ETag " + opened.object.etag;
        return fmt::format("{}: {} bytes{}", object->text(), opened.object.size, version);
      }))
    return steps.failure();
  if (!steps.run("read", [&]() -> Result<std::string> {
        const std::uint64_t size = opened.object.size;
        const ByteRange last{size > kMiB ? size - kMiB : 0, std::min(size, kMiB)};
        if (last.empty()) return std::string("nothing: the object is empty");
        std::vector<std::byte> bytes(last.size);
        const auto began = std::chrono::steady_clock::now();
        TRY(store->read(opened.object, last, bytes));
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        return fmt::format("bytes {}-{}: {:.1f} MB/s over one connection", last.offset,
                           last.end() - 1, static_cast<double>(last.size) / 1e6 / seconds);
      }))
    return steps.failure();
  if (!is_model) return {};
  const bool is_whole = steps.run("model", [&]() -> Result<std::string> {
    const std::string text = uri.text();
    const auto checkpoint = TRY(open_checkpoint(std::span(&text, 1), stores, rules));
    return fmt::format("{}, {}, in {}", counted(checkpoint->tensors.size(), "tensor"),
                       format_bytes(checkpoint->tensors.total_bytes()),
                       counted(checkpoint->objects.size(), "file"));
  });
  if (!is_whole) return steps.failure();
  return {};
}

}  // namespace streamer::core::inline doctor
