// SPDX-License-Identifier: Apache-2.0
// Whole objects against checksums: the store's, or those of a manifest.
#include <fstream>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "support/network_faults.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

std::string stored_bytes(StoreLab& lab) {
  WireRequest request;
  request.path = "/bucket/" + percent_encode(lab.key, "/");
  request.headers["range"] = "bytes=0-99999999";
  return lab.world.range_of(request).bytes;
}

std::string checksum_of(ChecksumKind kind, const std::string& bytes) {
  if (kind == ChecksumKind::sha256) return std::string(as_text(sha256(bytes)));
  return crc_bytes(kind, crc_update(kind, 0, bytes));
}

constexpr ChecksumKind kKinds[] = {ChecksumKind::crc32, ChecksumKind::crc32c,
                                   ChecksumKind::crc64nvme, ChecksumKind::sha256};

std::string manifest_line(ChecksumKind kind, const std::string& bytes, const std::string& name) {
  return fmt::format("{}:{}  {}\n", to_lower(checksum_name(kind)), hex(checksum_of(kind, bytes)),
                     name);
}

// One byte of one answer is not what is stored.
StoreWorld::Fault flip_one_byte(StoreLab& lab) {
  auto done = std::make_shared<std::atomic<bool>>(false);
  return [&lab, done](const WireRequest& request, Wire& wire, std::uint32_t turn) {
    if (turn < 20 || done->exchange(true)) return false;
    Range range = lab.world.range_of(request);
    range.bytes[range.bytes.size() / 2] ^= 1;
    wire.send(lab.world.head_206(range) + range.bytes);
    return true;
  };
}

NetworkOutcome load_unchecked_to_device(const std::shared_ptr<const Checkpoint>& checkpoint,
                                        const Settings& settings) {
  CudaStandIn cuda({});
  NetworkOutcome outcome;
  LoadOptions options;
  options.device = {kCudaKind, 0};
  options.gpu = &cuda;
  auto load =
      Load::start(checkpoint, everything(*checkpoint), options, *read_load_settings(settings));
  while (load && !outcome.error) {
    auto next = (*load)->next(in(std::chrono::seconds(30)));
    if (!next) {
      outcome.error = std::move(next).error();
    } else {
      if (next->outcome != Load::Outcome::tensor) break;
      next->lease->release();
    }
  }
  if (!load) outcome.error = std::move(load).error();
  if (load) load->reset();
  drop_kept_segments();
  return outcome;
}

}  // namespace

TEST_CASE("a manifest's checksums are found right, over a network and in any order",
          "[integrity]") {
  for (const ChecksumKind kind : kKinds) {
    for (const std::string& connections : connection_counts()) {
      INFO(checksum_name(kind) << ", connections: " << connections);
      StoreLab lab;
      const TemporaryFolder folder;
      Settings settings = lab.settings(connections);
      const auto manifest =
          write_text(folder.path() / "sums",
                     "# made by a test\n\n" + manifest_line(kind, stored_bytes(lab), lab.key));
      REQUIRE(settings.set(setting::kVerify, manifest.string()));
      const NetworkOutcome outcome = lab.load(settings);
      if (outcome.error) FAIL(outcome.error->line());
      CHECK(outcome.stats.objects_verified == 1);
    }
  }
}

TEST_CASE("checksums are found right where answers break off and are read again", "[integrity]") {
  for (const ChecksumKind kind : kKinds) {
    for (const Framing framing : kFramings) {
      INFO(checksum_name(kind) << ", framing " << static_cast<int>(framing));
      StoreLab lab("127.0.0.1", 12, 700'003);
      const TemporaryFolder folder;
      std::atomic<int> left{3};
      lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t turn) {
        const std::size_t size = lab.world.range_of(request).bytes.size();
        if (size < 10'000 || left.fetch_sub(1) <= 0) return false;
        answer_with_junk(lab, request, wire, framing, size / 2, make_junk(Junk::page, 2'000, turn));
        return true;
      });
      Settings settings = lab.settings("2");
      // Several chunks by one answer.
      REQUIRE(settings.set(setting::kChunkBytes, "auto"));
      REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
      REQUIRE(settings.set(
          setting::kVerify,
          write_text(folder.path() / "sums", manifest_line(kind, stored_bytes(lab), lab.key))
              .string()));
      const NetworkOutcome outcome = lab.load(settings);
      if (outcome.error) FAIL(outcome.error->line());
      CHECK(outcome.stats.retries >= 1);
      CHECK(outcome.stats.objects_verified == 1);
    }
  }
}

TEST_CASE("N27 one wrong byte is an error that names the file", "[integrity]") {
  for (const ChecksumKind kind : kKinds) {
    INFO(checksum_name(kind));
    StoreLab lab;
    const TemporaryFolder folder;
    Settings settings = lab.settings("8");
    const auto manifest =
        write_text(folder.path() / "sums", manifest_line(kind, stored_bytes(lab), lab.key));
    REQUIRE(settings.set(setting::kVerify, manifest.string()));
    lab.world.set_fault(flip_one_byte(lab));
    const auto checkpoint = lab.open(settings);
    REQUIRE(checkpoint);
    auto load =
        Load::start(*checkpoint, everything(**checkpoint), {}, *read_load_settings(settings));
    REQUIRE(load);
    std::optional<Error> error;
    while (!error) {
      auto next = (*load)->next(in(std::chrono::seconds(30)));
      if (!next) {
        error = std::move(next).error();
      } else {
        REQUIRE(next->outcome == Load::Outcome::tensor);  // never the end
        next->lease->release();
      }
    }
    CHECK(error->kind() == ErrorKind::corrupt);
    CHECK(error->fields().uri == "s3://bucket/" + lab.key);
    CHECK_THAT(error->message(), Catch::Contains(std::string(checksum_name(kind))));
  }
}

TEST_CASE("the store's own checksum is asked for with one HEAD", "[integrity]") {
  for (const ChecksumKind kind : kKinds) {
    StoreLab lab;
    const std::string name = to_lower(checksum_name(kind));
    const std::string value = base64_encode(checksum_of(kind, stored_bytes(lab)));
    lab.world.set_head_headers(
        fmt::format("x-amz-checksum-{}: {}\r\nx-amz-checksum-type: FULL_OBJECT\r\n", name, value));
    Settings settings = lab.settings("8");
    REQUIRE(settings.set(setting::kVerify, "store"));
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.objects_verified == 1);
    CHECK(lab.world.bad_signatures() == 0);
  }
}

TEST_CASE("what cannot be verified is a warning, or an error where that is required",
          "[integrity]") {
  struct Row {
    std::string headers;
    std::vector<PlanRequest> requests;
    std::string says;
  };
  const std::vector<Row> rows = {
      {"", {}, "none for this object"},
      // Of parts, a multipart upload's: not of the object.
      {"x-amz-checksum-crc32: AAAAAA==-3\r\nx-amz-checksum-type: COMPOSITE\r\n", {}, "parts"},
      {"x-amz-checksum-crc32: AAAAAA==-3\r\n", {}, "parts"},
      {"x-amz-checksum-crc32: AAAAAA==\r\nx-amz-checksum-type: COMPOSITE\r\n", {}, "parts"},
      {"x-amz-checksum-crc32: not base64!\r\nx-amz-checksum-type: FULL_OBJECT\r\n",
       {},
       "\"not base64!\""},
      // Eight bytes are no CRC32.
      {"x-amz-checksum-crc32: AAAAAAAAAAA=\r\n", {}, "x-amz-checksum-crc32 is not a checksum"},
      {"", {{.tensor = 3}}, "not all of it"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.headers, row.says);
    StoreLab lab;
    lab.world.set_head_headers(row.headers);
    for (const char* const verify : {"store", "required"}) {
      Settings settings = lab.settings("8");
      REQUIRE(settings.set(setting::kVerify, verify));
      const auto checkpoint = lab.open(settings);
      REQUIRE(checkpoint);
      Warnings warnings;
      auto load =
          Load::start(*checkpoint, row.requests.empty() ? everything(**checkpoint) : row.requests,
                      {}, *read_load_settings(settings));
      if (std::string_view(verify) == "required") {
        REQUIRE_FALSE(load);
        CHECK(load.error().kind() == ErrorKind::unsupported);
        CHECK(load.error().fields().uri == "s3://bucket/" + lab.key);
        CHECK_THAT(load.error().message(), Catch::Contains(row.says));
        continue;
      }
      REQUIRE(load);
      while (TensorLease* const lease = next(**load))
        lease->release();
      CHECK((*load)->stats().objects == 1);
      CHECK((*load)->stats().objects_verified == 0);
      CHECK_THAT((*load)->notes(), Catch::Contains(row.says));
      CHECK_THAT(warnings.text(), Catch::Contains("not verified") && Catch::Contains(row.says));
    }
  }
}

TEST_CASE("a flipped bit is found where verifying is required", "[integrity]") {
  StoreLab lab;
  const std::string value = base64_encode(checksum_of(ChecksumKind::crc64nvme, stored_bytes(lab)));
  lab.world.set_head_headers("x-amz-checksum-crc64nvme: " + value +
                             "\r\nx-amz-checksum-type: FULL_OBJECT\r\n");
  Settings settings = lab.settings("8");
  REQUIRE(settings.set(setting::kVerify, "required"));
  const NetworkOutcome good = lab.load(settings);
  if (good.error) FAIL(good.error->line());
  CHECK(good.stats.objects_verified == 1);
  lab.world.set_fault(flip_one_byte(lab));
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  auto load = Load::start(*checkpoint, everything(**checkpoint), {}, *read_load_settings(settings));
  REQUIRE(load);
  for (;;) {
    auto yielded = (*load)->next(in(std::chrono::seconds(30)));
    if (!yielded) {
      CHECK(yielded.error().kind() == ErrorKind::corrupt);
      break;
    }
    REQUIRE(yielded->outcome == Load::Outcome::tensor);  // never the end
    yielded->lease->release();
  }
}

TEST_CASE("a manifest that does not fit is an error", "[integrity]") {
  StoreLab lab;
  const TemporaryFolder folder;
  const auto fails_with = [&](const std::string& text, ErrorKind kind) {
    Settings settings = lab.settings("8");
    REQUIRE(settings.set(setting::kVerify, write_text(folder.path() / "sums", text).string()));
    const auto checkpoint = lab.open(settings);
    REQUIRE(checkpoint);
    const auto load =
        Load::start(*checkpoint, everything(**checkpoint), {}, *read_load_settings(settings));
    REQUIRE_FALSE(load);
    CHECK(load.error().kind() == kind);
  };
  fails_with(std::string(64, 'a') + "  other.safetensors\n", ErrorKind::invalid_argument);
  fails_with("", ErrorKind::invalid_argument);
  for (const std::string& line :
       {std::string("x"), std::string(64, 'a'), std::string(63, 'a') + "  n",
        std::string("md5:00  n"), std::string("crc32:0000000g  n"),
        std::string("crc32:00000000  ")}) {
    fails_with(line + "\n", ErrorKind::corrupt);
  }
}

TEST_CASE("files are verified too, whichever way they are read", "[integrity]") {
  StoreLab source;
  const std::string bytes = stored_bytes(source);
  for (const char* const file_io : {"auto", "buffered"}) {
    for (const ChecksumKind kind : kKinds) {
      const TemporaryFolder folder;
      const auto path = write_text(folder.path() / "m.safetensors", bytes);
      Settings settings;
      REQUIRE(settings.set(setting::kFileIo, file_io));
      REQUIRE(settings.set(setting::kVerify, write_text(folder.path() / "sums",
                                                        manifest_line(kind, bytes, "m.safetensors"))
                                                 .string()));
      const std::vector<std::string> uris = {path.string()};
      const auto checkpoint = open_checkpoint(uris, std::make_shared<Stores>(settings));
      REQUIRE(checkpoint);
      const NetworkOutcome outcome = source.load(*checkpoint, settings);
      if (outcome.error) FAIL(outcome.error->line());
      CHECK(outcome.stats.objects_verified == 1);
    }
  }
}

TEST_CASE("bytes are verified on their way to a device, by CRC", "[integrity]") {
  for (const ChecksumKind kind : kKinds) {
    for (const bool is_local : {true, false}) {
      for (const bool is_damaged : {false, true}) {
        INFO(checksum_name(kind) << (is_local ? ", file" : ", network")
                                 << (is_damaged ? ", damaged" : ""));
        StoreLab lab;
        const TemporaryFolder folder;
        std::string bytes = stored_bytes(lab);
        const std::string sum = is_local ? "m.safetensors" : lab.key;
        const auto manifest = write_text(folder.path() / "sums", manifest_line(kind, bytes, sum));
        if (is_damaged && is_local) bytes[bytes.size() / 2] ^= 1;
        const auto path = write_text(folder.path() / "m.safetensors", bytes);
        Settings settings = is_local ? Settings() : lab.settings("8");
        REQUIRE(settings.set(setting::kVerify, manifest.string()));
        REQUIRE(settings.set(setting::kStagingSegmentBytes, "16384"));
        if (is_damaged && !is_local) lab.world.set_fault(flip_one_byte(lab));
        const std::vector<std::string> uris = {is_local ? path.string() : lab.uri()};
        const auto checkpoint = open_checkpoint(uris, std::make_shared<Stores>(settings));
        REQUIRE(checkpoint);
        if (is_damaged) {
          // What is yielded before it is found is not compared here.
          const NetworkOutcome outcome = load_unchecked_to_device(*checkpoint, settings);
          REQUIRE(outcome.error);
          CHECK(outcome.error->kind() ==
                (kind == ChecksumKind::sha256 ? ErrorKind::unsupported : ErrorKind::corrupt));
          continue;
        }
        const NetworkOutcome outcome = lab.load(*checkpoint, settings, true);
        if (kind == ChecksumKind::sha256) {
          REQUIRE(outcome.error);
          CHECK_THAT(outcome.error->message(), Catch::Contains("CRC"));
          continue;
        }
        if (outcome.error) FAIL(outcome.error->line());
        CHECK(outcome.stats.objects_verified == 1);
      }
    }
  }
}
