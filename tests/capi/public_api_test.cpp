// SPDX-License-Identifier: Apache-2.0
// The public C++ API, as a program that links libstreamer sees it.
#include <fmt/format.h>
#include <poll.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <memory_resource>
#include <optional>
#include <set>

#include "memory/dlpack.hpp"
#include "streamer/streamer.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

#include <cstdlib>

using namespace streamer;

namespace {

// A checkpoint of one file in a folder of its own: "w" F32 [8, 16], "e" F32 [0], "h" F4 [3, 4].
struct Model {
  Model() {
    std::string name = (std::filesystem::temp_directory_path() / "streamer-XXXXXX").string();
    folder = ::mkdtemp(name.data());
    std::string file = test::safetensors_file(
        R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[8,16],"data_offsets":[0,512]},)"
        R"("e":{"dtype":"F32","shape":[0],"data_offsets":[512,512]},)"
        R"("h":{"dtype":"F4","shape":[3,4],"data_offsets":[512,518]}})");
    for (int i = 0; i < 518; ++i)
      file += static_cast<char>(i * 7);
    path = test::write_text(folder / "m.safetensors", file).string();
    data.assign(file.end() - 518, file.end());
  }
  ~Model() { std::filesystem::remove_all(folder); }

  std::filesystem::path folder;
  std::string path;
  std::string data;
};

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("a checkpoint shows what it holds", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.folder.string()}).value();
  CHECK(checkpoint.bytes() == 518);
  CHECK(checkpoint.tensors().size() == 3);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : checkpoint.tensors())
    names.emplace_back(tensor.name);
  CHECK(names == std::vector<std::string>{"w", "e", "h"});
  const TensorInfo w = checkpoint.find("w").value();
  CHECK(name(w.dtype) == "F32");
  CHECK(bits(w.dtype) == 32);
  CHECK(w.shape.size() == 2);
  CHECK(checkpoint.find("nobody").error().kind() == ErrorKind::not_found);
  const ObjectInfo object = checkpoint.object(0);
  CHECK(object.uri == model.path);
  REQUIRE(object.metadata.size() == 1);
  CHECK(object.metadata[0].second == "pt");
}

TEST_CASE("everything, and what a predicate picks, is loaded", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  auto load = Load::start(checkpoint).value();
  std::map<std::string, std::string> loaded;
  while (auto tensor = load.next().value())
    loaded[std::string(tensor->name())] = text_of(tensor->bytes());
  CHECK(loaded == std::map<std::string, std::string>{
                      {"w", model.data.substr(0, 512)}, {"e", ""}, {"h", model.data.substr(512)}});
  auto some =
      Load::start(checkpoint, where([](const TensorInfo& t) { return t.name == "h"; })).value();
  CHECK(some.next().value()->name() == "h");
  CHECK_FALSE(some.next().value());
  CHECK(some.stats().items_total == 1);
}

TEST_CASE("every number that a load counts can be asked for by its name", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  auto load = Load::start(checkpoint).value();
  while (load.next().value()) {
  }
  const std::vector<StatInfo> all = all_stats();
  const std::vector<std::uint64_t> values = load.stat_values();
  REQUIRE(values.size() == all.size());
  std::set<std::string_view> names;
  for (const StatInfo& info : all) {
    CHECK(names.insert(info.name).second);
    CHECK_FALSE(info.meaning.empty());
    CHECK(load.stat(info.name.data()));
  }
  const LoadStats stats = load.stats();
  CHECK(load.stat("bytes_ready").value() == stats.bytes_ready);
  CHECK(load.stat("items_total").value() == 3);
  CHECK_THAT(load.explain(), Catch::Contains("memory: ") && Catch::Contains("\nchunk: "));
  CHECK(load.stat("memory_limit").value() == stats.memory_limit);
  CHECK(load.stat("bytes_direct").value() + load.stat("bytes_page_cache").value() +
            load.stat("bytes_buffered").value() ==
        stats.bytes_read);
  const Error unknown = load.stat("bytes_dircet").error();
  CHECK(unknown.kind() == ErrorKind::not_found);
  CHECK(std::string(unknown.line()).find("\"bytes_direct\"?") != std::string::npos);
  // Fewer than there are, and none.
  std::uint64_t first = 0;
  CHECK(streamer_load_get_all_stats(nullptr, &first, 1) == all.size());
  streamer_stat_info info = STREAMER_STAT_INFO_INIT;
  CHECK(streamer_stat_get_info(all.size(), &info, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
}

namespace {

// Takes everything that the load has to say, as an event loop does: asks without waiting, and waits
// for its descriptor alone.
struct Polled {
  std::map<std::string, std::string> loaded;
  std::vector<Tensor> held;  // if they are to be
  std::optional<Error> error;
  int waits = 0;
};
Polled poll_through(Load& load, bool holds = false) {
  using namespace std::chrono_literals;
  Polled seen;
  pollfd watched{load.fd().value(), POLLIN, 0};
  for (;;) {
    auto next = load.next_for(0ms);
    if (!next) {
      seen.error = std::move(next).error();
      return seen;
    }
    if (next->is_end) return seen;
    if (next->tensor) {
      seen.loaded[std::string(next->tensor->name())] = text_of(next->tensor->bytes());
      if (holds) seen.held.push_back(*std::move(next->tensor));
      continue;
    }
    ++seen.waits;
    // A minute is for ever.
    REQUIRE(::poll(&watched, 1, 60'000) == 1);
  }
}

}  // namespace

TEST_CASE("an event loop sees every tensor, the end and every error by the load's descriptor",
          "[api][fd]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  for (int round = 0; round < 200; ++round) {
    LoadOptions options;
    options.order = round % 2 == 0 ? Order::completion : Order::plan;
    auto load = Load::start(checkpoint, everything(), options).value();
    const Polled seen = poll_through(load);
    REQUIRE_FALSE(seen.error);
    REQUIRE(seen.loaded.size() == 3);
    REQUIRE(seen.loaded.at("w") == model.data.substr(0, 512));
  }
}

TEST_CASE("an event loop is woken by a limit that its own tensors fill, and by cancelling",
          "[api][fd]") {
  using namespace std::chrono_literals;
  // Eight tensors of 1 MiB, of which the limit has room for two or three.
  const test::TemporaryFolder folder;
  std::string header = "{";
  for (int t = 0; t < 8; ++t)
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[1048576],"data_offsets":[{},{}]}})",
                          t == 0 ? "" : ",", t, t << 20, (t + 1) << 20);
  const auto path =
      test::write_text(folder.path() / "m.safetensors", test::safetensors_file(header + "}") +
                                                            std::string(std::size_t{8} << 20, 'x'));
  const auto checkpoint = Checkpoint::open({path.string()}).value();
  LoadOptions options;
  options.memory_limit = MemoryLimit::bytes(std::uint64_t{3} << 20);
  auto load = Load::start(checkpoint, everything(), options).value();
  Polled seen = poll_through(load, true);
  REQUIRE(seen.error);
  CHECK(seen.error->kind() == ErrorKind::memory_limit);
  seen.held.clear();
  const Polled rest = poll_through(load);
  CHECK_FALSE(rest.error);
  CHECK(rest.loaded.size() + seen.loaded.size() == 8);

  auto full = Load::start(checkpoint, everything(), options).value();
  std::vector<Tensor> held;
  for (;;) {
    auto next = full.next_for(0ms);
    if (!next) break;
    if (next->tensor) held.push_back(*std::move(next->tensor));
  }
  const int fd = full.fd().value();
  CHECK(full.fd().value() == fd);
  pollfd watched{fd, POLLIN, 0};
  full.cancel();
  CHECK(::poll(&watched, 1, 60'000) == 1);
  CHECK(full.next_for(0ms).error().kind() == ErrorKind::cancelled);
}

TEST_CASE("several tensors come with one call", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  auto load = Load::start(checkpoint).value();
  std::set<std::string> names;
  for (;;) {
    const auto some = load.next_many(2).value();
    if (some.empty()) break;
    CHECK(some.size() <= 2);
    for (const Tensor& tensor : some)
      CHECK(names.insert(std::string(tensor.name())).second);
  }
  CHECK(names == std::set<std::string>{"w", "e", "h"});
  CHECK(load.next_many(2).value().empty());
  CHECK(load.next_many(0).error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("ranges of a file of any kind are tensors of bytes", "[api]") {
  const Model model;
  const std::string plain = test::write_text(model.folder / "plain.bin", "0123456789").string();
  const auto checkpoint = Checkpoint::open_ranges({{plain, 2, 3}, {plain, 9, 1}}).value();
  auto load = Load::start(checkpoint).value();
  std::map<std::string, std::string> loaded;
  while (auto tensor = load.next().value())
    loaded[std::string(tensor->name())] = text_of(tensor->bytes());
  CHECK(loaded == std::map<std::string, std::string>{{"0", "234"}, {"1", "9"}});
  CHECK(Checkpoint::open_ranges({{plain, 9, 2}}).error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("a destination without room is none of the library's memory", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  auto plan = Plan::of(checkpoint).value();
  std::vector<std::byte> forgotten;
  const auto refused = plan.add(checkpoint.find("w").value(), forgotten);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::invalid_argument);
  streamer_plan_item item = STREAMER_PLAN_ITEM_INIT;
  item.tensor = checkpoint.find("w").value().number;
  item.destination_bytes = 1 << 20;
  CHECK(streamer_plan_add(const_cast<streamer_plan*>(plan.get()), &item, 1, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(plan.size() == 0);
}

TEST_CASE("a plan brings slices and byte ranges to where the caller wants them", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  const TensorInfo w = checkpoint.find("w").value();
  auto plan = Plan::of(checkpoint).value();
  std::vector<std::byte> columns(8 * 4 * 4);
  plan.add(w, Slice{.dimension = 1, .start = 4, .stop = 8}, columns, 1).value();
  plan.add(w, Slice{.dimension = 0, .start = 6, .stop = 8}, {}, 2).value();
  plan.add(w, ByteRange{.offset = 10, .size = 20}, {}, 3).value();
  CHECK(plan.size() == 3);
  CHECK(plan.bytes() == 128 + 128 + 20);
  auto load = Load::start(plan).value();
  for (int i = 0; i < 3; ++i) {
    const Tensor tensor = *load.next().value();
    if (tensor.tag() == 1) {
      CHECK(tensor.bytes().data() == columns.data());
      CHECK(std::vector(tensor.shape().begin(), tensor.shape().end()) ==
            std::vector<std::uint64_t>{8, 4});
      for (std::size_t row = 0; row < 8; ++row) {
        CHECK(std::memcmp(columns.data() + row * 16, model.data.data() + row * 64 + 16, 16) == 0);
      }
    } else if (tensor.tag() == 2) {
      CHECK(text_of(tensor.bytes()) == model.data.substr(384, 128));
    } else {
      CHECK(text_of(tensor.bytes()) == model.data.substr(10, 20));
      CHECK(tensor.dtype() == Dtype::u8);
    }
  }
}

TEST_CASE("a load inherits what its checkpoint was opened with, and its own options win", "[api]") {
  const Model model;
  Settings settings;
  REQUIRE(settings.set("memory_limit", "1MiB"));
  REQUIRE(settings.set("s3_region", "eu-west-1"));
  const auto checkpoint = Checkpoint::open({model.path}, settings).value();
  const auto inherits = Load::start(checkpoint);
  REQUIRE(inherits);
  CHECK(inherits->stats().memory_limit == 1024 * 1024);
  LoadOptions options;
  options.memory_limit = MemoryLimit::bytes(2 * 1024 * 1024);
  const auto own = Load::start(checkpoint, everything(), options);
  REQUIRE(own);
  CHECK(own->stats().memory_limit == 2 * 1024 * 1024);
}

TEST_CASE("a load refuses what belongs to the opening of its checkpoint", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  for (const char* const name :
       {"s3_endpoint", "same_names", "debug.header_rules", "stall_timeout_ms"}) {
    LoadOptions options;
    const std::string value = name == std::string("same_names")           ? "keep"
                              : name == std::string("debug.header_rules") ? "lenient"
                              : name == std::string("s3_endpoint")        ? "http://127.0.0.1:1"
                                                                          : "500";
    options.settings = {{name, value}};
    const auto refused = Load::start(checkpoint, everything(), options);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind() == ErrorKind::invalid_argument);
    CHECK_THAT(std::string(refused.error().message()),
               Catch::Contains(name) && Catch::Contains("opened"));
  }
}

TEST_CASE("same_names=keep keeps several tensors of one name", "[api]") {
  const Model model;
  const std::string other = model.path + ".other.safetensors";
  std::filesystem::copy_file(model.path, other);
  CHECK(Checkpoint::open({model.path, other}).error().kind() == ErrorKind::corrupt);
  Settings settings;
  REQUIRE(settings.set("same_names", "keep"));
  const auto one = Checkpoint::open({model.path}).value();
  const auto both = Checkpoint::open({model.path, other}, settings);
  REQUIRE(both);
  CHECK(both->tensors().size() == 2 * one.tensors().size());
  std::filesystem::remove(other);
}

TEST_CASE("a plan with a mistake is refused and stays as it was", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  const TensorInfo w = checkpoint.find("w").value();
  auto plan = Plan::of(checkpoint).value();
  std::vector<std::byte> small(511);
  CHECK(plan.add(w, small).error().kind() == ErrorKind::invalid_argument);
  CHECK(plan.add(w, Slice{2, 0, 1}).error().kind() == ErrorKind::invalid_argument);
  CHECK(plan.add(w, Slice{0, 0, 9}).error().kind() == ErrorKind::invalid_argument);
  CHECK(plan.add(w, ByteRange{500, 13}).error().kind() == ErrorKind::invalid_argument);
  CHECK(plan.add(w, ByteRange{UINT64_MAX, 2}).error().kind() == ErrorKind::invalid_argument);
  CHECK(plan.add(checkpoint.find("h").value(), Slice{1, 1, 2}).error().kind() ==
        ErrorKind::invalid_argument);
  CHECK(plan.size() == 0);
}

TEST_CASE("one buffer takes everything, each item aligned", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  auto plan = Plan::of(checkpoint).value();
  CHECK(plan.add_everything().value() == 3);
  CHECK(plan.buffer_bytes(256) == 512 + 6);
  std::vector<std::byte> buffer(plan.buffer_bytes(256));
  CHECK(plan.set_buffer(std::span(buffer).first(buffer.size() - 1), 256).error().kind() ==
        ErrorKind::invalid_argument);
  plan.set_buffer(buffer, 256).value();
  CHECK(plan.add(checkpoint.find("w").value()).error().kind() == ErrorKind::invalid_argument);
  auto load = Load::start(plan).value();
  while (load.next().value()) {
  }
  CHECK(text_of(buffer) == model.data);
  CHECK(load.stat("arena_bytes").value() == 0);
}

TEST_CASE("tensors that a plan puts first are read first", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  const auto order_of = [&](const std::vector<std::string>& globs, ReadOrder read_order) {
    auto plan = Plan::of(checkpoint).value();
    plan.add_everything().value();
    plan.prioritize(globs).value();
    LoadOptions options;
    options.order = Order::plan;
    options.read_order = read_order;
    auto load = Load::start(plan, options).value();
    std::string names;
    while (auto tensor = load.next().value())
      names += tensor->name();
    return names;
  };
  CHECK(order_of({}, ReadOrder::storage) == "weh");
  CHECK(order_of({"h"}, ReadOrder::storage) == "hwe");
  CHECK(order_of({"h", "[e]"}, ReadOrder::storage) == "hew");
  CHECK(order_of({"?", "h"}, ReadOrder::storage) == "weh");
  CHECK(order_of({"h"}, ReadOrder::item) == "weh");
}

namespace {

class CountingMemory final : public std::pmr::memory_resource {
 public:
  std::size_t taken = 0;
  std::size_t given_back = 0;
  std::uintptr_t begin = 0;
  bool is_empty = false;

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (is_empty) throw std::bad_alloc();
    void* const memory = std::pmr::new_delete_resource()->allocate(bytes, alignment);
    taken += bytes;
    begin = reinterpret_cast<std::uintptr_t>(memory);
    return memory;
  }
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override {
    given_back += bytes;
    std::pmr::new_delete_resource()->deallocate(memory, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace

TEST_CASE("host memory comes from the program's allocator, which has it back at the end", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  CountingMemory memory;
  LoadOptions options;
  options.host_memory = &memory;
  {
    std::vector<Tensor> held;
    {
      auto load = Load::start(checkpoint, everything(), options).value();
      while (auto tensor = load.next().value())
        held.push_back(*std::move(tensor));
    }
    for (const Tensor& tensor : held) {
      const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes().data());
      if (tensor.bytes().empty()) continue;
      CHECK(address >= memory.begin);
      CHECK(address + tensor.bytes().size() <= memory.begin + memory.taken);
      if (tensor.name() == "w") CHECK(text_of(tensor.bytes()) == model.data.substr(0, 512));
    }
    CHECK(memory.taken >= 518);
    CHECK(memory.given_back == 0);
  }
  CHECK(memory.given_back == memory.taken);
  memory.is_empty = true;
  CHECK(Load::start(checkpoint, everything(), options).error().kind() == ErrorKind::out_of_memory);

  streamer_plan* plan = nullptr;
  REQUIRE(streamer_plan_new(checkpoint.get(), &plan, nullptr) == STREAMER_OK);
  streamer_load_options half = STREAMER_LOAD_OPTIONS_INIT;
  half.release = [](void*, std::size_t, void*) {};
  streamer_load* load = nullptr;
  CHECK(streamer_load_start(plan, &half, nullptr, &load, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  half.allocate = [](std::size_t, std::size_t, void*) { return reinterpret_cast<void*>(4095); };
  REQUIRE(streamer_plan_add_matching(plan, "*", nullptr, nullptr) == STREAMER_OK);
  streamer_error* error = nullptr;
  CHECK(streamer_load_start(plan, &half, nullptr, &load, &error) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(streamer_error_line(error), Catch::Contains("multiple of 4096"));
  streamer_error_free(error);
  streamer_plan_free(plan);
}

TEST_CASE("options reach the load, and wrong ones are refused by name", "[api]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  LoadOptions options;
  options.memory_limit = MemoryLimit::bytes(511);
  const auto small = Load::start(checkpoint, everything(), options);
  REQUIRE_FALSE(small);
  CHECK(small.error().kind() == ErrorKind::memory_limit);
  CHECK_THAT(std::string(small.error().message()),
             Catch::Contains("\"w\"") && Catch::Contains("511"));
  options.memory_limit = MemoryLimit::minimum();
  options.settings = {{"nonsense", "1"}};
  CHECK_THAT(Load::start(checkpoint, everything(), options).error().line(),
             Catch::Contains("nonsense"));
}

TEST_CASE("value() of an error throws what the error says", "[api]") {
  CHECK_THROWS_AS(Checkpoint::open({"/nowhere"}).value(), BadResult);
  CHECK_THROWS_WITH(Checkpoint::open({"/nowhere"}).value(), Catch::Contains("/nowhere"));
}

TEST_CASE("DLPack exports hold the memory after the tensor and the load are gone",
          "[api][dlpack]") {
  const Model model;
  const auto checkpoint = Checkpoint::open({model.path}).value();
  DLManagedTensorVersioned* w = nullptr;
  DLManagedTensor* h = nullptr;
  DLManagedTensor* e = nullptr;
  {
    auto load = Load::start(checkpoint).value();
    while (auto tensor = load.next().value()) {
      if (tensor->name() == "w") w = tensor->to_dlpack_versioned().value();
      if (tensor->name() == "h") h = tensor->to_dlpack().value();
      if (tensor->name() == "e") e = tensor->to_dlpack().value();
    }
  }
  CHECK(w->version.major == 1);
  CHECK(w->flags == 0);
  CHECK(w->dl_tensor.device.device_type == 1);
  CHECK(w->dl_tensor.ndim == 2);
  CHECK(w->dl_tensor.shape[1] == 16);
  CHECK(w->dl_tensor.strides[0] == 16);
  CHECK(w->dl_tensor.strides[1] == 1);
  CHECK(w->dl_tensor.dtype.code == 2);
  CHECK(w->dl_tensor.dtype.bits == 32);
  CHECK(std::memcmp(w->dl_tensor.data, model.data.data(), 512) == 0);
  // F4 has less than eight bits: rows of bytes.
  CHECK(h->dl_tensor.dtype.code == 1);
  CHECK(h->dl_tensor.dtype.bits == 8);
  CHECK(h->dl_tensor.ndim == 2);
  CHECK(h->dl_tensor.shape[0] == 3);
  CHECK(h->dl_tensor.shape[1] == 2);
  CHECK(std::memcmp(h->dl_tensor.data, model.data.data() + 512, 6) == 0);
  CHECK(e->dl_tensor.data == nullptr);
  w->deleter(w);
  h->deleter(h);
  e->deleter(e);
}

TEST_CASE("a listing shows files and folders", "[api]") {
  const Model model;
  std::filesystem::create_directory(model.folder / "sub");
  const auto entries = list(model.folder.string()).value();
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].uri == model.path);
  CHECK(entries[1].is_folder);
  CHECK(list("/nowhere").error().kind() == ErrorKind::not_found);
}
