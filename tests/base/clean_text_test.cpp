// SPDX-License-Identifier: Apache-2.0
#include "base/clean_text.hpp"

#include <algorithm>
#include <ctime>
#include <limits>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "base/settings.hpp"
#include "base/text.hpp"
#include "capi/abi/all_settings.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

namespace {

struct Row {
  const char* text;
  const char* cleaned;
};

}  // namespace

TEST_CASE("user names, passwords and queries of URLs are cut", "[clean]") {
  const Row rows[] = {
      {"https://acct.blob.core.windows.net/?sv=1&sig=SEC",
       "https://acct.blob.core.windows.net/?***"},
      {"at http://user:SEC@host:9000/a: no", "at http://***@host:9000/a: no"},
      {"Unsupported proxy syntax in 'http://user:SEC@[bad'",
       "Unsupported proxy syntax in 'http://***@[bad'"},
      {"'foo://user:SEC@host'", "'foo://***@host'"},
      {"http://user:S/E@C@host/a", "http://***@host/a"},
      {"http://user:S?E@host", "http://***"},
      {"http://user:S\"EC@host/x, next", "http://***@host/x, next"},
      {"(see https://host/p?q=SEC).", "(see https://host/p?***)."},
      {"https://host/p#access=SEC", "https://host/p#***"},
      {"s3://id:SEC@bucket/key", "s3://***@bucket/key"},
      {"https://host/x?to=http://u:SEC@h/", "https://host/x?***"},
  };
  for (const Row& row : rows)
    CHECK(clean_text(row.text) == row.cleaned);
}

TEST_CASE("what is no secret stays as it is", "[clean]") {
  for (const char* const text : {"",
                                 "is that so? yes",
                                 "/models/a?b",
                                 "s3://bucket/a?b@c/model.safetensors",
                                 "gs://bucket/key?x",
                                 "https://host:9000/@scope/model@v1.safetensors",
                                 "abfss://container@acct.dfs.core.windows.net/key",
                                 "file:///tmp/a?b",
                                 "http://[::1]:9000/a",
                                 "the subject token: the file is empty",
                                 "tensor \"embed_token\": shape [1]",
                                 "set s3_addressing=virtual",
                                 "a basic authentication",
                                 "a Bearer token",
                                 "12:30:01.123",
                                 "the setting s3_credentials",
                                 "set s3_credentials=anonymous for a public bucket",
                                 "s3_credentials=profile:production",
                                 "gcs_credentials=file:/etc/account.json",
                                 "https://host/p?",
                                 "http://HOST:PORT/path",
                                 "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"})
    CHECK(clean_text(text) == text);
}

TEST_CASE("a text does not end at a NUL of what it quotes", "[clean]") {
  using namespace std::string_view_literals;
  CHECK(clean_text("no \"a\0b\"; run it\0"sv) == "no \"a\\0b\"; run it\\0");
  CHECK(clean_text("https://u:SEC@h\0/x"sv) == "https://***@h\\0/x");
}

TEST_CASE("values of names that stand for secrets, tokens and private keys are cut", "[clean]") {
  const Row rows[] = {
      {"a sig=SEC%2B&se=2", "a sig=***&se=2"},
      {"--s3_credentials=keys:ID:SEC", "--s3_credentials=keys:***"},
      {"azure_credentials=sas:sv=1&sig=SEC;SEC b", "azure_credentials=sas:*** b"},
      {"azure_credentials=SEC==", "azure_credentials=***"},
      {"X-Amz-Signature=SEC, X-Goog-Signature=SEC", "X-Amz-Signature=***, X-Goog-Signature=***"},
      {"AccountName=acct;AccountKey=SEC==;x", "AccountName=acct;AccountKey=***;x"},
      {"SharedAccessSignature=sv=1&sig=SEC;x", "SharedAccessSignature=***;x"},
      {"Authorization: Bearer SEC\nnext", "Authorization: ***\nnext"},
      {"{\"client_secret\":\"SEC\",\"a\":1}", "{\"client_secret\":\"***\",\"a\":1}"},
      {"{'SessionToken': 'SEC'}", "{'SessionToken': '***'}"},
      {"Bearer abcdefgh12345678", "Bearer ***"},
      {"a eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln b", "a *** b"},
      {"k -----BEGIN RSA PRIVATE KEY-----\nSEC\n-----END RSA PRIVATE KEY----- z", "k *** z"},
      {"k -----BEGIN PRIVATE KEY-----\\nSEC", "k ***"},
  };
  for (const Row& row : rows)
    CHECK(clean_text(row.text) == row.cleaned);
}

TEST_CASE("a secret that lives is cut in every form, and where a server cut it short", "[clean]") {
  const std::string secret = "Zk3/+planted=value~7";
  CHECK_THAT(clean_text(secret), Catch::Contains(secret));
  { const Secret kept{std::string(secret)}; }
  // Also after the last copy is gone: what an answer brings may come later.
  for (const std::string& form : {secret, percent_encode(secret), percent_encode(secret, "/"),
                                  base64_encode(secret), secret.substr(0, 15)}) {
    const std::string cleaned = clean_text("request id " + form + " of that");
    CHECK(cleaned == "request id *** of that");
  }
  CHECK(clean_text("Zk3/+pl") == "Zk3/+pl");
}

TEST_CASE("of a query or a connection string the secret parts are hidden, and no other",
          "[clean]") {
  hide("sv=2021-12-02&ss=b&sp=rl&sig=q1w2e3r4t5%2Bz%3D");
  CHECK(clean_text("got q1w2e3r4t5+z= here") == "got *** here");
  CHECK(clean_text("got q1w2e3r4t5%2Bz%3D here") == "got *** here");
  hide(
      "DefaultEndpointsProtocol=https;AccountName=longaccountname;AccountKey=0p9o8i7u6y5t;"
      "EndpointSuffix=core.windows.net");
  CHECK(clean_text("longaccountname.blob.core.windows.net") ==
        "longaccountname.blob.core.windows.net");
  CHECK(clean_text("https and 0p9o8i7u6y5t") == "https and ***");
}

TEST_CASE("a proxy's password is hidden wherever the proxy was named", "[clean]") {
  hide_value_of("https_proxy", "user:pa%2Fssword9@proxy:3128");
  CHECK(clean_text("in 'user:pa%2Fssword9@proxy:3128'") == "in '***proxy:3128'");
  CHECK(clean_text("with pa/ssword9 here") == "with *** here");
  CHECK(clean_text("Basic " + base64_encode("user:pa%2Fssword9")) == "Basic ***");
  hide_value_of("HF_TOKEN", "hf_qwertyuiop");
  CHECK(clean_text("x-echo hf_qwertyuiop") == "x-echo ***");
  hide_value_of("AWS_ACCESS_KEY_ID", "AKIAPLAINLYSEEN");
  CHECK(clean_text("AKIAPLAINLYSEEN") == "AKIAPLAINLYSEEN");
}

TEST_CASE("what was cleaned is clean", "[clean]") {
  for (const char* const text :
       {"https://u:p@host/a?b=c", "sig=abc&token=def", "Authorization: Basic abc",
        "http://user:S?E@host", "{\"password\": \"x\"}", "s3://a:b@c/d"}) {
    const std::string once = clean_text(text);
    CHECK(clean_text(once) == once);
  }
}

TEST_CASE("errors and the log are clean, whoever wrote their texts", "[clean]") {
  const Secret secret{std::string("planted-secret-0001")};
  const Error error(ErrorFields{.kind = ErrorKind::io,
                                .message = "it said planted-secret-0001",
                                .uri = "https://host/planted-secret-0001",
                                .range = {},
                                .service_code = "planted-secret-0001",
                                .request_id = "planted-secret-0001",
                                .host = "u:p://planted-secret-0001"});
  const ErrorFields& fields = error.fields();
  for (const std::string& text : {fields.message, fields.uri, fields.service_code,
                                  fields.request_id, fields.host, error.line()})
    CHECK_THAT(text, !Catch::Contains("planted"));
  CHECK_THAT(Error(ErrorKind::io, "a").at("https://u:planted@host/x").line(),
             !Catch::Contains("planted"));
  std::string logged;
  set_log_sink(LogLevel::trace, [&](LogLevel, std::string_view line) { logged = line; });
  log_line(LogLevel::trace, "GET https://host/a?sig=planted-secret-0001");
  set_log_sink(LogLevel::off, {});
  CHECK(logged == "GET https://host/a?***");
}

TEST_CASE("a setting is marked secret exactly if its meaning says so", "[clean]") {
  for (const SettingRow* const row : streamer::capi::all_settings()) {
    INFO(row->name());
    const bool says_so = std::string_view(row->meaning()).find("ever logged.") != std::string::npos;
    CHECK(row->is_secret() == says_so);
  }
}

TEST_CASE("cleaning takes time in proportion to the text", "[clean]") {
  hide("sv=2021&sig=0123456789abcdef");
  for (const std::string part : {"sig=", "://", "http://a:b@c?", "eyJ", "Bearer ", "x=\"", "sv=2",
                                 "-----BEGIN PRIVATE KEY", "    ", "0123456789ab"}) {
    INFO(part);
    const auto time = [&](std::size_t bytes) {
      std::string text;
      while (text.size() < bytes)
        text += part;
      // Of the processor, the least of several: others want it too.
      std::clock_t least = std::numeric_limits<std::clock_t>::max();
      for (int i = 0; i < 4; ++i) {
        const std::clock_t began = std::clock();
        static_cast<void>(clean_text(text));
        least = std::min(least, std::clock() - began);
      }
      return static_cast<double>(least);
    };
    // 16 times the text in no more than 80 times the time; the square would be 256 times.
    const double small = std::max(time(100'000), 1000.0);
    CHECK(time(1'600'000) < 80 * small);
  }
}

TEST_CASE("the URL of an endpoint is shown without what may be secret", "[clean]") {
  const Row rows[] = {{"https://host/base", "https://host/base"},
                      {"host:9000", "host:9000"},
                      {"user:SEC@host", "***@host"},
                      {"https://user:SEC@host/?sig=SEC", "https://***@host/?***"},
                      {"host/?SEC", "host/?***"},
                      {"http://u:S?E@host", "http://***"},
                      {"host?q=a@SEC", "***"}};
  for (const Row& row : rows)
    CHECK(url_without_secrets(row.text) == row.cleaned);
}
