// SPDX-License-Identifier: Apache-2.0
// The suite of tests/support/store_conformance.hpp on every store of ours, and on the one that
// CONTRIBUTING shows, which goes through loads of several ranks and to a device besides.
#include "support/store_conformance.hpp"

#include <numeric>

#include "distributed/distributed_load.hpp"
#include "gpu/kept_segments.hpp"
#include "storage/memory_store.hpp"
#include "support/cuda_stand_in.hpp"
#include "support/ranks.hpp"
#include "support/store_lab.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

class FilesUnderTest final : public StoreUnderTest {
 public:
  std::shared_ptr<Stores> stores() override { return std::make_shared<Stores>(Settings()); }
  Uri root() override { return {"file", folder_.path().string() + "/"}; }
  void put(const std::string& name, std::string bytes) override {
    const auto path = write_text(folder_.path() / "new", bytes);
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    std::filesystem::rename(path, folder_.path() / name);
  }
  void remove(const std::string& name) override { std::filesystem::remove(folder_.path() / name); }

 private:
  TemporaryFolder folder_;
};

class MemoryUnderTest final : public StoreUnderTest {
 public:
  std::shared_ptr<Stores> stores() override {
    auto stores = std::make_shared<Stores>(Settings());
    stores->add("memory", store_);
    return stores;
  }
  Uri root() override { return *parse_uri("memory://bucket/a folder/"); }
  void put(const std::string& name, std::string bytes) override {
    const auto all = std::as_bytes(std::span<const char>(bytes));
    store_->put(uri(name).path(), {all.begin(), all.end()});
  }
  void remove(const std::string& name) override { store_->remove(uri(name).path()); }

 private:
  const std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
};

class RemoteUnderTest final : public StoreUnderTest {
 public:
  explicit RemoteUnderTest(Dialect dialect) : world_("127.0.0.1", dialect) {}

  std::shared_ptr<Stores> stores() override {
    return std::make_shared<Stores>(settings_for(world_, "4", folder_.path()));
  }
  Uri root() override { return *parse_uri(uri_in(world_, "a folder/")); }
  void put(const std::string& name, std::string bytes) override {
    world_.put("a folder/" + name, std::move(bytes));
  }
  void remove(const std::string& name) override { world_.remove("a folder/" + name); }
  bool lists() override { return world_.dialect() != Dialect::https; }
  bool break_next_read() override {
    auto left = std::make_shared<std::atomic<int>>(1);
    world_.set_fault([this, left](const WireRequest& request, Wire& wire, std::uint32_t) {
      if (left->fetch_sub(1) <= 0) return false;
      const StoreWorld::Range range = world_.range_of(request);
      wire.send(world_.head_206(range) + range.bytes.substr(0, range.bytes.size() / 2));
      wire.close_after_read();
      return true;
    });
    return true;
  }
  bool hang_reads(std::function<void()> was_asked) override {
    world_.set_fault([was_asked](const WireRequest&, Wire& wire, std::uint32_t) {
      was_asked();
      wire.stall();
      return true;
    });
    return true;
  }

 private:
  TemporaryFolder folder_;
  StoreWorld world_;
};

}  // namespace

TEST_CASE("files are a store", "[conformance]") {
  FilesUnderTest it;
  run_conformance(it);
}

TEST_CASE("a store of another kind is one file and one line", "[conformance]") {
  MemoryUnderTest it;
  run_conformance(it);
}

TEST_CASE("S3 is a store", "[conformance]") {
  RemoteUnderTest it(Dialect::s3);
  run_conformance(it);
}

TEST_CASE("Google Cloud Storage is a store", "[conformance]") {
  RemoteUnderTest it(Dialect::google);
  run_conformance(it);
}

TEST_CASE("Azure Blob is a store", "[conformance]") {
  RemoteUnderTest it(Dialect::azure);
  run_conformance(it);
}

TEST_CASE("a plain web server is a store", "[conformance]") {
  RemoteUnderTest it(Dialect::https);
  run_conformance(it);
}

TEST_CASE("a hub is a store", "[conformance]") {
  RemoteUnderTest it(Dialect::hub);
  run_conformance(it);
}

TEST_CASE("ranks share what a store of another kind has", "[conformance]") {
  MemoryUnderTest it;
  const auto expected = put_model(it);
  const auto checkpoint = open_model(it);
  const std::uint64_t all_bytes =
      std::accumulate(expected.begin(), expected.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const auto& one) { return sum + one.second.size(); });
  RankWorld world(3);
  std::vector<std::string> wrong(3);
  std::atomic<std::uint64_t> bytes_read{0};
  on_ranks(3, [&](std::uint32_t rank) {
    auto load = start_distributed(world.of(rank), checkpoint, everything(*checkpoint), {}, {}, {});
    const auto error = load ? take_all(**load, expected) : std::optional(load.error().copy());
    if (error) wrong[rank] = error->line();
    if (load) bytes_read += (*load)->stats().bytes_read;
  });
  CHECK(wrong == std::vector<std::string>(3));
  CHECK(world.violations().empty());
  // Each byte once, between them.
  CHECK(bytes_read == all_bytes);
}

TEST_CASE("a store of another kind brings bytes to a device", "[conformance]") {
  MemoryUnderTest it;
  const auto expected = put_model(it);
  CudaStandIn cuda({.longest_delay_us = 100});
  {
    const auto checkpoint = open_model(it);
    auto load = Load::start(checkpoint, everything(*checkpoint),
                            {.device = {kCudaKind, 0}, .gpu = &cuda}, {});
    if (!load) FAIL(load.error().line());
    const auto error = take_all(**load, expected);
    if (error) FAIL(error->line());
  }
  drop_kept_segments();
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("what a store of another kind fails with is what its load fails with", "[conformance]") {
  class Refusing final : public Store {
   public:
    explicit Refusing(std::shared_ptr<MemoryStore> all) : all_(std::move(all)) {}
    Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override {
      return all_->open(uri, first_bytes);
    }
    Result<bool> is_folder(const Uri& uri) override { return all_->is_folder(uri); }
    Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override {
      return all_->list(uri, depth);
    }
    Result<void> read(const Object& object, ByteRange range, std::span<std::byte>) override {
      return Error(ErrorKind::permission_denied, "the tape is locked away")
          .at(object.uri.text(), range);
    }

   private:
    const std::shared_ptr<MemoryStore> all_;
  };
  auto memory = std::make_shared<MemoryStore>();
  const std::string file =
      safetensors_file(R"({"t":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 9);
  const auto bytes = std::as_bytes(std::span<const char>(file));
  memory->put("bucket/m.safetensors", {bytes.begin(), bytes.end()});
  auto stores = std::make_shared<Stores>(Settings());
  stores->add("tape", std::make_shared<Refusing>(memory));
  const std::vector<std::string> uris = {"tape://bucket/m.safetensors"};
  const auto checkpoint = open_checkpoint(uris, stores);
  if (!checkpoint) FAIL(checkpoint.error().line());
  auto load = Load::start(*checkpoint, everything(**checkpoint), {}, {});
  REQUIRE(load);
  const auto next = (*load)->next(in(std::chrono::seconds(30)));
  REQUIRE_FALSE(next);
  CHECK(next.error().kind() == ErrorKind::permission_denied);
  CHECK_THAT(next.error().line(), Catch::Contains("tape://bucket/m.safetensors") &&
                                      Catch::Contains("the tape is locked away"));
}
