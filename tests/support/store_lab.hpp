// SPDX-License-Identifier: Apache-2.0
#pragma once
// A checkpoint in a store on loopback, and loads of it.

#include <memory>
#include <string>
#include <vector>

#include "capi/abi/all_settings.hpp"
#include "engine/load.hpp"
#include "gpu/kept_segments.hpp"
#include "storage/gcs/gcs_settings.hpp"
#include "storage/remote_settings.hpp"
#include "storage/s3/s3_settings.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/lab.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"
#include "support/store_world.hpp"

namespace streamer::test {

struct NetworkOutcome {
  core::LoadStats stats;
  std::optional<core::Error> error;
  std::uint32_t wrong_tensors = 0;
};

// Settings that reach this store and give up soon enough for a test.
inline core::Settings settings_for(StoreWorld& world, const std::string& connections,
                                   const std::filesystem::path& folder) {
  core::Settings made;
  std::vector<std::pair<std::string, std::string>> values = {{"debug.connections", connections},
                                                             {"debug.chunk_bytes", "16KiB"},
                                                             {"stall_timeout_ms", "3000"},
                                                             {"debug.hedging", "off"}};
  const std::string url = world.server().url();
  switch (world.dialect()) {
    case Dialect::s3:
      values.insert(values.end(), {{"s3_endpoint", url},
                                   {"s3_region", "us-east-1"},
                                   {"s3_credentials", StoreKey().as_setting()}});
      break;
    case Dialect::google:
      values.insert(
          values.end(),
          {{"gcs_endpoint", url},
           {"gcs_credentials",
            "file:" + write_text(folder / "account.json", service_account_file()).string()}});
      break;
    case Dialect::azure:
      values.insert(values.end(), {{"azure_endpoint", url + world.root()},
                                   {"azure_account_name", StoreKey().id},
                                   {"azure_credentials", "key:" + StoreKey().secret}});
      break;
    case Dialect::https:
      values.insert(values.end(), {{"https_bearer_token", "testtoken"}});
      break;
    case Dialect::hub:
      values.insert(values.end(),
                    {{"hf_endpoint", url}, {"hf_token", "testtoken"}, {"hf_cache_folder", "off"}});
  }
  for (const auto& [name, value] : values)
    REQUIRE(streamer::capi::set_by_name(made, name, value));
  return made;
}

// Of an object in it.
inline std::string uri_in(StoreWorld& world, const std::string& key) {
  switch (world.dialect()) {
    case Dialect::google:
      return "gs://bucket/" + key;
    case Dialect::azure:
      return "az://bucket/" + key;
    case Dialect::https:
      return world.server().url() + "/bucket/" + core::percent_encode(key, "/");
    case Dialect::hub:
      return "hf://org/model/" + key;
    case Dialect::s3:
      break;
  }
  return "s3://bucket/" + key;
}

class StoreLab {
 public:
  static constexpr std::uint32_t kTensors = 24;
  static constexpr std::uint64_t kTensorBytes = 64 * 1024 + 13;

  explicit StoreLab(const std::string& address = "127.0.0.1", std::uint32_t tensors = kTensors,
                    std::uint64_t tensor_bytes = kTensorBytes)
      : world(address, dialect_under_test()), tensors_(tensors), tensor_bytes_(tensor_bytes) {
    std::string header = "{";
    for (std::uint32_t t = 0; t < tensors; ++t) {
      header +=
          fmt::format("{}\"t{}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                      t == 0 ? "" : ",", t, tensor_bytes, t * tensor_bytes, (t + 1) * tensor_bytes);
    }
    const auto bytes = random_bytes(tensors * tensor_bytes, 7);
    data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    world.put(key, safetensors_file(header + "}") + data);
  }

  core::Settings settings(const std::string& connections) {
    return settings_for(world, connections, folder_.path());
  }

  // Of the checkpoint's only file.
  std::string uri() { return uri_in(world, key); }

  core::Result<std::shared_ptr<const core::Checkpoint>> open(const core::Settings& settings) {
    const std::vector<std::string> uris = {uri()};
    return core::open_checkpoint(uris, std::make_shared<core::Stores>(settings));
  }

  // Loads everything and compares every byte of what was yielded. With STREAMER_TEST_DEVICE in the
  // environment the load ends in memory of a device, on the stand-in.
  NetworkOutcome load(const core::Settings& settings) {
    auto checkpoint = open(settings);
    if (!checkpoint) return {{}, std::move(checkpoint).error()};
    return load(*checkpoint, settings);
  }
  NetworkOutcome load(const std::shared_ptr<const core::Checkpoint>& checkpoint,
                      const core::Settings& settings,
                      bool is_for_device = std::getenv("STREAMER_TEST_DEVICE") != nullptr) const {
    CudaStandIn cuda({.longest_delay_us = 100});
    core::LoadOptions options;
    if (is_for_device) {
      options.device = {core::kCudaKind, 0};
      options.gpu = &cuda;
    }
    NetworkOutcome outcome = load_with(checkpoint, settings, options);
    core::drop_kept_segments();
    CHECK(cuda.violations() == std::vector<std::string>());
    CHECK(cuda.things_alive() == 0);
    return outcome;
  }
  NetworkOutcome load_with(const std::shared_ptr<const core::Checkpoint>& checkpoint,
                           const core::Settings& settings, const core::LoadOptions& options) const {
    auto load = core::Load::start(checkpoint, everything(*checkpoint), options,
                                  *core::read_load_settings(settings));
    if (!load) return {{}, std::move(load).error()};
    NetworkOutcome outcome;
    std::uint32_t yielded = 0;
    for (;;) {
      auto next = (*load)->next(in(std::chrono::seconds(60)));
      if (!next) {
        outcome.error = std::move(next).error();
        break;
      }
      REQUIRE(next->outcome != core::Load::Outcome::not_ready);
      if (next->outcome == core::Load::Outcome::end) break;
      core::TensorLease& lease = *next->lease;
      const std::uint64_t number = *core::parse_unsigned(lease.tensor().name.substr(1));
      const bool is_same =
          lease.bytes() == tensor_bytes_ &&
          std::memcmp(lease.data(), data.data() + number * tensor_bytes_, tensor_bytes_) == 0;
      if (!is_same) ++outcome.wrong_tensors;
      REQUIRE((is_same || may_be_wrong_and_fail));
      lease.release();
      ++yielded;
    }
    if (!outcome.error) REQUIRE(yielded == tensors_);
    if (!outcome.error) REQUIRE(outcome.wrong_tensors == 0);
    outcome.stats = (*load)->stats();
    return outcome;
  }

  const std::string key = "models/a b+c/é.safetensors";
  std::string data;
  // Whether a load that fails in the end may have handed over wrong bytes before.
  bool may_be_wrong_and_fail = false;
  StoreWorld world;

 private:
  TemporaryFolder folder_;
  const std::uint32_t tensors_;
  const std::uint64_t tensor_bytes_;
};

}  // namespace streamer::test
