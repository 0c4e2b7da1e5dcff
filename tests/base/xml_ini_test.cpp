// SPDX-License-Identifier: Apache-2.0
#include "base/ini.hpp"
#include "base/xml.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("XML: elements, text and the built-in entities are read") {
  const auto root = read_xml(
      "<?xml version=\"1.0\"?><s3:List xmlns:s3=\"urn:x\"><Key>a&amp;b&#x41;</Key><Key> </Key>"
      "<Size>7</Size></s3:List>");
  REQUIRE(root);
  CHECK(root->name == "List");
  CHECK(root->text_of("Key") == "a&bA");
  CHECK(root->children[1].text == " ");
  CHECK(root->text_of("Size") == "7");
  CHECK(root->child("None") == nullptr);
}

TEST_CASE("XML: what is broken or dangerous is refused") {
  std::string deep;
  for (int i = 0; i < 40; ++i)
    deep += "<a>";
  for (int i = 0; i < 40; ++i)
    deep += "</a>";
  for (const std::string& text :
       {std::string(), std::string("<a>"), std::string("<a></b>"), std::string("hello"),
        std::string("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>"), deep}) {
    INFO(text);
    const auto read = read_xml(text);
    REQUIRE_FALSE(read);
    CHECK(read.error().kind() == ErrorKind::corrupt);
  }
}

TEST_CASE("INI: sections, comments, nested values and quotes are read") {
  const auto file = read_ini(
      "# a comment\n"
      "[default]\n"
      "Region = eu-west-1 ; behind it\n"
      "output=json#kept\n"
      "s3 =\n"
      "  addressing_style = path\n"
      "  max_concurrent_requests = 20\n"
      "\n"
      "[profile \"a  b\"]\r\n"
      "role_arn = arn:aws:iam::1:role/x\r\n"
      "[default]\n"
      "region = us-west-2\n");
  REQUIRE(file);
  const IniSection& main = file->at("default");
  CHECK(main.at("region").text == "us-west-2");
  CHECK(main.at("output").text == "json#kept");
  CHECK(main.at("s3").nested.at("addressing_style") == "path");
  CHECK(file->at("profile a b").at("role_arn").text == "arn:aws:iam::1:role/x");
}

TEST_CASE("INI: keys may be indented, and a colon is as good as an equals sign") {
  const auto file = read_ini(
      "\xEF\xBB\xBF[default]\r\n"
      "  aws_access_key_id = A\r\n"
      "\r\n"
      "  # a comment\r\n"
      "  aws_secret_access_key: a=b:c\r\n"
      "  s3 =\r\n"
      "    addressing_style = path\r\n"
      "\r\n"
      "    ; another\r\n"
      "    use_dualstack_endpoint: true\r\n"
      "  region = eu-west-1\r\n"
      "    west\r\n"
      "aws_session_token=T\r\n"
      "  [profile b]\r\n"
      "\tregion\t=\tus-west-2\r\n"
      "\t[profile c]\r\n"
      "\tregion = x\r\n");
  REQUIRE(file);
  const IniSection& main = file->at("default");
  CHECK(main.at("aws_access_key_id").text == "A");
  CHECK(main.at("aws_secret_access_key").text == "a=b:c");
  CHECK(main.at("s3").nested.at("addressing_style") == "path");
  CHECK(main.at("s3").nested.at("use_dualstack_endpoint") == "true");
  CHECK(main.at("region").text == "eu-west-1\nwest");
  // Deeper than the key above: still of its value, whatever it looks like.
  CHECK(main.at("aws_session_token").text ==
        "T\n[profile b]\nregion\t=\tus-west-2\n[profile c]\nregion = x");
  const auto sections = read_ini("[a]\n  x: 1\n  [b]\n  y = 2\n [c]\n   z = 3\n");
  REQUIRE(sections);
  CHECK(sections->at("a").at("x").text == "1");
  CHECK(sections->at("b").at("y").text == "2");
  CHECK(sections->at("c").at("z").text == "3");
}

TEST_CASE("INI: a line that is nothing is named by its number and not shown") {
  for (const char* const text : {"[a]\nsecret-without-name\n", "x\nk = v\n", "[a]\n= v\n", "[]\n\n",
                                 "[a\n\n", "[a] b\n\n"}) {
    INFO(text);
    const auto file = read_ini(text);
    REQUIRE_FALSE(file);
    CHECK(file.error().kind() == ErrorKind::invalid_argument);
    CHECK(file.error().message().find("secret") == std::string::npos);
  }
}
