// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every store must do: a suite that runs on each of ours, and on a new one with a
// StoreUnderTest of its own and one line: run_conformance(under_test).

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/operation.hpp"
#include "capi/abi/all_settings.hpp"
#include "support/lab.hpp"
#include "support/safetensors_text.hpp"

namespace streamer::test {

// A store, and how its objects come and go.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;

  [[nodiscard]] virtual std::shared_ptr<core::Stores> stores() = 0;
  // A folder for the suite, with a slash at its end.
  [[nodiscard]] virtual core::Uri root() = 0;
  // name: of slashes, letters and what else a key may hold. Replaces what is there, as one step.
  virtual void put(const std::string& name, std::string bytes) = 0;
  virtual void remove(const std::string& name) = 0;
  // Whether folders can be looked into.
  [[nodiscard]] virtual bool lists() { return true; }
  // The next read breaks half-way; the one after it works. False: this store knows no such fault.
  virtual bool break_next_read() { return false; }
  // From now on reads get no answer; was_asked is called for each. False: no such fault.
  virtual bool hang_reads(std::function<void()> was_asked) {
    static_cast<void>(was_asked);
    return false;
  }

  // Any thread, once one had it.
  core::Store& store() {
    if (store_ != nullptr) return *store_;
    stores_ = stores();
    const auto found = stores_->of(root());
    REQUIRE(found);
    store_ = *found;
    return *store_;
  }
  std::shared_ptr<core::Stores> all() {
    store();
    return stores_;
  }
  core::Uri uri(const std::string& name) {
    return name.empty() ? root() : core::child(root(), name);
  }

 private:
  std::shared_ptr<core::Stores> stores_;
  core::Store* store_ = nullptr;
};

inline std::string random_text(std::size_t size, std::uint64_t seed) {
  const auto bytes = random_bytes(size, seed);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline core::Opened open_or_fail(StoreUnderTest& it, const std::string& name,
                                 std::uint64_t first_bytes = 0) {
  auto opened = it.store().open(it.uri(name), first_bytes);
  if (!opened) FAIL(opened.error().line());
  return *std::move(opened);
}

inline core::Result<std::string> read_range(StoreUnderTest& it, const core::Object& object,
                                            core::ByteRange range) {
  std::string text(range.size, '\0');
  TRY(it.store().read(object, range, std::as_writable_bytes(std::span<char>(text))));
  return text;
}

// ---- Listing ----

inline std::vector<std::string> listed(StoreUnderTest& it, const std::string& folder,
                                       core::ListDepth depth) {
  const auto entries = it.store().list(it.uri(folder), depth);
  if (!entries) FAIL(entries.error().line());
  std::vector<std::string> names;
  for (const core::Entry& entry : *entries) {
    REQUIRE(entry.uri.text().starts_with(it.uri(folder).text()));
    CHECK(entry.is_folder == entry.uri.path().ends_with("/"));
    names.push_back(entry.uri.path().substr(it.uri(folder).path().size()) +
                    (entry.is_folder ? "" : fmt::format(":{}", entry.size)));
  }
  return names;
}

inline void check_listing(StoreUnderTest& it) {
  it.put("list/b/c", "12345");
  it.put("list/a", "1");
  it.put("list/b/d", "");
  it.put("list/e f+g", "12");
  it.put("listed", "not in it");
  using Names = std::vector<std::string>;
  CHECK(listed(it, "list/", core::ListDepth::children) == Names{"a:1", "b/", "e f+g:2"});
  CHECK(listed(it, "list/", core::ListDepth::all) == Names{"a:1", "b/c:5", "b/d:0", "e f+g:2"});
  CHECK(*it.store().is_folder(it.uri("list/")));
  CHECK(*it.store().is_folder(it.uri("list/b/")));
  CHECK_FALSE(*it.store().is_folder(it.uri("list/a")));
  // A remote store may leave the answer to open().
  const auto nothing = it.store().is_folder(it.uri("nothing"));
  CHECK((nothing ? !*nothing : nothing.error().kind() == core::ErrorKind::not_found));
  const auto own = it.store().list(it.uri("list/b/c"), core::ListDepth::children);
  REQUIRE(own);
  REQUIRE(own->size() == 1);
  CHECK((*own)[0].uri.text() == it.uri("list/b/c").text());
  CHECK((*own)[0].size == 5);
}

// ---- Ranges ----

inline void check_ranges(StoreUnderTest& it) {
  const std::string bytes = random_text(300'001, 1);
  it.put("ranges", bytes);
  const core::Opened opened = open_or_fail(it, "ranges", 1000);
  CHECK(opened.object.size == bytes.size());
  CHECK(opened.object.uri.text() == it.uri("ranges").text());
  REQUIRE(opened.first.size() == 1000);
  CHECK(std::memcmp(opened.first.data(), bytes.data(), 1000) == 0);
  CHECK(open_or_fail(it, "ranges", 1'000'000).first.size() == bytes.size());
  CHECK(open_or_fail(it, "ranges").first.empty());
  // Many at once, as a load does it.
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 20; ++i) {
        const std::uint64_t offset = random() % bytes.size();
        const std::uint64_t size = random() % (bytes.size() - offset + 1);
        const auto read = read_range(it, opened.object, {offset, size});
        if (!read || *read != bytes.substr(offset, size)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK(wrong == 0);
  CHECK(*read_range(it, opened.object, {bytes.size() - 1, 1}) == bytes.substr(bytes.size() - 1));
  CHECK(*read_range(it, opened.object, {0, bytes.size()}) == bytes);
  CHECK(*read_range(it, opened.object, {7, 0}) == "");
  it.put("empty", "");
  CHECK(open_or_fail(it, "empty", 10).object.size == 0);
}

// ---- Versions ----

inline void check_versions(StoreUnderTest& it) {
  it.put("version", random_text(5000, 2));
  const core::Opened before = open_or_fail(it, "version");
  it.put("version", random_text(5000, 3));
  const auto replaced = read_range(it, before.object, {100, 200});
  REQUIRE_FALSE(replaced);
  CHECK(replaced.error().kind() == core::ErrorKind::object_changed);
  const core::Opened after = open_or_fail(it, "version");
  CHECK(*read_range(it, after.object, {100, 200}) == random_text(5000, 3).substr(100, 200));
  it.remove("version");
  const auto removed = read_range(it, after.object, {100, 200});
  REQUIRE_FALSE(removed);
  CHECK((removed.error().kind() == core::ErrorKind::object_changed ||
         removed.error().kind() == core::ErrorKind::not_found));
}

// ---- Errors ----

inline void check_errors(StoreUnderTest& it) {
  const auto nothing = it.store().open(it.uri("nothing"), 10);
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().kind() == core::ErrorKind::not_found);
  CHECK_THAT(nothing.error().line(), Catch::Contains(it.uri("nothing").text()));
  CHECK_FALSE(nothing.error().message().empty());
}

// ---- Cancel ----

inline void check_cancel(StoreUnderTest& it) {
  it.put("cancel", random_text(5000, 4));
  const core::Opened opened = open_or_fail(it, "cancel");
  {
    // What need not wait may be done all the same.
    core::Operation over;
    REQUIRE(over.open());
    over.cancel();
    const core::Work work("the test", &over);
    const core::WorkScope scope(&work);
    const auto read = read_range(it, opened.object, {100, 200});
    CHECK((read || read.error().kind() == core::ErrorKind::cancelled));
  }
  // Lives as long as somebody may be asked.
  const auto operation = std::make_shared<core::Operation>();
  REQUIRE(operation->open());
  const core::Work work("the test", operation.get());
  const core::WorkScope scope(&work);
  if (!it.hang_reads([operation] { operation->cancel(); })) return;
  const auto read = read_range(it, opened.object, {100, 200});
  REQUIRE_FALSE(read);
  CHECK(read.error().kind() == core::ErrorKind::cancelled);
}

// ---- Faults ----

inline void check_faults(StoreUnderTest& it) {
  const std::string bytes = random_text(300'000, 5);
  it.put("faults", bytes);
  const core::Opened opened = open_or_fail(it, "faults");
  if (!it.break_next_read()) return;
  const auto read = read_range(it, opened.object, {1000, 290'000});
  if (!read) FAIL(read.error().line());
  CHECK(*read == bytes.substr(1000, 290'000));
}

// ---- Loads ----

// A model of 12 tensors of several sizes in two files; returns their bytes, by name.
inline std::map<std::string, std::string> put_model(StoreUnderTest& it) {
  std::map<std::string, std::string> expected;
  for (int file = 1; file <= 2; ++file) {
    std::string header;
    std::string data;
    for (int t = 0; t < 6; ++t) {
      const std::string name = fmt::format("{}.{}", file, t);
      const std::string bytes = random_text(t == 3 ? 3'000'000 : 1000 * t + 7, file * 10 + t);
      header += fmt::format("{}\"{}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                            header.empty() ? "{" : ",", name, bytes.size(), data.size(),
                            data.size() + bytes.size());
      data += bytes;
      expected[name] = bytes;
    }
    it.put(fmt::format("model/model-0000{}-of-00002.safetensors", file),
           safetensors_file(header + "}") + data);
  }
  return expected;
}

inline std::shared_ptr<const core::Checkpoint> open_model(StoreUnderTest& it) {
  std::vector<std::string> uris = {it.uri("model/").text()};
  if (!it.lists()) {
    uris = {it.uri("model/model-00001-of-00002.safetensors").text(),
            it.uri("model/model-00002-of-00002.safetensors").text()};
  }
  auto checkpoint = core::open_checkpoint(uris, it.all());
  if (!checkpoint) FAIL(checkpoint.error().line());
  return *std::move(checkpoint);
}

// Takes everything from the load; nullopt, or what it failed with, or what is wrong with it. Any
// thread.
inline std::optional<core::Error> take_all(core::Load& load,
                                           const std::map<std::string, std::string>& expected) {
  std::size_t taken = 0;
  for (;;) {
    auto next = load.next(in(std::chrono::seconds(60)));
    if (!next) return std::move(next).error();
    if (next->outcome == core::Load::Outcome::not_ready)
      return core::Error(core::ErrorKind::timed_out, "nothing comes");
    if (next->outcome == core::Load::Outcome::end) break;
    const std::string& wanted = expected.at(std::string(next->lease->tensor().name));
    const bool is_right = next->lease->bytes() == wanted.size() &&
                          std::memcmp(next->lease->data(), wanted.data(), wanted.size()) == 0;
    next->lease->release();
    if (!is_right) return core::Error(core::ErrorKind::corrupt, "a tensor has wrong bytes");
    ++taken;
  }
  if (taken == expected.size()) return std::nullopt;
  return core::Error(core::ErrorKind::corrupt, "tensors are missing");
}

inline std::optional<core::Error> load_model(StoreUnderTest& it, const core::Settings& settings,
                                             const std::map<std::string, std::string>& expected) {
  const auto checkpoint = open_model(it);
  auto load = core::Load::start(checkpoint, everything(*checkpoint), {},
                                *core::read_load_settings(settings));
  if (!load) return std::move(load).error();
  return take_all(**load, expected);
}

inline void check_loads(StoreUnderTest& it) {
  const auto expected = put_model(it);
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"debug.chunk_bytes", "auto"},
                                                        {"debug.chunk_bytes", "64KiB"},
                                                        {"memory_limit", "minimum"},
                                                        {"concurrency", "1"},
                                                        {"max_bandwidth", "100MB"}}) {
    INFO(name << "=" << value);
    core::Settings settings;
    REQUIRE(streamer::capi::set_by_name(settings, name, value));
    const auto error = load_model(it, settings, expected);
    if (error) FAIL(error->line());
  }
  // Of the version that was opened, or nothing.
  const auto checkpoint = open_model(it);
  it.put("model/model-00002-of-00002.safetensors", random_text(4'000'000, 6));
  auto load = core::Load::start(checkpoint, everything(*checkpoint), {}, {});
  REQUIRE(load);
  const auto changed = take_all(**load, expected);
  REQUIRE(changed);
  CHECK(changed->kind() == core::ErrorKind::object_changed);
  static_cast<void>(put_model(it));
}

inline void check_cancelled_load(StoreUnderTest& it) {
  static_cast<void>(put_model(it));
  const auto checkpoint = open_model(it);
  // Lives as long as somebody may be asked.
  const auto was_asked = std::make_shared<std::promise<void>>();
  const auto once = std::make_shared<std::once_flag>();
  const bool hangs =
      it.hang_reads([was_asked, once] { std::call_once(*once, [&] { was_asked->set_value(); }); });
  auto load = core::Load::start(checkpoint, everything(*checkpoint), {}, {});
  REQUIRE(load);
  if (hangs) was_asked->get_future().wait();
  (*load)->cancel();
  const auto next = (*load)->next(in(std::chrono::seconds(60)));
  REQUIRE_FALSE(next);
  CHECK(next.error().kind() == core::ErrorKind::cancelled);
}

inline void run_conformance(StoreUnderTest& it) {
  SECTION("it lists what is in a folder") {
    if (it.lists()) check_listing(it);
  }
  SECTION("it brings ranges") {
    check_ranges(it);
  }
  SECTION("it brings bytes of one version only") {
    check_versions(it);
  }
  SECTION("it says what is not there") {
    check_errors(it);
  }
  SECTION("it ends what is cancelled") {
    check_cancel(it);
  }
  SECTION("it gets over faults") {
    check_faults(it);
  }
  SECTION("it goes through whole loads") {
    check_loads(it);
  }
  SECTION("its loads can be cancelled") {
    check_cancelled_load(it);
  }
}

}  // namespace streamer::test
