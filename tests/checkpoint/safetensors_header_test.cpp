// SPDX-License-Identifier: Apache-2.0
// Verdicts on headers. The rules and their order are those of the reference implementation
// (huggingface/safetensors, safetensors/src/tensor.rs); where ours is stricter the case says so.
#include "checkpoint/safetensors_header.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ctime>

#include "support/catch.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::string_literals;

namespace {

// "" if the file is valid, else the name of the rule that it breaks.
std::string verdict(const std::string& file) {
  const auto bytes = std::as_bytes(std::span<const char>(file));
  const auto rule = [](const Error& error) {
    CHECK(error.kind() == ErrorKind::corrupt);
    return error.message().substr(0, error.message().find(':'));
  };
  const auto length =
      header_length(bytes.first(std::min<std::size_t>(bytes.size(), 8)), file.size());
  if (!length) return rule(length.error());
  const auto header =
      parse_header(JsonText(std::string_view(file).substr(8, *length)), file.size());
  return header ? "" : rule(header.error());
}

struct HeaderCase {
  const char* what;
  std::string header;
  std::size_t data_bytes;
  const char* rule;  // "" if valid
};

// One tensor named "a" with the given fields.
std::string one(std::string_view fields) {
  return fmt::format(R"({{"a":{{{}}}}})", fields);
}
std::string u8(std::string_view shape, std::uint64_t begin, std::uint64_t end) {
  return fmt::format(R"({{"dtype":"U8","shape":{},"data_offsets":[{},{}]}})", shape, begin, end);
}

const char* const kJson = "InvalidHeaderDeserialization";

std::vector<HeaderCase> valid_cases() {
  const std::string a = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  return {
      {"no tensors", "{}", 0, ""},
      {"only metadata", R"({"__metadata__":{"format":"pt"}})", 0, ""},
      {"metadata null", R"({"__metadata__":null})", 0, ""},
      {"metadata last",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{}})", 1, ""},
      {"one tensor", one(a), 8, ""},
      {"white space before", " \t\r\n" + one(a), 8, ""},
      {"white space behind", one(a) + " \t\r\n   ", 8, ""},
      {"an unknown field", one(a + R"(,"note":{"x":[1,null,true,"y",-0,1e3]})"), 8, ""},
      {"an unknown field twice", one(a + R"(,"x":1,"x":2)"), 8, ""},
      {"fields in another order", one(R"("data_offsets":[0,8],"shape":[2],"dtype":"F32")"), 8, ""},
      {"an escaped field name", one(R"("dty\u0070e":"F32","shape":[2],"data_offsets":[0,8])"), 8,
       ""},
      {"an escaped dtype", one(R"("dtype":"F\u00332","shape":[2],"data_offsets":[0,8])"), 8, ""},
      {"an escaped tensor name", R"({"\u0061\n\u0000":)" + u8("[1]", 0, 1) + "}", 1, ""},
      {"an empty name", R"({"":)" + u8("[1]", 0, 1) + "}", 1, ""},
      {"a name in two scripts", R"({"é中😀":)" + u8("[1]", 0, 1) + "}", 1, ""},
      {"a surrogate pair escaped", R"({"\ud83d\ude00":)" + u8("[1]", 0, 1) + "}", 1, ""},
      {"a scalar", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8])"), 8, ""},
      {"a tensor without elements", one(R"("dtype":"F64","shape":[3,0],"data_offsets":[0,0])"), 0,
       ""},
      {"zero before huge",
       one(R"("dtype":"U8","shape":[0,9999999999,9999999999],"data_offsets":[0,0])"), 0, ""},
      {"tensors out of order", R"({"b":)" + u8("[3]", 1, 4) + R"(,"a":)" + u8("[1]", 0, 1) + "}", 4,
       ""},
      {"zero tensor in the middle",
       R"({"a":)" + u8("[1]", 0, 1) + R"(,"z":)" + u8("[0]", 1, 1) + R"(,"b":)" + u8("[1]", 1, 2) +
           "}",
       2, ""},
      {"zero tensor listed after the one it shares its start with",
       R"({"a":)" + u8("[4]", 0, 4) + R"(,"z":)" + u8("[0]", 0, 0) + "}", 4, ""},
      {"two zero tensors at 0", R"({"a":)" + u8("[0]", 0, 0) + R"(,"b":)" + u8("[0]", 0, 0) + "}",
       0, ""},
      {"an unaligned tensor",
       R"({"a":)" + u8("[1]", 0, 1) + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
       5, ""},
      {"two F4 in a byte", one(R"("dtype":"F4","shape":[2],"data_offsets":[0,1])"), 1, ""},
      {"four F6 in three bytes", one(R"("dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3])"), 3,
       ""},
      {"64 dimensions",
       one(fmt::format(R"("dtype":"U8","shape":[{}],"data_offsets":[0,1])",
                       fmt::join(std::vector<int>(64, 1), ","))),
       1, ""},
  };
}

std::vector<HeaderCase> json_cases() {
  const std::string good = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const auto offsets = [](std::string_view text) {
    return one(fmt::format(R"("dtype":"U8","shape":[8],"data_offsets":{})", text));
  };
  const auto shape = [](std::string_view text) {
    return one(fmt::format(R"("dtype":"U8","shape":{},"data_offsets":[0,8])", text));
  };
  const auto field = [](std::string_view value) {
    return one(fmt::format(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{})", value));
  };
  std::string deep = std::string(200, '[') + std::string(200, ']');
  std::vector<HeaderCase> cases = {
      {"an empty header", "", 0, kJson},
      {"only white space", "   ", 0, kJson},
      {"a top-level array", "[]", 0, kJson},
      {"a top-level null", "null", 0, kJson},
      {"a top-level string", "\"a\"", 0, kJson},
      {"a top-level number", "1", 0, kJson},
      {"NUL behind", "{}"s + '\0', 0, kJson},
      {"a second object behind", "{}{}", 0, kJson},
      {"a vertical tab behind", "{}\x0b", 0, kJson},
      {"a comma behind", "{},", 0, kJson},
      {"a word behind", "{}x", 0, kJson},
      {"a byte order mark", "\xEF\xBB\xBF{}", 0, kJson},
      {"an object that does not end", "{", 0, kJson},
      {"a trailing comma", R"({"a":)" + good + ",}", 1, kJson},
      {"single quotes", "{'a':1}", 0, kJson},
      {"a comment", "{/**/}", 0, kJson},
      {"a tensor that is null", R"({"a":null})", 0, kJson},
      {"a tensor that is a number", R"({"a":1})", 0, kJson},
      {"no dtype", one(R"("shape":[1],"data_offsets":[0,1])"), 1, kJson},
      {"no shape", one(R"("dtype":"U8","data_offsets":[0,1])"), 1, kJson},
      {"no data_offsets", one(R"("dtype":"U8","shape":[1])"), 1, kJson},
      {"dtype twice", one(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])"), 1,
       kJson},
      {"shape twice", one(R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])"), 1,
       kJson},
      {"data_offsets twice",
       one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1])"), 1, kJson},
      {"an unknown dtype", one(R"("dtype":"U7","shape":[1],"data_offsets":[0,1])"), 1, kJson},
      {"a dtype in lower case", one(R"("dtype":"u8","shape":[1],"data_offsets":[0,1])"), 1, kJson},
      {"a dtype that is a number", one(R"("dtype":8,"shape":[1],"data_offsets":[0,1])"), 1, kJson},
      {"a dtype that is null", one(R"("dtype":null,"shape":[1],"data_offsets":[0,1])"), 1, kJson},
      {"one offset", offsets("[8]"), 8, kJson},
      {"three offsets", offsets("[0,8,9]"), 8, kJson},
      {"no offsets", offsets("[]"), 8, kJson},
      {"offsets that are an object", offsets("{}"), 8, kJson},
      {"a shape that is a number", shape("8"), 8, kJson},
      {"a shape that is null", shape("null"), 8, kJson},
      {"a shape in a shape", shape("[[8]]"), 8, kJson},
      {"a name with a raw control character", "{\"a\x01\":" + good + "}", 1, kJson},
      {"a lone surrogate", R"({"\ud800":)" + good + "}", 1, kJson},
      {"a lone low surrogate", R"({"\udc00":)" + good + "}", 1, kJson},
      {"a bad escape", R"({"\x41":)" + good + "}", 1, kJson},
      {"a bad escape in a skipped string", field(R"("\q")"), 1, kJson},
      {"a lone surrogate in a skipped string", field(R"("\ud800")"), 1, kJson},
      {"an unknown field nested too deep", field(deep), 1, kJson},
      {"metadata that is a string", R"({"__metadata__":"x"})", 0, kJson},
      {"metadata that is an array", R"({"__metadata__":[]})", 0, kJson},
      {"metadata with a number", R"({"__metadata__":{"x":1}})", 0, kJson},
      {"metadata with null", R"({"__metadata__":{"x":null}})", 0, kJson},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, kJson},
      // Stricter than the reference.
      {"a tensor as an array", R"({"a":["U8",[1],[0,1]]})", 1, kJson},
      {"a dtype as an object", one(R"("dtype":{"U8":null},"shape":[1],"data_offsets":[0,1])"), 1,
       kJson},
      {"65 dimensions",
       one(fmt::format(R"("dtype":"U8","shape":[{}],"data_offsets":[0,1])",
                       fmt::join(std::vector<int>(65, 1), ","))),
       1, kJson},
      {"a name of 64 KiB and a byte", fmt::format(R"({{"{}":{}}})", std::string(65537, 'n'), good),
       1, kJson},
  };
  for (const char* number : {"-8", "8.0", "8e0", "\"8\"", "08", "-0", "+8", "0x8", "null", "true",
                             "18446744073709551616", "1e400", ".8", "8.", "Infinity", "NaN"}) {
    cases.push_back({number, shape(fmt::format("[{}]", number)), 8, kJson});
    cases.push_back({number, offsets(fmt::format("[0,{}]", number)), 8, kJson});
  }
  for (const char* value : {"NaN", "1e400", "-1e400", "01", "nul", "tru", "falsey", "-", "1.",
                            "[1,]", "{\"a\"}", "[1 2]", "'x'", "\"\t\"", "Infinity"}) {
    cases.push_back({value, field(value), 1, kJson});
  }
  return cases;
}

std::vector<HeaderCase> rule_cases() {
  const auto f32 = [](std::string_view shape, std::uint64_t begin, std::uint64_t end) {
    return one(
        fmt::format(R"("dtype":"F32","shape":{},"data_offsets":[{},{}])", shape, begin, end));
  };
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":)" + a + R"(,"b":)" + b + "}";
  };
  return {
      {"a hole at the start", one(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"), 2,
       "InvalidOffset"},
      {"a hole", two(u8("[1]", 0, 1), u8("[1]", 2, 3)), 3, "InvalidOffset"},
      {"an overlap", two(u8("[2]", 0, 2), u8("[2]", 1, 3)), 3, "InvalidOffset"},
      {"the same range twice", two(u8("[2]", 0, 2), u8("[2]", 0, 2)), 2, "InvalidOffset"},
      {"reversed", one(R"("dtype":"U8","shape":[0],"data_offsets":[1,0])"), 1, "InvalidOffset"},
      {"a zero tensor inside another", two(u8("[2]", 0, 2), u8("[0]", 1, 1)), 2, "InvalidOffset"},
      {"a zero tensor behind a hole", two(u8("[2]", 0, 2), u8("[0]", 3, 3)), 3, "InvalidOffset"},
      {"too many elements", f32("[4294967296,4294967296]", 0, 8), 8, "ValidationOverflow"},
      {"huge before zero", f32("[4294967296,4294967296,4294967296,0]", 0, 0), 0,
       "ValidationOverflow"},
      {"too many bits", one(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1])"),
       1, "ValidationOverflow"},
      {"an odd number of F4", one(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])"), 2,
       "MisalignedSlice"},
      {"three F6", one(R"("dtype":"F6_E3M2","shape":[3],"data_offsets":[0,3])"), 3,
       "MisalignedSlice"},
      {"a byte too many", f32("[2]", 0, 9), 9, "TensorInvalidInfo"},
      {"a byte too few", f32("[2]", 0, 7), 7, "TensorInvalidInfo"},
      {"an end near 2^64", f32("[2]", 0, UINT64_MAX), 8, "TensorInvalidInfo"},
      {"a byte behind the last tensor", f32("[2]", 0, 8), 9, "MetadataIncompleteBuffer"},
      {"a byte missing", f32("[2]", 0, 8), 7, "MetadataIncompleteBuffer"},
      {"data without tensors", "{}", 1, "MetadataIncompleteBuffer"},
      {"sizes beyond the file",
       one(R"("dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951])"),
       1, "MetadataIncompleteBuffer"},
      {"a name twice", two(u8("[1]", 0, 1), u8("[1]", 1, 2)).replace(2, 1, "b"), 2, "DuplicateKey"},
      {"a name twice, once escaped",
       R"({"a":)" + u8("[1]", 0, 1) + R"(,"\u0061":)" + u8("[1]", 1, 2) + "}", 2, "DuplicateKey"},
      {"bad UTF-8", "{\"\xFF\":1}", 0, "InvalidHeader"},
      {"overlong UTF-8", "{\"\xC0\xAF\":1}", 0, "InvalidHeader"},
      {"a surrogate in UTF-8", "{\"\xED\xA0\x80\":1}", 0, "InvalidHeader"},
      {"bad UTF-8 in the padding", "{}\x80", 0, "InvalidHeader"},
      {"a cut sequence", "{}\xE4\xB8", 0, "InvalidHeader"},
  };
}

}  // namespace

TEST_CASE("a header is valid, or breaks the rule that the reference names", "[safetensors]") {
  for (const auto& cases : {valid_cases(), json_cases(), rule_cases()}) {
    for (const HeaderCase& one_case : cases) {
      CAPTURE(one_case.what, one_case.header.substr(0, 200));
      CHECK(verdict(safetensors_file(one_case.header, one_case.data_bytes)) == one_case.rule);
    }
  }
}

TEST_CASE("the length of the header is checked before anything else", "[safetensors]") {
  CHECK(verdict("") == "HeaderTooSmall");
  CHECK(verdict("\x02\0\0\0\0\0\0"s) == "HeaderTooSmall");
  CHECK(verdict("\0\0\0\0\0\0\0\0"s) == kJson);
  CHECK(verdict("\x03\0\0\0\0\0\0\0{}"s) == "InvalidHeaderLength");
  CHECK(verdict("\xff\xff\xff\xff\xff\xff\xff\xff{}"s) == "HeaderTooLarge");
  const auto length = [](std::uint64_t claimed, std::uint64_t file_bytes) {
    std::array<std::byte, 8> first{};
    for (unsigned i = 0; i < 8; ++i)
      first[i] = static_cast<std::byte>(claimed >> (8 * i) & 0xFF);
    return header_length(first, file_bytes);
  };
  CHECK(length(100'000'000, 200'000'000).has_value());
  CHECK_THAT(length(100'000'001, 200'000'000).error().message(),
             Catch::StartsWith("HeaderTooLarge"));
}

TEST_CASE("lenient rules take what common loaders take, and no more", "[safetensors]") {
  const auto read = [](const std::string& text, std::uint64_t data_bytes) {
    const std::uint64_t file_bytes = 8 + text.size() + data_bytes;
    CHECK_FALSE(parse_header(JsonText(text), file_bytes));
    auto header = parse_header(JsonText(text), file_bytes, HeaderRules::lenient);
    INFO(text << (header ? "" : header.error().message()));
    REQUIRE(header);
    return *std::move(header);
  };
  const auto of_two = [](const char* first, const std::string& one, const char* second,
                         const std::string& other) {
    return fmt::format(R"({{"{}":{},"{}":{}}})", first, one, second, other);
  };
  // The first one may lie anywhere: nobody reads it.
  const auto twice = read(of_two("a", u8("[9]", 50, 59), "a", u8("[3]", 0, 3)), 3);
  REQUIRE(twice.tensors.size() == 1);
  CHECK(twice.tensors[0].bytes.size == 3);
  const auto fields =
      read(R"({"a":{"dtype":"F32","shape":[7,7],"dtype":"U8","shape":[3],"data_offsets":[1,9],)"
           R"("data_offsets":[0,3]},"b":)" +
               u8("[1,2]", 3, 5) + "}",
           5);
  REQUIRE(fields.tensors.size() == 2);
  CHECK(fields.tensors[0].shape.size() == 1);
  CHECK(fields.tensors[0].shape[0] == 3);
  CHECK(fields.tensors[1].shape[1] == 2);
  for (const char* metadata : {"7", "[1,{}]", "\"text\"", R"({"k":{"deep":[1]}})", "true"}) {
    CHECK(read(fmt::format(R"({{"__metadata__":{},"a":{}}})", metadata, u8("[1]", 0, 1)), 1)
              .metadata.empty());
  }
  const auto mixed = read(R"({"__metadata__":{"x":"y"},"__metadata__":{"k":1,"l":"m"}})", 0);
  CHECK(mixed.metadata == std::vector<std::pair<std::string, std::string>>{{"l", "m"}});
  CHECK(read(R"({"a":)" + u8("[1]", 0, 1) + "}", 100).tensors.size() == 1);

  for (const std::string& text :
       {of_two("a", u8("[1]", 0, 1), "b", u8("[1]", 2, 3)),   // a hole
        of_two("a", u8("[2]", 0, 2), "b", u8("[1]", 1, 2)),   // an overlap
        of_two("a", u8("[1]", 0, 1), "b", u8("[9]", 1, 10)),  // beyond the file
        std::string(R"({"__metadata__":{"k":nonsense}})")}) {
    CAPTURE(text);
    CHECK_FALSE(parse_header(JsonText(text), 8 + text.size() + 4, HeaderRules::lenient));
  }
  const std::array<std::byte, 8> most{std::byte{0}, std::byte{0}, std::byte{0x40}, std::byte{6}};
  const auto length = header_length(most, 200'000'000, HeaderRules::lenient);
  REQUIRE(length);
  CHECK(*length == 100 * kMiB);
  CHECK_FALSE(header_length(most, 200'000'000));
  std::array<std::byte, 8> more = most;
  more[0] = std::byte{1};
  CHECK_FALSE(header_length(more, 200'000'000, HeaderRules::lenient));
}

TEST_CASE("every dtype has its size", "[safetensors]") {
  const std::vector<std::pair<const char*, unsigned>> bits = {
      {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},    {"U8", 8},
      {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64},        {"U64", 64},
  };
  REQUIRE(bits.size() == 22);
  for (const auto& [name, size] : bits) {
    CAPTURE(name);
    // Eight elements are as many bytes as one has bits.
    const std::string header =
        one(fmt::format(R"("dtype":"{}","shape":[2,4],"data_offsets":[0,{}])", name, size));
    CHECK(verdict(safetensors_file(header, size)).empty());
  }
}

TEST_CASE("tensors come sorted by offset, with their place in the file", "[safetensors]") {
  const std::string text = R"({"b":)" + u8("[3]", 1, 4) +
                           R"(,"__metadata__":{"k":"v","l":""},"a":)" + u8("[1,1]", 0, 1) + "}";
  const auto header = parse_header(JsonText(text), 8 + text.size() + 4);
  REQUIRE(header);
  REQUIRE(header->tensors.size() == 2);
  CHECK(header->tensors[0].name == "a");
  CHECK(header->tensors[0].shape.size() == 2);
  CHECK(header->tensors[0].bytes == ByteRange{8 + text.size(), 1});
  CHECK(header->tensors[1].bytes == ByteRange{8 + text.size() + 1, 3});
  CHECK(header->tensors.find("b") == 1U);
  CHECK_FALSE(header->tensors.find("c"));
  CHECK(header->metadata ==
        std::vector<std::pair<std::string, std::string>>{{"k", "v"}, {"l", ""}});
}

TEST_CASE("messages name the tensor and both numbers, and quote nothing raw", "[safetensors]") {
  const std::string text =
      "{\"w\\u001b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}}";
  const auto header = parse_header(JsonText(text), 8 + text.size() + 9);
  REQUIRE_FALSE(header);
  CHECK_THAT(header.error().message(), Catch::Contains("\"w\\x1b\"") &&
                                           Catch::Contains("8 bytes") &&
                                           Catch::Contains("reserve 9"));
  const auto padded = parse_header(JsonText("{}\0\0"s), 12);
  CHECK_THAT(padded.error().message(), Catch::Contains("NUL bytes instead of spaces"));
}

TEST_CASE("100,000 tensors are read in linear time", "[safetensors]") {
  const auto took = [](std::uint64_t count) {
    std::string text = "{";
    for (std::uint64_t i = 0; i < count; ++i) {
      text += fmt::format(R"({}"model.layers.{}.weight":{})", i == 0 ? "" : ",", i,
                          u8("[64,64]", i * 4096, (i + 1) * 4096));
    }
    const JsonText json(text + "}");
    const std::uint64_t file_bytes = 8 + json.view().size() + count * 4096;
    // Of the process: how busy the machine is does not count.
    const std::clock_t began = std::clock();
    const auto header = parse_header(json, file_bytes);
    const std::clock_t ended = std::clock();
    REQUIRE(header);
    REQUIRE(header->tensors.size() == count);
    return static_cast<double>(ended - began) / CLOCKS_PER_SEC;
  };
  took(10'000);
  // Ten times as many take about ten times as long; caches that do not hold them are allowed for.
  CHECK(took(100'000) < 40 * std::max(took(10'000), 0.002));
}

TEST_CASE("a header of the largest size is read", "[safetensors][slow]") {
  const std::string start = R"({"__metadata__":{"x":")";
  std::string text = start + std::string(kLongestHeaderBytes - start.size() - 3, 'x') + "\"}}";
  REQUIRE(text.size() == kLongestHeaderBytes);
  const auto header = parse_header(JsonText(text), 8 + text.size());
  REQUIRE(header);
  CHECK(header->metadata.size() == 1);
}
