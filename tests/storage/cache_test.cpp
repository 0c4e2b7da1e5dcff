// SPDX-License-Identifier: Apache-2.0
// The local cache of remote weights, without a network: its files, what goes first, what is left by
// a writer that was killed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include "storage/cache/cache_run.hpp"
#include "storage/cache/weight_cache.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"

using namespace streamer::core;
using namespace streamer::test;
namespace fs = std::filesystem;

namespace {

CacheKey key_for(const std::string& uri, std::uint64_t size, const std::string& etag = "\"v1\"") {
  return {cache_identity("https://store.example", uri, ""), uri, etag, size};
}

// With a size, so that it does not matter how full the disk is.
std::unique_ptr<WeightCache> open_cache(const fs::path& folder, std::uint64_t limit_bytes = kGiB,
                                        std::uint64_t queue_bytes = 64 * kMiB) {
  auto cache = WeightCache::open({folder.string(), limit_bytes}, queue_bytes);
  if (!cache) FAIL(cache.error().line());
  REQUIRE(*cache);
  return *std::move(cache);
}

std::string_view text_at(const std::vector<std::byte>& bytes, std::uint64_t offset,
                         std::uint64_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
}

// All of it, by a cache that ends before this returns.
void fill(const fs::path& folder, const CacheKey& key, const std::vector<std::byte>& bytes,
          std::uint64_t limit_bytes = kGiB) {
  const auto cache = open_cache(folder, limit_bytes);
  cache->write(cache->entry(key), 0, bytes);
}

CacheEntry::Read read_of(CacheEntry& entry, ByteRange range, std::vector<std::byte>& to) {
  to.assign(range.size, std::byte{0});
  return entry.read(range, to);
}

bool is_right(CacheEntry& entry, ByteRange range, const std::vector<std::byte>& bytes) {
  std::vector<std::byte> read;
  return read_of(entry, range, read).is_right &&
         std::memcmp(read.data(), bytes.data() + range.offset, range.size) == 0;
}

std::vector<fs::path> weights_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& one : fs::recursive_directory_iterator(folder)) {
    if (one.path().extension() == ".weights") found.push_back(one.path());
  }
  return found;
}

// As if all of it had been used an hour earlier: the clock of files is coarse.
void make_older(const fs::path& folder) {
  for (const fs::path& file : weights_in(folder))
    fs::last_write_time(file, fs::last_write_time(file) - std::chrono::hours(1));
}

std::uint64_t held_by(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& found : CacheFolder::open(folder.string())->files())
    bytes += found.file.disk_bytes;
  return bytes;
}

}  // namespace

TEST_CASE("a cached object is named by where it is, and not by how its URL is signed", "[cache]") {
  const auto of = [](const char* origin, const char* uri, const char* query) {
    return cache_identity(origin, uri, query);
  };
  const std::string plain = of("https://a", "https://a/x", "");
  CHECK(plain.size() == 32);
  CHECK(of("https://b", "https://a/x", "") != plain);
  CHECK(of("https://a", "https://a/y", "") != plain);
  CHECK(of("https://a", "https://a/x", "id=5") != of("https://a", "https://a/x", "id=6"));
  for (const char* const query :
       {"X-Amz-Signature=one&X-Amz-Date=20260101T000000Z&X-Amz-Credential=me", "sig=abc&se=2030",
        "Expires=1&Signature=b&Key-Pair-Id=c", "x-goog-signature=00"})
    CHECK(of("https://a", "https://a/x", query) == plain);
}

TEST_CASE("the first page of a cached file says whose it is, or nothing", "[cache]") {
  const CacheKey key = key_for("s3://bucket/a \"b\"\\é", 5'000'000'000, "\"x\ty\"");
  const std::string page = *cache_head(key);
  CHECK(page.size() == kPageBytes);
  const auto read = read_cache_head(page);
  REQUIRE(read);
  CHECK(*read == key);
  CHECK(read->uri == key.uri);
  for (std::size_t at = 0; at < page.find('\0'); at += 7) {
    std::string wrong = page;
    wrong[at] = static_cast<char>(wrong[at] ^ 4);
    CHECK_FALSE(read_cache_head(wrong));
  }
  CHECK_FALSE(read_cache_head(std::string(kPageBytes, '\0')));
  CHECK_FALSE(read_cache_head(""));
  CHECK_FALSE(cache_head(key_for(std::string(5000, 'x'), 1)));
}

TEST_CASE("a block's sum is never that of a hole, and belongs to one block", "[cache]") {
  const std::string zeros(kCacheBlockBytes, '\0');
  CHECK(cache_block_sum(0, zeros) != 0);
  CHECK(cache_block_sum(0, zeros) != cache_block_sum(1, zeros));
  CHECK(cache_block_sum(0, zeros) != cache_block_sum(0, std::string_view(zeros).substr(1)));
}

TEST_CASE("what was used least recently goes first, and a tenth of the disk stays free",
          "[cache]") {
  const CachedFile files[] = {{10, 300}, {20, 100}, {30, 200}, {5, 100}};
  CHECK(eviction_order(files) == std::vector<std::size_t>{1, 3, 2, 0});
  CHECK(cache_limit(77, 1000, {100, 0}) == 77);
  CHECK(cache_limit(0, 50, {1000, 300}) == 250);
  CHECK(cache_limit(0, 50, {1000, 100}) == 50);
  CHECK(cache_limit(0, 50, {1000, 70}) == 20);
  CHECK(cache_limit(0, 50, {1000, 10}) == 0);
  CHECK(next_allowance(100 * kGiB, 0) == kGiB);
  CHECK(next_allowance(8 * kGiB, 8 * kGiB - 5) == 5);
  CHECK(next_allowance(100, 200) == 0);
}

TEST_CASE("what was written is there for the next process, and holes are not", "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 5 * kCacheBlockBytes + 12'345;
  const auto bytes = random_bytes(size, 1);
  const CacheKey key = key_for("s3://bucket/model", size);
  {
    const auto cache = open_cache(folder.path() / "a/b");
    const auto entry = cache->entry(key);
    CHECK(entry->is_empty());
    // Blocks 1 and 2, and the last, which is short.
    cache->write(entry, kCacheBlockBytes,
                 std::span(bytes).subspan(kCacheBlockBytes, 2 * kCacheBlockBytes));
    cache->write(entry, 5 * kCacheBlockBytes, std::span(bytes).subspan(5 * kCacheBlockBytes));
  }
  const auto cache = open_cache(folder.path() / "a/b");
  const auto entry = cache->entry(key);
  CHECK(entry->cached_bytes() == 2 * kCacheBlockBytes + 12'345);
  CHECK_FALSE(entry->is_whole());
  CHECK(is_right(*entry, {kCacheBlockBytes, 2 * kCacheBlockBytes}, bytes));
  CHECK(is_right(*entry, {kCacheBlockBytes + 17, 300'001}, bytes));
  CHECK(is_right(*entry, {size - 100, 100}, bytes));
  CHECK_FALSE(entry->has({kCacheBlockBytes - 1, 2}));
  CHECK_FALSE(entry->has({size - 100, 101}));
  CHECK_FALSE(is_right(*entry, {0, 10}, bytes));
  CHECK(cache->entry(key_for("s3://bucket/model", size, "\"v2\""))->is_empty());
  CHECK(cache->entry(key_for("s3://bucket/other", size))->is_empty());
  CHECK(cache->folder().knows(key.identity));
  CHECK(cache->folder().versions(key.identity) == std::vector<CacheKey>{key});
}

TEST_CASE("the cache's files and folders are private", "[cache]") {
  TemporaryFolder folder;
  fill(folder.path() / "new/cache", key_for("s3://bucket/model", 1000), random_bytes(1000, 1));
  const auto mode = [](const fs::path& path) {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
  };
  const auto files = weights_in(folder.path() / "new");
  REQUIRE(files.size() == 1);
  CHECK(mode(files[0]) == 0600);
  CHECK(mode(files[0].parent_path()) == 0700);
  CHECK(mode(folder.path() / "new/cache") == 0700);
  CHECK(mode(folder.path() / "new") == 0700);
}

TEST_CASE("a folder that others may fill is refused, and its setting is named", "[cache]") {
  TemporaryFolder folder;
  fs::create_directory(folder.path() / "open");
  fs::permissions(folder.path() / "open", fs::perms::all);
  const auto refused = WeightCache::open({(folder.path() / "open").string(), 0}, kMiB);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::permission_denied);
  CHECK_THAT(refused.error().line(),
             Catch::Contains("everybody may write") && Catch::Contains("cache_weights"));
  if (::geteuid() != 0) return;
  fs::permissions(folder.path() / "open", fs::perms::owner_all);
  REQUIRE(::chown((folder.path() / "open").c_str(), 12345, 12345) == 0);
  const auto foreign = WeightCache::open({(folder.path() / "open").string(), 0}, kMiB);
  REQUIRE_FALSE(foreign);
  CHECK_THAT(foreign.error().line(), Catch::Contains("belongs to user 12345"));
}

TEST_CASE("a block that changed on disk is found, forgotten, and written again", "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 4 * kCacheBlockBytes;
  const auto bytes = random_bytes(size, 3);
  const CacheKey key = key_for("s3://bucket/model", size);
  fill(folder.path(), key, bytes);
  const auto files = weights_in(folder.path());
  REQUIRE(files.size() == 1);
  {
    std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(CacheLayout{size}.data_at(2 * kCacheBlockBytes + 99)));
    file.put('!');
  }
  const auto cache = open_cache(folder.path());
  const auto entry = cache->entry(key);
  CHECK(entry->is_whole());
  std::vector<std::byte> read;
  const auto outcome = read_of(*entry, {kCacheBlockBytes, 2 * kCacheBlockBytes}, read);
  CHECK_FALSE(outcome.is_right);
  CHECK(outcome.bad_blocks == 1);
  CHECK_FALSE(entry->has({2 * kCacheBlockBytes, 1}));
  CHECK(is_right(*entry, {0, 2 * kCacheBlockBytes}, bytes));
  // For other processes, too.
  CHECK_FALSE(open_cache(folder.path())->entry(key)->is_whole());
  fill(folder.path(), key, bytes);
  CHECK(is_right(*open_cache(folder.path())->entry(key), {0, size}, bytes));
}

TEST_CASE("whatever a killed writer leaves is right or not there", "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 4 * kCacheBlockBytes - 5000;
  const auto bytes = random_bytes(size, 4);
  const CacheKey key = key_for("s3://bucket/model", size);
  fill(folder.path(), key, bytes);
  const fs::path file = weights_in(folder.path()).at(0);
  const std::uint64_t whole = fs::file_size(file);
  // The file ends anywhere: in its first page, in its sums, in a block.
  for (const std::uint64_t left :
       {std::uint64_t{0}, std::uint64_t{100}, kPageBytes - 1, kPageBytes, kPageBytes + 12,
        2 * kPageBytes, 2 * kPageBytes + kCacheBlockBytes + 7, whole - kPageBytes}) {
    CAPTURE(left);
    fs::resize_file(file, left);
    const auto cache = open_cache(folder.path());
    const auto entry = cache->entry(key);
    for (std::uint64_t at = 0; at < size; at += 100'000) {
      const ByteRange range{at, std::min<std::uint64_t>(100'000, size - at)};
      std::vector<std::byte> read;
      if (read_of(*entry, range, read).is_right)
        CHECK(text_at(read, 0, range.size) == text_at(bytes, at, range.size));
    }
    cache->write(entry, 0, bytes);
    // Written by the cache's end, which is another one's beginning.
    const_cast<std::unique_ptr<WeightCache>&>(cache).reset();
    CHECK(is_right(*open_cache(folder.path())->entry(key), {0, size}, bytes));
  }
  // Sums of blocks that never reached the disk, as after a power failure.
  const UniqueFd fd(::open(file.c_str(), O_RDWR));
  REQUIRE(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(CacheLayout{size}.data_at(kCacheBlockBytes)),
                      kCacheBlockBytes) == 0);
  const auto entry = open_cache(folder.path())->entry(key);
  CHECK(is_right(*entry, {0, kCacheBlockBytes}, bytes));
  CHECK_FALSE(is_right(*entry, {kCacheBlockBytes, 10}, bytes));
  CHECK(is_right(*entry, {2 * kCacheBlockBytes, 10}, bytes));
}

TEST_CASE("a bounded cache drops what was used least recently, but nothing that is in use",
          "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 8 * kCacheBlockBytes;
  const std::uint64_t limit = 20 * kCacheBlockBytes;
  const auto bytes = random_bytes(size, 5);
  const auto key = [&](int i) { return key_for(fmt::format("s3://bucket/{}", i), size); };
  fill(folder.path(), key(0), bytes, limit);
  make_older(folder.path());
  fill(folder.path(), key(1), bytes, limit);
  make_older(folder.path());
  // Used again: now the other one is the oldest.
  CHECK(open_cache(folder.path())->entry(key(0))->is_whole());
  make_older(folder.path());
  fill(folder.path(), key(2), bytes, limit);
  CHECK(held_by(folder.path()) <= limit);
  {
    const auto cache = open_cache(folder.path());
    CHECK(cache->entry(key(0))->is_whole());
    CHECK(cache->entry(key(1))->is_empty());
    CHECK(cache->entry(key(2))->is_whole());
    // All that is there is in use here: nothing else fits.
    const auto first = cache->entry(key(0));
    const auto second = cache->entry(key(2));
    fill(folder.path(), key(3), bytes, limit);
    CHECK(held_by(folder.path()) <= limit);
    CHECK_FALSE(cache->entry(key(3))->is_whole());
    CHECK(is_right(*first, {0, size}, bytes));
    CHECK(is_right(*second, {0, size}, bytes));
  }
  fill(folder.path(), key(4), bytes, limit);
  CHECK(open_cache(folder.path())->entry(key(4))->is_whole());
  CHECK(held_by(folder.path()) <= limit);
}

TEST_CASE("a file that is removed while it is read can still be read", "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 3 * kCacheBlockBytes;
  const auto bytes = random_bytes(size, 6);
  const CacheKey key = key_for("s3://bucket/model", size);
  fill(folder.path(), key, bytes);
  const auto cache = open_cache(folder.path());
  const auto entry = cache->entry(key);
  for (const auto& found : cache->folder().files()) {
    CHECK_FALSE(cache->folder().remove(found, CacheFolder::Remove::if_unused));
    CHECK(cache->folder().remove(found, CacheFolder::Remove::in_any_case));
  }
  CHECK(weights_in(folder.path()).empty());
  CHECK(is_right(*entry, {0, size}, bytes));
  CHECK_FALSE(cache->folder().knows(key.identity));
}

TEST_CASE("bytes of many requests make whole blocks, and those that are taken back do not count",
          "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 6 * kCacheBlockBytes + 100;
  const auto bytes = random_bytes(size, 7);
  const CacheKey key = key_for("s3://bucket/model", size);
  {
    const auto cache = open_cache(folder.path());
    const auto entry = cache->entry(key);
    const std::uint64_t middle = 2 * kCacheBlockBytes + 777;
    CacheRun second(*cache, entry);
    second.take(middle, text_at(bytes, middle, size - middle));
    CHECK(second.confirm(size, true).kept == size - middle);
    CacheRun first(*cache, entry);
    first.take(0, text_at(bytes, 0, 300'000));
    const std::string junk(100'000, 'j');
    first.take(300'000, junk);
    CHECK(first.confirm(kCacheBlockBytes, false).kept == kCacheBlockBytes);
    first.take_back(290'000);
    for (std::uint64_t at = 290'000; at < middle; at += 1000)
      first.take(at, text_at(bytes, at, std::min<std::uint64_t>(1000, middle - at)));
    CHECK(first.confirm(middle, false).kept == kCacheBlockBytes);
    CHECK(first.confirm(middle, true).kept == 777);
  }
  CHECK(is_right(*open_cache(folder.path())->entry(key), {0, size}, bytes));
}

TEST_CASE("without memory for it nothing is cached, and nothing waits", "[cache]") {
  TemporaryFolder folder;
  const std::uint64_t size = 16 * kCacheBlockBytes;
  const auto bytes = random_bytes(size, 8);
  const CacheKey key = key_for("s3://bucket/model", size);
  {
    const auto cache = open_cache(folder.path(), 0, kMiB);
    CacheRun run(*cache, cache->entry(key));
    run.take(0, text_at(bytes, 0, size));
    const auto passed = run.confirm(size, true);
    CHECK(passed.kept == kMiB);
    CHECK(passed.dropped == size - kMiB);
  }
  const auto cache = open_cache(folder.path());
  CHECK(cache->entry(key)->cached_bytes() == kMiB);
  CHECK(is_right(*cache->entry(key), {0, kMiB}, bytes));
}

TEST_CASE("a listing is kept whole or not at all", "[cache]") {
  TemporaryFolder folder;
  const auto opened = CacheFolder::open(folder.path().string());
  REQUIRE(opened);
  const std::string identity = cache_identity("o", "s3://bucket/", "");
  CHECK_FALSE(opened->read_text(identity, "listing"));
  opened->write_text(identity, "listing", "some lines\n");
  CHECK(opened->read_text(identity, "listing") == "some lines\n");
  opened->write_text(identity, "listing", "less\n");
  CHECK(opened->read_text(identity, "listing") == "less\n");
  fs::resize_file(folder.path() / identity / "listing", 8);
  CHECK_FALSE(opened->read_text(identity, "listing"));
}
