// SPDX-License-Identifier: Apache-2.0
#include "abi/boundary.hpp"

#include <fmt/format.h>

#include <new>
#include <set>
#include <stdexcept>
#include <string>

#include "base/log.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::capi;
using namespace streamer::test;
namespace core = streamer::core;

namespace {

struct Small {
  std::size_t struct_size;
  std::int32_t first;
};
struct Large {
  std::size_t struct_size;
  std::int32_t first;
  std::int32_t second;
  std::int64_t third;
};

}  // namespace

TEST_CASE("an older caller's struct keeps our defaults for what it lacks", "[boundary]") {
  const Small older{sizeof(Small) - 4, 7};  // without its padding
  const auto read = copy_in(&older, Large{sizeof(Large), 1, 2, 3});
  REQUIRE(read);
  CHECK(read->first == 7);
  CHECK(read->second == 2);
  CHECK(read->third == 3);
}

TEST_CASE("a newer caller's struct is taken if what we do not know is zero", "[boundary]") {
  const Large newer{sizeof(Large), 7, 0, 0};
  CHECK(copy_in(&newer, Small{sizeof(Small), 1})->first == 7);
  const Large set{sizeof(Large), 7, 0, 5};
  CHECK(copy_in(&set, Small{sizeof(Small), 1}).error().kind() == ErrorKind::unsupported);
}

TEST_CASE("a struct_size that was never set is refused", "[boundary]") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{5000}, SIZE_MAX}) {
    const Small unset{size, 7};
    CHECK(copy_in(&unset, Small{sizeof(Small), 1}).error().kind() == ErrorKind::invalid_argument);
  }
}

TEST_CASE("no byte beyond the caller's struct is written", "[boundary]") {
  Large target{12, -1, -1, -1};
  REQUIRE(copy_out(Large{sizeof(Large), 1, 2, 3}, &target));
  CHECK(target.struct_size == 12);
  CHECK(target.first == 1);
  CHECK(target.second == -1);
  CHECK(target.third == -1);
}

TEST_CASE("a struct_size that ends within a field is refused, and every whole one is taken",
          "[boundary]") {
  static_assert(count_fields<Large>() == 4);
  static_assert(ends_between_fields<Large>(12) && !ends_between_fields<Large>(14));
  for (std::size_t size = sizeof(std::size_t); size < sizeof(Large); ++size) {
    INFO(size);
    const bool is_whole = size == 8 || size == 12 || size == 16;
    const Large given{size, 7, 7, 7};
    CHECK(static_cast<bool>(copy_in(&given, Large{sizeof(Large), 1, 2, 3})) == is_whole);
    Large target{size, -1, -1, -1};
    CHECK(static_cast<bool>(copy_out(Large{sizeof(Large), 1, 2, 3}, &target)) == is_whole);
    target = {size, -1, -1, -1};
    copy_out_if_sound(Large{sizeof(Large), 1, 2, 3}, &target);
    CHECK(target.first == (is_whole && size >= 12 ? 1 : -1));
    CHECK(target.third == -1);
  }
}

namespace {

// Every size that some struct of the header could not have had, at a real entry.
template <typename Struct, typename Call>
void refuse_broken_sizes(const Struct& sound, Call call) {
  for (std::size_t size = sizeof(std::size_t); size < sizeof(Struct); ++size) {
    if (ends_between_fields<Struct>(size)) continue;
    INFO(size);
    Struct broken = sound;
    broken.struct_size = size;
    streamer_error* error = nullptr;
    CHECK(call(broken, &error) == STREAMER_ERROR_INVALID_ARGUMENT);
    CHECK_THAT(streamer_error_line(error), Catch::Contains("struct_size"));
    streamer_error_free(error);
  }
}

}  // namespace

TEST_CASE("every struct of the header is refused when its struct_size ends within a field",
          "[boundary]") {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "a.safetensors").string();
  write_text(path, safetensors_file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  refuse_broken_sizes(streamer_setting_info STREAMER_SETTING_INFO_INIT,
                      [](auto& info, streamer_error** error) {
                        return streamer_setting_get_info(0, &info, error);
                      });
  streamer_pull_options pull = STREAMER_PULL_OPTIONS_INIT;
  refuse_broken_sizes(pull, [&](auto& options, streamer_error** error) {
    streamer_files* files = nullptr;
    return streamer_pull(path.c_str(), path.c_str(), &options, nullptr, nullptr, &files, error);
  });
  streamer_listing* listing = nullptr;
  REQUIRE(streamer_listing_open(path.c_str(), nullptr, nullptr, &listing, nullptr) == STREAMER_OK);
  refuse_broken_sizes(streamer_entry_info STREAMER_ENTRY_INFO_INIT,
                      [&](auto& info, streamer_error** error) {
                        return streamer_listing_get_info(listing, 0, &info, error);
                      });
  streamer_listing_close(listing);
  streamer_checkpoint* checkpoint = nullptr;
  refuse_broken_sizes(streamer_object_range{sizeof(streamer_object_range), path.c_str(), 0, 0},
                      [&](auto& range, streamer_error** error) {
                        return streamer_checkpoint_open_ranges(&range, 1, nullptr, nullptr,
                                                               &checkpoint, error);
                      });
  const char* const uri = path.c_str();
  REQUIRE(streamer_checkpoint_open(&uri, 1, nullptr, nullptr, &checkpoint, nullptr) == STREAMER_OK);
  refuse_broken_sizes(streamer_tensor_info STREAMER_TENSOR_INFO_INIT,
                      [&](auto& info, streamer_error** error) {
                        return streamer_checkpoint_get_tensor_info(checkpoint, 0, &info, error);
                      });
  refuse_broken_sizes(
      streamer_tensor_info STREAMER_TENSOR_INFO_INIT, [&](auto& info, streamer_error** error) {
        std::size_t count = 0;
        return streamer_checkpoint_get_tensor_infos(checkpoint, 0, 1, &info, &count, error);
      });
  refuse_broken_sizes(streamer_object_info STREAMER_OBJECT_INFO_INIT,
                      [&](auto& info, streamer_error** error) {
                        return streamer_checkpoint_get_object_info(checkpoint, 0, &info, error);
                      });
  streamer_plan* plan = nullptr;
  REQUIRE(streamer_plan_new(checkpoint, &plan, nullptr) == STREAMER_OK);
  streamer_plan_item item = STREAMER_PLAN_ITEM_INIT;
  refuse_broken_sizes(item, [&](auto& broken, streamer_error** error) {
    return streamer_plan_add(plan, &broken, 1, error);
  });
  REQUIRE(streamer_plan_add(plan, &item, 1, nullptr) == STREAMER_OK);
  streamer_load* load = nullptr;
  refuse_broken_sizes(streamer_load_options STREAMER_LOAD_OPTIONS_INIT,
                      [&](auto& options, streamer_error** error) {
                        return streamer_load_start(plan, &options, nullptr, &load, error);
                      });
  REQUIRE(streamer_load_start(plan, nullptr, nullptr, &load, nullptr) == STREAMER_OK);
  streamer_tensor* tensor = nullptr;
  refuse_broken_sizes(streamer_tensor_view STREAMER_TENSOR_VIEW_INIT,
                      [&](auto& view, streamer_error** error) {
                        std::size_t count = 0;
                        return streamer_load_next_many(load, -1, 1, &tensor, &view, &count, error);
                      });
  // Those without an error write nothing.
  streamer_load_stats stats = STREAMER_LOAD_STATS_INIT;
  stats.struct_size = 12;
  streamer_load_get_stats(load, &stats);
  CHECK(stats.items_total == 0);
  streamer_load_close(load);
  streamer_plan_free(plan);
  streamer_checkpoint_close(checkpoint);
}

TEST_CASE("the functions that begin a struct are its macro, for every size that a caller has",
          "[boundary]") {
  streamer_load_options made;
  std::memset(&made, 0xFF, sizeof made);
  streamer_load_options_init(&made, sizeof made);
  const streamer_load_options wanted = STREAMER_LOAD_OPTIONS_INIT;
  CHECK(std::memcmp(&made, &wanted, sizeof made) == 0);
  // Newer than we are: what we do not know of is zero.
  struct {
    streamer_plan_item known;
    std::uint64_t unknown;
    std::uint64_t beyond;
  } newer;
  std::memset(&newer, 0xFF, sizeof newer);
  streamer_plan_item_init(&newer.known, offsetof(decltype(newer), beyond));
  CHECK(newer.known.struct_size == offsetof(decltype(newer), beyond));
  CHECK(newer.unknown == 0);
  CHECK(newer.beyond == UINT64_MAX);
  // Older: nothing beyond its end is written.
  std::memset(&newer, 0xFF, sizeof newer);
  streamer_plan_item_init(&newer.known, offsetof(streamer_plan_item, tag));
  CHECK(newer.known.struct_size == offsetof(streamer_plan_item, tag));
  CHECK(newer.known.tag == UINT64_MAX);
  streamer_plan_item_init(nullptr, sizeof(streamer_plan_item));
}

TEST_CASE("nothing thrown crosses the boundary", "[boundary]") {
  streamer_error* error = nullptr;
  const auto run = [&](auto&& body) { return guarded(&error, body); };
  CHECK(run([]() -> Result<streamer_status> { throw std::runtime_error("bug"); }) ==
        STREAMER_ERROR_INTERNAL);
  CHECK(std::string(streamer_error_line(error)) == "bug");
  streamer_error_free(error);
  CHECK(run([]() -> Result<streamer_status> { throw std::bad_alloc(); }) ==
        STREAMER_ERROR_OUT_OF_MEMORY);
  streamer_error_info info = STREAMER_ERROR_INFO_INIT;
  streamer_error_get_info(error, &info);
  CHECK(info.status == STREAMER_ERROR_OUT_OF_MEMORY);
  CHECK(std::string(info.uri).empty());
  streamer_error_free(error);
  streamer_error_free(error);  // it is nobody's memory
}

TEST_CASE("every kind of the list has its name at the boundary", "[boundary]") {
#define STREAMER_ERROR_KIND(name, code, text) \
  CHECK(std::string(streamer_status_name(code)) == #name);
#include "streamer/error_kinds.inc"
#undef STREAMER_ERROR_KIND
  CHECK(std::string(streamer_status_name(999)) == "unknown");
}

TEST_CASE("dtypes of the header are those of the table", "[boundary]") {
  CHECK(std::string(streamer_dtype_name(STREAMER_DTYPE_F4)) == "F4");
  CHECK(std::string(streamer_dtype_name(STREAMER_DTYPE_BF16)) == "BF16");
  CHECK(std::string(streamer_dtype_name(STREAMER_DTYPE_U64)) == "U64");
  CHECK(streamer_dtype_bits(STREAMER_DTYPE_F6_E3M2) == 6);
  CHECK(streamer_dtype_name(0) == nullptr);
  CHECK(streamer_dtype_name(23) == nullptr);
  CHECK(streamer_dtype_bits(-1) == 0);
}

TEST_CASE("NULL where it may not be is an error that names the parameter", "[boundary]") {
  streamer_error* error = nullptr;
  streamer_checkpoint* checkpoint = nullptr;
  CHECK(streamer_checkpoint_open(nullptr, 1, nullptr, nullptr, &checkpoint, &error) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(streamer_error_line(error), Catch::Contains("uris is NULL"));
  streamer_error_free(error);
  const char* const uri = nullptr;
  CHECK(streamer_checkpoint_open(&uri, 1, nullptr, nullptr, &checkpoint, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_checkpoint_get_tensor_infos(nullptr, 0, 1, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_plan_new(nullptr, nullptr, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_plan_add(nullptr, nullptr, 1, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_load_start(nullptr, nullptr, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_load_next(nullptr, 0, nullptr, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_load_next_many(nullptr, 0, 1, nullptr, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_checkpoint_open_ranges(nullptr, 1, nullptr, nullptr, &checkpoint, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_checkpoint_open_rank(nullptr, nullptr, 0, nullptr, nullptr, &checkpoint,
                                      nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_device_copy_rate({STREAMER_DEVICE_CUDA, 0}, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_settings_set(nullptr, "a", "b", nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_tensor_to_dlpack(nullptr, nullptr, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  streamer_load_close(nullptr);
  streamer_load_cancel(nullptr);
  streamer_tensor_release(nullptr);
  streamer_plan_free(nullptr);
  streamer_error_free(nullptr);
  streamer_listing_close(nullptr);
  streamer_load_get_stats(nullptr, nullptr);
  CHECK(streamer_checkpoint_tensor_count(nullptr) == 0);
}

TEST_CASE("infos of several tensors come with one call, their names and shapes in two blocks",
          "[boundary]") {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "model.safetensors").string();
  const std::string text =
      safetensors_file(R"({"alpha":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                       R"("b":{"dtype":"F32","shape":[],"data_offsets":[24,28]},)"
                       R"("gamma":{"dtype":"F32","shape":[1,1,5],"data_offsets":[28,48]}})",
                       48);
  write_text(path, text);
  const char* const uri = path.c_str();
  streamer_checkpoint* checkpoint = nullptr;
  REQUIRE(streamer_checkpoint_open(&uri, 1, nullptr, nullptr, &checkpoint, nullptr) == STREAMER_OK);

  // As a newer program has it: the structs lie further apart.
  struct Longer {
    streamer_tensor_info info;
    std::uint64_t unknown;
  };
  std::vector<Longer> infos(3, Longer{STREAMER_TENSOR_INFO_INIT, 77});
  for (Longer& one : infos)
    one.info.struct_size = sizeof one;
  std::size_t count = 0;
  const auto get = [&](std::size_t first, std::size_t capacity, streamer_error** error = nullptr) {
    return streamer_checkpoint_get_tensor_infos(checkpoint, first, capacity, &infos[0].info, &count,
                                                error);
  };
  REQUIRE(get(0, 3) == STREAMER_OK);
  REQUIRE(count == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    streamer_tensor_info one = STREAMER_TENSOR_INFO_INIT;
    REQUIRE(streamer_checkpoint_get_tensor_info(checkpoint, i, &one, nullptr) == STREAMER_OK);
    const streamer_tensor_info& info = infos[i].info;
    CHECK(info.struct_size == sizeof(Longer));
    CHECK(infos[i].unknown == 77);
    CHECK(info.name == one.name);
    CHECK(info.name_size == one.name_size);
    CHECK(info.dtype == one.dtype);
    CHECK(info.rank == one.rank);
    CHECK(info.shape == one.shape);
    CHECK(info.bytes == one.bytes);
    CHECK(info.object == one.object);
    CHECK(info.object_offset == one.object_offset);
  }
  CHECK(std::string(infos[0].info.name, 14) == std::string("alpha\0b\0gamma\0", 14));
  CHECK(std::vector<std::uint64_t>(infos[0].info.shape, infos[0].info.shape + 5) ==
        std::vector<std::uint64_t>{2, 3, 1, 1, 5});

  REQUIRE(get(1, 1) == STREAMER_OK);
  CHECK(count == 1);
  CHECK(infos[0].info.name == std::string("b"));
  REQUIRE(get(2, 3) == STREAMER_OK);
  CHECK(count == 1);
  CHECK(infos[0].info.name == std::string("gamma"));
  REQUIRE(get(3, 3) == STREAMER_OK);
  CHECK(count == 0);

  count = 7;
  streamer_error* error = nullptr;
  CHECK(get(4, 3, &error) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(streamer_error_line(error), Catch::Contains("4 is not below the count, 3"));
  streamer_error_free(error);
  CHECK(get(0, 0, &error) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(streamer_error_line(error), Catch::Contains("capacity is 0"));
  streamer_error_free(error);
  infos[0].info.struct_size = sizeof(streamer_tensor_info) + 4;
  CHECK(get(0, 1) == STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(count == 7);
  streamer_checkpoint_close(checkpoint);
}

TEST_CASE("what pull and snapshot may be given is optional, and what is missing is said",
          "[boundary]") {
  const TemporaryFolder folder;
  const std::string from = (folder.path() / "from").string();
  const std::string to = (folder.path() / "to").string();
  std::filesystem::create_directory(from);
  std::ofstream(from + "/config.json") << "{}";
  streamer_files* files = nullptr;
  REQUIRE(streamer_pull(from.c_str(), to.c_str(), nullptr, nullptr, nullptr, &files, nullptr) ==
          STREAMER_OK);
  CHECK(streamer_files_count(files) == 1);
  CHECK(streamer_files_folder(files) == to);
  refuse_broken_sizes(streamer_file_info STREAMER_FILE_INFO_INIT,
                      [&](auto& broken, streamer_error** error) {
                        return streamer_files_get_info(files, 0, &broken, error);
                      });
  streamer_file_info file = STREAMER_FILE_INFO_INIT;
  REQUIRE(streamer_files_get_info(files, 0, &file, nullptr) == STREAMER_OK);
  CHECK(file.path == to + "/config.json");
  CHECK(file.bytes == 2);
  CHECK(file.was_there == 0);
  CHECK(streamer_files_get_info(files, 1, &file, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
  streamer_files_close(files);
  REQUIRE(streamer_snapshot(from.c_str(), nullptr, nullptr, nullptr, &files, nullptr) ==
          STREAMER_OK);
  CHECK(streamer_files_folder(files) == from);
  streamer_files_close(files);
  CHECK(streamer_files_folder(nullptr) == std::string());
  CHECK(streamer_files_count(nullptr) == 0);
  streamer_files_close(nullptr);

  const char* const none[] = {nullptr};
  streamer_pull_options missing = STREAMER_PULL_OPTIONS_INIT;
  missing.allow_count = 1;
  for (const char* const* const allow : {static_cast<const char* const*>(nullptr), none}) {
    missing.allow = allow;
    streamer_error* error = nullptr;
    CHECK(streamer_snapshot(from.c_str(), &missing, nullptr, nullptr, &files, &error) ==
          STREAMER_ERROR_INVALID_ARGUMENT);
    CHECK_THAT(streamer_error_line(error), Catch::Contains("allow is NULL"));
    streamer_error_free(error);
  }
  CHECK(streamer_snapshot(nullptr, nullptr, nullptr, nullptr, &files, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
  CHECK(streamer_snapshot(from.c_str(), nullptr, nullptr, nullptr, nullptr, nullptr) ==
        STREAMER_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("settings can be listed, and refuse what they cannot have", "[boundary]") {
  REQUIRE(streamer_setting_count() > 5);
  for (std::size_t i = 0; i < streamer_setting_count(); ++i) {
    streamer_setting_info info = STREAMER_SETTING_INFO_INIT;
    REQUIRE(streamer_setting_get_info(i, &info, nullptr) == STREAMER_OK);
    streamer_settings* settings = nullptr;
    REQUIRE(streamer_settings_new(&settings, nullptr) == STREAMER_OK);
    CHECK(std::set<std::string>{"store", "checkpoint", "load", "ranks", "call", "process"}.contains(
        info.scope));
    // Each default is a value that the setting may be given.
    CHECK(streamer_settings_set(settings, info.name, info.default_value, nullptr) == STREAMER_OK);
    // Only whoever uses a text can say what it must not be.
    const std::string_view values = info.values;
    const bool is_text = (values.starts_with("auto, or a") &&
                          values.find("power of two") == std::string_view::npos) ||
                         values.find("the path o") != std::string_view::npos ||
                         values.ends_with("a project of Google's");
    CHECK(streamer_settings_set(settings, info.name, "nonsense", nullptr) ==
          (is_text ? STREAMER_OK : STREAMER_ERROR_INVALID_ARGUMENT));
    CHECK(streamer_settings_set(settings, info.name, "", nullptr) ==
          STREAMER_ERROR_INVALID_ARGUMENT);
    streamer_settings_free(settings);
  }
  streamer_setting_info info = STREAMER_SETTING_INFO_INIT;
  CHECK(streamer_setting_get_info(1000, &info, nullptr) == STREAMER_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("the log callback gets lines of its level and above, and none after it was taken away",
          "[boundary]") {
  std::vector<std::string> lines;
  streamer_log_set(
      STREAMER_LOG_INFO,
      [](int32_t, const char* line, void* user) {
        static_cast<std::vector<std::string>*>(user)->push_back(line);
      },
      &lines);
  core::log_line(core::LogLevel::debug, "quiet");
  core::log_line(core::LogLevel::warning, "loud");
  streamer_log_set(STREAMER_LOG_OFF, nullptr, nullptr);
  core::log_line(core::LogLevel::error, "late");
  CHECK(lines == std::vector<std::string>{"loud"});
}
