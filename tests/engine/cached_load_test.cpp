// SPDX-License-Identifier: Apache-2.0
// Loads with a local cache of remote weights: what the first one fetches, the next ones read from
// there, whatever happens to the store, the disk or the process meanwhile.
#include <signal.h>
#include <sys/resource.h>

#include <fstream>

#include "storage/cache/cache_entry.hpp"
#include "storage/cache/cache_settings.hpp"
#include "support/network_faults.hpp"

using namespace streamer::core;
using namespace streamer::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kRoom = ":1GB";

// A store, and a folder that its objects are cached in.
struct CacheLab : StoreLab {
  explicit CacheLab(std::uint32_t tensors = kTensors, std::uint64_t tensor_bytes = kTensorBytes)
      : StoreLab("127.0.0.1", tensors, tensor_bytes) {}

  // With a size of its own: without one, a tenth of the disk stays free, which may be all there is.
  Settings cached(const std::string& size = kRoom, const std::string& check = "etag") {
    Settings made = settings("4");
    REQUIRE(made.set(setting::kCacheWeights, (folder.path() / "cache").string() + size));
    REQUIRE(made.set(setting::kCacheCheck, check));
    return made;
  }
  // A load that everything was right in, and after which the cache has been written.
  LoadStats fill(const std::string& size = kRoom) { return right(cached(size)); }
  LoadStats right(const Settings& settings) {
    NetworkOutcome outcome = load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    return outcome.stats;
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& one : fs::recursive_directory_iterator(folder.path())) {
      if (one.path().extension() == ".weights") found.push_back(one.path());
    }
    return found;
  }
  std::uint64_t bytes() const { return data.size(); }

  TemporaryFolder folder;
};

void put_other_bytes(CacheLab& lab) {
  WireRequest request;
  request.path = lab.world.root() + "/bucket/" + percent_encode(lab.key, "/");
  request.headers["range"] = "bytes=0-99999999";
  std::string file = lab.world.range_of(request).bytes;
  const auto other = random_bytes(lab.data.size(), 99);
  lab.data.assign(reinterpret_cast<const char*>(other.data()), other.size());
  file.replace(file.size() - lab.data.size(), lab.data.size(), lab.data);
  lab.world.put(lab.key, file);
}

}  // namespace

TEST_CASE("the second load fetches nothing but the object's version", "[cache]") {
  CacheLab lab;
  const LoadStats first = lab.fill();
  // The first block came when the object was opened, and may have been written by then.
  CHECK(first.bytes_from_cache <= kCacheBlockBytes);
  CHECK(first.bytes_to_cache + first.bytes_from_cache + kCacheBlockBytes >= lab.bytes());
  CHECK(first.bytes_cache_dropped == 0);
  CHECK(lab.files().size() == 1);
  const std::uint64_t sent = lab.world.bytes_sent();
  const LoadStats second = lab.right(lab.cached());
  CHECK(second.bytes_from_cache >= lab.bytes());
  CHECK(second.bytes_network == 0);
  CHECK(second.network_requests == 0);
  CHECK(second.bytes_to_cache == 0);
  CHECK(lab.world.bytes_sent() == sent + 2);  // what an object is opened by
}

TEST_CASE("with cache_check=never a whole object is loaded without its store", "[cache]") {
  CacheLab lab;
  Settings settings = lab.cached(kRoom, "never");
  lab.right(settings);
  const std::uint32_t requests = lab.world.requests();
  put_other_bytes(lab);
  // It is not asked, and so not known to have changed.
  auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  CHECK((*checkpoint)->objects[0].object.etag == "\"etag-1\"");
  CHECK(lab.world.requests() == requests);
  // With a hole in it, it is asked.
  CacheLab other;
  settings = other.cached(":1MiB", "never");
  other.right(settings);
  const std::uint32_t asked = other.world.requests();
  other.right(settings);
  CHECK(other.world.requests() > asked);
}

TEST_CASE("with cache_check=never no older version is taken for the newest, which is there in part",
          "[cache]") {
  CacheLab lab;
  lab.fill();
  put_other_bytes(lab);
  // Its first block is cached with that, and nothing else.
  REQUIRE(lab.open(lab.cached()));
  REQUIRE(lab.files().size() == 2);
  const LoadStats stats = lab.right(lab.cached(kRoom, "never"));
  CHECK(stats.bytes_network > 0);
}

TEST_CASE("with cache_check=never a folder is what it was when it was listed", "[cache]") {
  if (dialect_under_test() == Dialect::https) return skip("an https server has no folders");
  CacheLab lab;
  const Settings settings = lab.cached(kRoom, "never");
  const std::vector<std::string> folder = {uri_in(lab.world, "models/a b+c/")};
  const auto load = [&] {
    auto checkpoint = open_checkpoint(folder, std::make_shared<Stores>(settings));
    if (!checkpoint) FAIL(checkpoint.error().line());
    const NetworkOutcome outcome = lab.StoreLab::load(*checkpoint, settings);
    if (outcome.error) FAIL(outcome.error->line());
  };
  load();
  const std::uint32_t requests = lab.world.requests();
  load();
  CHECK(lab.world.requests() == requests);
}

TEST_CASE("an object that was replaced is fetched, and cached beside the old one", "[cache]") {
  CacheLab lab;
  lab.fill();
  put_other_bytes(lab);
  CHECK(lab.fill().bytes_from_cache <= kCacheBlockBytes);
  CHECK(lab.right(lab.cached()).bytes_network == 0);
  CHECK(lab.files().size() == 2);
}

TEST_CASE("a block that went bad on disk is fetched again and mended", "[cache]") {
  CacheLab lab;
  lab.fill();
  const fs::path file = lab.files().at(0);
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
    const char wrong[8] = {'w', 'r', 'o', 'n', 'g'};
    bytes.write(wrong, sizeof wrong);
  }
  Warnings warnings;
  const LoadStats mended = lab.right(lab.cached());
  CHECK(mended.cache_blocks_bad == 1);
  CHECK(mended.bytes_network > 0);
  CHECK(warnings.count("does not have what was written to it") == 1);
  const LoadStats next = lab.right(lab.cached());
  CHECK(next.cache_blocks_bad == 0);
}

TEST_CASE("what broken answers bring is not cached", "[cache]") {
  CacheLab lab;
  // Half of an answer is the object's, and the rest is a proxy's; then the connection is gone.
  lab.world.set_fault(first_hits(8, [&](const WireRequest& request, Wire& wire) {
    Range range = lab.world.range_of(request);
    const std::string head = lab.world.head_206(range);
    std::fill(range.bytes.begin() + static_cast<std::ptrdiff_t>(range.bytes.size() / 2),
              range.bytes.end(), 'p');
    wire.send(head + range.bytes.substr(0, range.bytes.size() - 1));
    wire.close();
  }));
  CHECK(lab.fill().retries > 0);
  const LoadStats second = lab.right(lab.cached());
  CHECK(second.cache_blocks_bad == 0);
  CHECK(second.bytes_from_cache >= lab.bytes() / 2);
}

TEST_CASE("an object without a strong ETag is not cached, and that is said", "[cache]") {
  CacheLab lab;
  Warnings warnings;
  auto checkpoint = lab.open(lab.cached());
  REQUIRE(checkpoint);
  auto weak = std::make_shared<Checkpoint>(**checkpoint);
  weak->objects[0].object.etag = "W/\"1\"";
  const auto load = Load::start(weak, everything(*weak), {}, *read_load_settings(lab.cached()));
  REQUIRE(load);
  CHECK_THAT((*load)->notes(), Catch::Contains("is not cached (cache_weights)"));
}

TEST_CASE("a cache that is too small for a model keeps a part of it", "[cache]") {
  CacheLab lab;
  lab.fill(":768KiB");
  std::uint64_t held = 0;
  for (const auto& found : CacheFolder::open((lab.folder.path() / "cache").string())->files())
    held += found.file.disk_bytes;
  CHECK(held <= 768 * kKiB);
  const LoadStats second = lab.right(lab.cached(":768KiB"));
  CHECK(second.bytes_from_cache > 0);
  CHECK(second.bytes_network > 0);
}

TEST_CASE("a disk that is full ends the caching, and not the load", "[cache]") {
  CacheLab lab;
  const Settings settings = lab.cached();
  const int status = in_child([&] {
    const rlimit limit{600 * kKiB, 600 * kKiB};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    const NetworkOutcome outcome = lab.load(settings);
    return outcome.error ? 1 : 0;
  });
  CHECK(status == 0);
  const LoadStats second = lab.right(settings);
  CHECK(second.cache_blocks_bad == 0);
  CHECK(lab.right(settings).bytes_network == 0);
}

TEST_CASE("a process that is killed while it caches leaves nothing wrong behind", "[cache]") {
  CacheLab lab(32, kMiB);
  const Settings settings = lab.cached();
  std::vector<WaitingChild> children;
  for (int round = 0; round < 4; ++round) {
    children.emplace_back([&, round] {
      auto checkpoint = lab.open(settings);
      if (!checkpoint) return 1;
      auto load =
          Load::start(*checkpoint, everything(**checkpoint), {}, *read_load_settings(settings));
      if (!load) return 1;
      for (int taken = 0; taken <= 8 * round; ++taken) {
        auto next = (*load)->next(in(std::chrono::seconds(30)));
        if (!next || next->outcome != Load::Outcome::tensor) return 1;
        next->lease->release();
      }
      ::kill(::getpid(), SIGKILL);
      return 1;
    });
  }
  for (WaitingChild& child : children) {
    child.go();
    CHECK(child.status() == 128 + SIGKILL);
  }
  CHECK(lab.right(settings).cache_blocks_bad == 0);
  CHECK(lab.right(settings).bytes_network == 0);
}

TEST_CASE("processes that load at once share the cache", "[cache]") {
  CacheLab lab(16, kMiB);
  const Settings settings = lab.cached();
  std::vector<WaitingChild> children;
  for (int i = 0; i < 3; ++i)
    children.emplace_back([&] { return lab.load(settings).error ? 1 : 0; });
  for (WaitingChild& child : children)
    child.go();
  for (WaitingChild& child : children)
    CHECK(child.status() == 0);
  CHECK(lab.files().size() == 1);
  const LoadStats after = lab.right(settings);
  CHECK(after.bytes_network == 0);
  CHECK(after.cache_blocks_bad == 0);
}

TEST_CASE("a load for a device fills the cache and reads from it", "[cache]") {
  CacheLab lab;
  const auto load = [&] {
    auto checkpoint = lab.open(lab.cached());
    REQUIRE(checkpoint);
    const NetworkOutcome outcome = lab.StoreLab::load(*checkpoint, lab.cached(), true);
    if (outcome.error) FAIL(outcome.error->line());
    return outcome.stats;
  };
  CHECK(load().bytes_network > 0);
  CHECK(load().bytes_network == 0);
}
