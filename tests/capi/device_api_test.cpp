// SPDX-License-Identifier: Apache-2.0
// The public headers with devices, on a stand-in for the CUDA runtime.
#include <streamer/streamer.hpp>

#include <cstring>
#include <fstream>
#include <map>

#include "gpu/gpu_kinds.hpp"
#include "memory/dlpack.hpp"
#include "support/catch.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer;
using streamer::test::CudaStandIn;

namespace {

struct GpuModel {
  GpuModel() {
    const auto bytes = streamer::test::random_bytes(3000, 3);
    data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::ofstream(path, std::ios::binary)
        << streamer::test::safetensors_file(
               R"({"a":{"dtype":"F32","shape":[10,20],"data_offsets":[0,800]},)"
               R"("b":{"dtype":"BF16","shape":[1100],"data_offsets":[800,3000]},)"
               R"("e":{"dtype":"F32","shape":[0],"data_offsets":[3000,3000]}})")
        << data;
  }
  streamer::test::TemporaryFolder folder;
  std::string path = (folder.path() / "m.safetensors").string();
  std::string data;
};

CudaStandIn& cuda_stand_in(std::int32_t kind = core::kCudaKind) {
  return static_cast<CudaStandIn&>(**core::runtime_of({kind, 0}));
}

// The stand-in's devices have host memory.
std::string text_at(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size()};
}

}  // namespace

TEST_CASE("everything is loaded to the device of the options", "[device-api]") {
  const GpuModel model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  LoadOptions options;
  options.device = cuda(1);
  auto load = Load::start(checkpoint, everything(), options).value();
  std::map<std::string, std::string> loaded;
  std::vector<Tensor> held;
  while (auto tensor = load.next().value()) {
    CHECK(tensor->device() == cuda(1));
    loaded[std::string(tensor->name())] = text_at(*tensor);
    const auto address = reinterpret_cast<std::uintptr_t>(tensor->bytes().data());
    CHECK(address % 512 == 0);
    held.push_back(*std::move(tensor));
  }
  CHECK(loaded == std::map<std::string, std::string>{
                      {"a", model.data.substr(0, 800)}, {"b", model.data.substr(800)}, {"e", ""}});
  const LoadStats stats = load.stats();
  CHECK(load.stat("bytes_to_devices").value() >= 3000);
  CHECK(load.stat("device_bytes").value() >= 3000);
  CHECK(load.stat("arena_bytes").value() == 0);
  CHECK(std::string(stats.notes).empty());
}

TEST_CASE("items go to several devices and to memory of the caller", "[device-api]") {
  const GpuModel model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  CudaStandIn& runtime = cuda_stand_in();
  REQUIRE(runtime.use_device(1));
  auto* const own = static_cast<std::byte*>(*runtime.allocate(800));
  REQUIRE(runtime.use_device(0));
  auto plan = Plan::of(checkpoint).value();
  std::vector<std::byte> on_host(2200);
  plan.add(checkpoint.find("a").value(), Destination(cuda(1), own, 800), 1).value();
  plan.add(checkpoint.find("b").value(), cuda(0), 2).value();
  plan.add(checkpoint.find("b").value(), on_host, 3).value();
  plan.add(checkpoint.find("b").value(), Slice{.dimension = 0, .start = 1, .stop = 3}, {}, 4)
      .value();
  CHECK(plan.add(checkpoint.find("a").value(), Destination(cuda(1), own, 799)).error().kind() ==
        ErrorKind::invalid_argument);
  CHECK(plan.add(checkpoint.find("a").value(), Device{Device::Kind::cuda, -1}).error().kind() ==
        ErrorKind::invalid_argument);
  std::vector<std::byte> buffer(10'000);
  CHECK_THAT(plan.set_buffer(buffer).error().line(), Catch::Contains("device"));
  {
    auto load = Load::start(plan).value();
    for (int i = 0; i < 4; ++i) {
      const Tensor tensor = *load.next().value();
      switch (tensor.tag()) {
        case 1:
          CHECK(tensor.device() == cuda(1));
          CHECK(tensor.bytes().data() == own);
          CHECK(text_at(tensor) == model.data.substr(0, 800));
          break;
        case 2:
          CHECK(tensor.device() == cuda(0));
          CHECK(text_at(tensor) == model.data.substr(800));
          break;
        case 3:
          CHECK(tensor.device() == host());
          CHECK(tensor.bytes().data() == on_host.data());
          CHECK(text_at(tensor) == model.data.substr(800));
          break;
        default:
          CHECK(tensor.device() == host());
          CHECK(text_at(tensor) == model.data.substr(802, 4));
      }
    }
    CHECK_FALSE(load.next().value());
  }
  REQUIRE(runtime.use_device(1));
  REQUIRE(runtime.free(own));
  REQUIRE(runtime.use_device(0));
  CHECK(runtime.violations() == std::vector<std::string>());
}

TEST_CASE("a DLPack export names its device and holds its memory", "[device-api]") {
  const GpuModel model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  DLManagedTensorVersioned* exported = nullptr;
  DLManagedTensor* older = nullptr;
  {
    LoadOptions options;
    options.device = cuda(1);
    auto load =
        Load::start(checkpoint, where([](const TensorInfo& t) { return t.name == "b"; }), options)
            .value();
    const Tensor tensor = *load.next().value();
    exported = tensor.to_dlpack_versioned().value();
    older = tensor.to_dlpack().value();
  }
  for (const DLTensor* const tensor : {&exported->dl_tensor, &older->dl_tensor}) {
    CHECK(tensor->device.device_type == 2);  // kDLCUDA
    CHECK(tensor->device.device_id == 1);
    CHECK(tensor->shape[0] == 1100);
    CHECK(std::memcmp(tensor->data, model.data.data() + 800, 2200) == 0);
  }
  exported->deleter(exported);
  older->deleter(older);
}

TEST_CASE("wrong devices and streams are refused", "[device-api]") {
  const GpuModel model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  LoadOptions options;
  options.device = cuda(2);
  CHECK_THAT(Load::start(checkpoint, everything(), options).error().line(),
             Catch::Contains("cuda:2"));
  options.device = host();
  options.stream = &options;
  CHECK(Load::start(checkpoint, everything(), options).error().kind() ==
        ErrorKind::invalid_argument);
  options.device = {static_cast<Device::Kind>(7), 0};
  CHECK(Load::start(checkpoint, everything(), options).error().kind() ==
        ErrorKind::invalid_argument);
  CHECK(copy_rate(host()).error().kind() == ErrorKind::invalid_argument);
  CHECK(copy_rate(cuda(2)).error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("another vendor's GPUs are devices like all others, beside the first one's",
          "[device-api]") {
  const GpuModel model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  const Device other = device_named("rocm:1").value();
  CHECK(name(other) == "rocm:1");
  CHECK(other != cuda(1));
  auto plan = Plan::of(checkpoint).value();
  plan.add(checkpoint.find("a").value(), other).value();
  plan.add(checkpoint.find("b").value(), cuda(1)).value();
  std::map<std::string, Device> devices;
  {
    auto load = Load::start(plan).value();
    while (auto tensor = load.next().value()) {
      devices.emplace(tensor->name(), tensor->device());
      const bool is_first = tensor->name() == "a";
      CHECK(text_at(*tensor) == (is_first ? model.data.substr(0, 800) : model.data.substr(800)));
      DLManagedTensorVersioned* const shared = tensor->to_dlpack_versioned().value();
      CHECK(shared->dl_tensor.device.device_type == (is_first ? 10 : 2));  // kDLROCM, kDLCUDA
      CHECK(shared->dl_tensor.device.device_id == 1);
      shared->deleter(shared);
    }
  }
  CHECK(devices == std::map<std::string, Device>{{"a", other}, {"b", cuda(1)}});
  CHECK(cuda_stand_in(10).calls("cuMemcpyHtoDAsync") > 0);
  CHECK(copy_rate(other).value() > 0);
  const Error none = copy_rate(device_named("rocm:7").value()).error();
  CHECK(none.kind() == ErrorKind::invalid_argument);
  CHECK_THAT(none.line(), Catch::Contains("no such device: rocm:7") &&
                              Catch::Contains("rocm:0 to rocm:1") &&
                              Catch::Contains("ROCR_VISIBLE_DEVICES"));
  CHECK_THAT(device_named("tpu:0").error().line(),
             Catch::Contains("tpu:0") && Catch::Contains("rocm:NUMBER"));
  CHECK(trim() > 0);
  CHECK(cuda_stand_in(10).things_alive() == 0);
  CHECK(cuda_stand_in(10).violations() == std::vector<std::string>());
}

TEST_CASE("what loads keep is given back on demand, and nothing is left", "[device-api]") {
  const GpuModel model;
  LoadOptions options;
  options.device = cuda();
  options.settings = {{"debug.staging_bytes", "8MiB"}, {"debug.device_allocator", "pool"}};
  {
    const auto checkpoint = Checkpoint::open({model.path}).value();
    auto load = Load::start(checkpoint, everything(), options).value();
    while (load.next().value()) {
    }
  }
  CHECK(trim() >= 6 << 20);
  CHECK(trim() == 0);
  CHECK(copy_rate(cuda()).value() > 0);
  CHECK(cuda_stand_in().things_alive() == 0);
  CHECK(cuda_stand_in().violations() == std::vector<std::string>());
}
