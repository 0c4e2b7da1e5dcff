// SPDX-License-Identifier: Apache-2.0
// On a stand-in for the CUDA runtime, whose memory is the host's.
#include "runai_file_streamer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gpu/gpu_kinds.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/runai_handle.hpp"

using namespace streamer::test::runai;

TEST_CASE("many submissions at once bring every byte", "[runai]") {
  const Folder folder;
  std::mt19937 generator(5);
  const auto below = [&](std::size_t most) { return generator() % most; };
  std::vector<std::string> paths;
  std::vector<std::string> contents;
  for (unsigned i = 0; i < 5; ++i) {
    contents.push_back(content_of(i, 1 + below(3'000'000)));
    paths.push_back(folder.write(fmt::format("f{}", i), contents.back()));
  }
  for (const bool on_device : {false, true}) {
    const Streamer streamer;
    for (int round = 0; round < 6; ++round) {
      std::vector<Submission> submissions(1 + below(6));
      std::vector<Submission*> sent;
      std::set<RunaiFileStreamerSubmissionId> ids;
      for (Submission& submission : submissions) {
        const std::size_t files = below(4);
        for (std::size_t f = 0; f < files; ++f) {
          const std::size_t which = below(paths.size());
          submission.add_file(paths[which]);
          for (std::size_t r = below(6); r > 0; --r) {
            const std::size_t offset = below(contents[which].size());
            submission.add_range(offset, below(contents[which].size() - offset + 1));
          }
        }
        const RunaiFileStreamerDevice device{
            on_device ? RUNAI_FILE_STREAMER_DEVICE_CUDA : RUNAI_FILE_STREAMER_DEVICE_CPU,
            static_cast<int>(below(2))};
        REQUIRE(submission.send(streamer.handle, device) == 0);
        REQUIRE(submission.id != 0);
        CHECK(ids.insert(submission.id).second);
        // One that owes nothing has no response.
        if (!submission.sizes.empty()) sent.push_back(&submission);
      }
      drain(streamer, sent);
      for (const Submission& submission : submissions) {
        std::size_t i = 0;
        for (unsigned f = 0; f < submission.paths.size(); ++f) {
          const auto which = static_cast<std::size_t>(submission.paths[f].back() - '0');
          for (unsigned r = 0; r < submission.counts[f]; ++r, ++i) {
            CAPTURE(on_device, round, submission.paths, submission.counts, submission.offsets,
                    submission.sizes, i);
            CHECK(submission.codes.at({f, r}) == 0);
            REQUIRE(std::memcmp(submission.places[i],
                                contents[which].data() + submission.offsets[i],
                                submission.sizes[i]) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("each range has a code of its own", "[runai]") {
  const Folder folder;
  const std::string content = content_of(1, 5000);
  Submission submission;
  submission.add_file(folder.write("f1", content));
  submission.add_range(4990, 10);
  submission.add_range(4990, 11);
  submission.add_range(5000, 0);
  submission.add_range(1'000'000, 0);  // behind the end, and nothing of it
  submission.add_range(SIZE_MAX - 8, 8);
  submission.add_file(folder.path() + "/nobody");
  submission.add_range(0, 4);
  submission.add_range(0, 0);
  submission.add_file(folder.path());
  submission.add_range(0, 4);
  submission.add_file("/dev/zero");
  submission.add_range(0, 4);
  submission.add_file("/" + std::string(5000, 'x'));
  submission.add_range(0, 4);
  submission.add_file(folder.path() + "/nobody");  // of which nothing is wanted
  const Streamer streamer;
  REQUIRE(submission.send(streamer.handle) == 0);
  drain(streamer, {&submission});
  const std::map<std::pair<unsigned, unsigned>, int> expected = {
      {{0, 0}, 0}, {{0, 1}, 3}, {{0, 2}, 0}, {{0, 3}, 0}, {{0, 4}, 3},
      {{1, 0}, 2}, {{1, 1}, 2}, {{2, 0}, 2}, {{3, 0}, 2}, {{4, 0}, 2}};
  CHECK(submission.codes == expected);
  CHECK(submission.memory.substr(0, 10) == content.substr(4990));
}

TEST_CASE("waiting has a limit if it is given one", "[runai]") {
  const Streamer streamer;
  CHECK(take(streamer).code == 1);
  CHECK(take(streamer, 20).code == 16);
  Submission nothing;
  REQUIRE(nothing.send(streamer.handle) == 0);
  CHECK(nothing.id != 0);
  CHECK(take(streamer).code == 1);
}

TEST_CASE("what cannot be is refused and leaves nothing behind", "[runai]") {
  const Folder folder;
  const std::string path = folder.write("f0", "content");
  const Streamer streamer;
  const auto code_of = [&](const std::vector<std::string>& paths,
                           RunaiFileStreamerDevice device = kCpu) {
    Submission submission;
    for (const std::string& one : paths) {
      submission.add_file(one);
      submission.add_range(0, 4);
    }
    const int code = submission.send(streamer.handle, device);
    CHECK(submission.id == 0);
    return code;
  };
  CHECK(code_of({path, "s3://bucket/key"}) == 17);
  CHECK(code_of({"gs://bucket/key", "s3://bucket/key"}) == 17);
  CHECK(code_of({path}, {RUNAI_FILE_STREAMER_DEVICE_CUDA, -1}) == 25);
  for (const auto& [offsets, sizes] :
       std::vector<std::pair<std::vector<std::size_t>, std::vector<std::size_t>>>{
           {{SIZE_MAX - 3}, {8}}, {{0, 0}, {SIZE_MAX, SIZE_MAX}}}) {
    RunaiFileStreamerSubmissionId none = 5;
    const char* const one[] = {path.c_str()};
    unsigned count[] = {static_cast<unsigned>(offsets.size())};
    auto from = offsets;
    auto bytes = sizes;
    char place = 0;
    std::vector<void*> to(offsets.size(), &place);
    CHECK(runai_file_streamer_request(streamer.handle, &none, 1, const_cast<const char**>(one),
                                      count, from.data(), bytes.data(), to.data(), kCpu) == 7);
    CHECK(none == 0);
  }
  RunaiFileStreamerSubmissionId id = 5;
  const char* paths[] = {path.c_str()};
  unsigned counts[] = {1};
  std::size_t offsets[] = {0};
  std::size_t sizes[] = {4};
  void* places[] = {nullptr};
  CHECK(runai_file_streamer_request(streamer.handle, &id, 1, paths, counts, offsets, sizes, places,
                                    kCpu) == 7);
  CHECK(id == 0);
  CHECK(runai_file_streamer_request(streamer.handle, &id, 1, nullptr, counts, offsets, sizes,
                                    places, kCpu) == 7);
  CHECK(runai_file_streamer_request(nullptr, &id, 0, nullptr, nullptr, nullptr, nullptr, nullptr,
                                    kCpu) == 7);
  CHECK(take(streamer).code == 1);
  runai_file_streamer_end(nullptr);
}

TEST_CASE("a strategy is set once, before it is needed", "[runai]") {
  const Folder folder;
  const std::string path = folder.write("f0", "content");
  {
    const Streamer streamer;
    for (const char* const wrong : {"", "mmap", "sync_buffered,", "sync_buffered,sync_buffered"})
      CHECK(runai_file_streamer_set_fs_strategy(streamer.handle, wrong) == 7);
    CHECK(runai_file_streamer_set_fs_strategy(streamer.handle, "io_uring_direct,sync_buffered") ==
          0);
    CHECK(runai_file_streamer_set_fs_strategy(streamer.handle, "io_uring_direct,sync_buffered") ==
          0);
    CHECK(runai_file_streamer_set_fs_strategy(streamer.handle, "sync_buffered") == 20);
  }
  const Streamer streamer;
  Submission submission;
  submission.add_file(path);
  submission.add_range(0, 7);
  REQUIRE(submission.send(streamer.handle) == 0);
  drain(streamer, {&submission});
  CHECK(runai_file_streamer_set_fs_strategy(streamer.handle, "sync_buffered") == 20);
  for (const char* const wrong : {"nonsense", "", "sync_buffered,nonsense"}) {
    ::setenv("RUNAI_STREAMER_FS_STRATEGY", wrong, 1);
    const Streamer refusing;
    Submission refused;
    refused.add_file(path);
    refused.add_range(0, 7);
    CHECK(refused.send(refusing.handle) == 7);
    // What the program says goes before.
    CHECK(runai_file_streamer_set_fs_strategy(refusing.handle, "sync_buffered") == 0);
    CHECK(refused.send(refusing.handle) == 0);
    drain(refusing, {&refused});
  }
  ::setenv("RUNAI_STREAMER_FS_STRATEGY", "sync_buffered", 1);
  const Streamer by_environment;
  ::unsetenv("RUNAI_STREAMER_FS_STRATEGY");
  CHECK(runai_file_streamer_set_fs_strategy(by_environment.handle, "io_uring_direct") == 20);
}

TEST_CASE("credentials are set once", "[runai]") {
  const Streamer streamer;
  const char* keys[] = {"access_key_id", "secret_access_key", "of_another_version"};
  const char* values[] = {"KEYID", "CANARYSECRET", "x"};
  const char* others[] = {"KEYID", "CANARYSECRET2", "x"};
  CHECK(runai_file_streamer_set_credentials(streamer.handle, nullptr, nullptr, 0) == 0);
  CHECK(runai_file_streamer_set_credentials(streamer.handle, nullptr, nullptr, 1) == 7);
  const char* nothing[] = {nullptr, nullptr, nullptr};
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, nothing, 3) == 0);
  const char* empty[] = {"", "", "x"};
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, empty, 3) == 0);
  const char* half[] = {"KEYID", "", "x"};
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, half, 3) == 7);
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, values, 3) == 0);
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, values, 3) == 0);
  CHECK(runai_file_streamer_set_credentials(streamer.handle, keys, others, 3) == 18);
}

TEST_CASE("listing and measuring", "[runai]") {
  const Folder folder;
  std::filesystem::create_directory(folder.path() + "/sub");
  for (const char* const name : {"b.json", "a.safetensors", "sub/c.json"})
    folder.write(name, name);
  const Streamer streamer;
  const auto list = [&](bool is_deep, std::vector<const char*> allow,
                        std::vector<const char*> ignore) {
    std::map<std::string, std::size_t> found;
    const auto note = [](const char* path, size_t size, void* user) {
      (*static_cast<std::map<std::string, std::size_t>*>(user))[path] = size;
    };
    const int code = runai_file_streamer_list_files(
        streamer.handle, folder.path().c_str(), is_deep ? 1 : 0,
        allow.empty() ? nullptr : allow.data(), static_cast<unsigned>(allow.size()),
        ignore.empty() ? nullptr : ignore.data(), static_cast<unsigned>(ignore.size()), note,
        &found);
    REQUIRE(code == 0);
    return found;
  };
  CHECK(list(true, {}, {}).size() == 3);
  CHECK(list(false, {}, {}).size() == 2);
  CHECK(list(true, {"*.json"}, {"*b.json"}) ==
        std::map<std::string, std::size_t>{{folder.path() + "/sub/c.json", 10}});
  // A pattern is held against the whole path of a file.
  const std::string whole = folder.path() + "/sub/*";
  CHECK(list(true, {whole.c_str()}, {}).size() == 1);
  CHECK(list(true, {"sub/*"}, {}).empty());
  CHECK(list(true, {}, {"a.safetensors"}).size() == 3);
  CHECK(list(true, {}, {"*/a.safetensors"}).size() == 2);
  CHECK(runai_file_streamer_list_files(
            streamer.handle, (folder.path() + "/nobody").c_str(), 1, nullptr, 0, nullptr, 0,
            [](const char*, size_t, void*) {}, nullptr) == 2);

  std::size_t block = 0;
  const std::string path = folder.path() + "/b.json";
  const char* paths[] = {"/nowhere/x", path.c_str(), "s3://bucket/key"};
  CHECK(runai_file_streamer_probe_direct_block_size(streamer.handle, paths, 3, &block) == 0);
  CHECK(block == 4096);
  const std::string itself = folder.path();
  paths[0] = itself.c_str();
  block = 0;
  CHECK(runai_file_streamer_probe_direct_block_size(streamer.handle, paths, 1, &block) == 11);
  CHECK(block == 4096);
}

TEST_CASE("every code has a text", "[runai]") {
  std::set<std::string> texts;
  for (int code = 0; code <= 28; ++code)
    texts.insert(runai_file_streamer_response_str(code));
  CHECK(texts.size() == 29);
  CHECK(std::string(runai_file_streamer_response_str(24)) == "No usable device is present");
  for (const int code : {-1, 29, 1000})
    CHECK(std::string(runai_file_streamer_response_str(code)) == "Invalid response code");
}

namespace {

// What stderr gets while body runs.
std::string stderr_of(const std::function<void()>& body) {
  const int kept = ::dup(STDERR_FILENO);
  std::FILE* const file = std::tmpfile();
  ::dup2(::fileno(file), STDERR_FILENO);
  body();
  ::dup2(kept, STDERR_FILENO);
  ::close(kept);
  std::fseek(file, 0, SEEK_END);
  std::string text(static_cast<std::size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  REQUIRE(std::fread(text.data(), 1, text.size(), file) == text.size());
  std::fclose(file);
  return text;
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("what a code cannot say of a failed submission is one line on stderr", "[runai]") {
  const Folder folder;
  const std::string good = folder.write("good", "content");
  const auto failing = [&](const std::string& path, std::size_t offset,
                           RunaiFileStreamerDevice device = kCpu) {
    return stderr_of([&] {
      const Streamer streamer;
      Submission submission;
      submission.add_file(path);
      submission.add_range(offset, 4);
      submission.add_range(offset, 2);
      submission.add_file(path);
      submission.add_range(offset, 1);
      REQUIRE(submission.send(streamer.handle, device) == 0);
      drain(streamer, {&submission});
    });
  };
  CHECK(failing(good, 0).empty());
  const std::string missing = failing(folder.path() + "/nobody", 0);
  CAPTURE(missing);
  CHECK(lines_of(missing) == 1);
  CHECK(missing.find(folder.path() + "/nobody") != std::string::npos);
  CHECK(missing.find("No such file") != std::string::npos);
  const std::string short_one = failing(good, 100);
  CAPTURE(short_one);
  CHECK(lines_of(short_one) == 1);
  CHECK(short_one.find("it ends at byte 7") != std::string::npos);
  const std::string strange = failing(good, 0, {RUNAI_FILE_STREAMER_DEVICE_CUDA, 99});
  CAPTURE(strange);
  CHECK(lines_of(strange) == 1);
  ::setenv("RUNAI_STREAMER_CONCURRENCY", "many", 1);
  const std::string at_start = stderr_of([] {
    void* handle = nullptr;
    CHECK(runai_file_streamer_start(&handle) == 7);
  });
  ::unsetenv("RUNAI_STREAMER_CONCURRENCY");
  CHECK(at_start.find("RUNAI_STREAMER_CONCURRENCY is \"many\"") != std::string::npos);
}

TEST_CASE("numbers of the environment are brought within their bounds", "[runai]") {
  const Folder folder;
  const std::string path = folder.write("f", "content");
  const auto reads = [&](const char* variable, const char* value) {
    ::setenv(variable, value, 1);
    void* handle = nullptr;
    const int code = runai_file_streamer_start(&handle);
    if (code == 0) {
      Submission submission;
      submission.add_file(path);
      submission.add_range(0, 7);
      REQUIRE(submission.send(handle) == 0);
      RunaiFileStreamerSubmissionId id = 0;
      unsigned file = 0;
      unsigned index = 0;
      int is_last = 0;
      CHECK(runai_file_streamer_response(handle, &id, &file, &index, &is_last, 0) == 0);
      CHECK(submission.memory == "content");
    }
    runai_file_streamer_end(handle);
    ::unsetenv(variable);
    return code;
  };
  for (const char* const value : {"5000", " 4", "1"})
    CHECK(reads("RUNAI_STREAMER_CONCURRENCY", value) == 0);
  for (const char* const value : {"1", "100000000000"})
    CHECK(reads("RUNAI_STREAMER_CHUNK_BYTESIZE", value) == 0);
  for (const char* const value : {"0", "-1", "", "4 ", "x"}) {
    CHECK(reads("RUNAI_STREAMER_CONCURRENCY", value) == 7);
    CHECK(reads("RUNAI_STREAMER_OBJ_CONCURRENCY", value) == 7);
  }
  CHECK(reads("RUNAI_STREAMER_S3_TIMEOUT", "0") == 0);
  CHECK(reads("RUNAI_STREAMER_S3_TIMEOUT", "x") == 7);
  // What is meant for stores is not looked at where files are read.
  for (const char* const variable :
       {"RUNAI_STREAMER_S3_MAX_CONNECTIONS", "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS",
        "RUNAI_STREAMER_S3_TARGET_GBPS", "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING"}) {
    for (const char* const value : {"0", "x", "99999999"})
      CHECK(reads(variable, value) == 0);
  }
}
