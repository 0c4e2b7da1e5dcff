// SPDX-License-Identifier: Apache-2.0
#include "base/xml.hpp"

#include <fmt/format.h>

#include <pugixml.hpp>

namespace streamer::core::inline base {

namespace {

constexpr int kDeepest = 32;

bool convert(const pugi::xml_node& node, int depth, XmlElement& element) {
  if (depth > kDeepest) return false;
  const std::string_view name = node.name();
  element.name = name.substr(name.find(':') == std::string_view::npos ? 0 : name.find(':') + 1);
  for (const pugi::xml_attribute& attribute : node.attributes())
    element.attributes.emplace_back(attribute.name(), attribute.value());
  for (const pugi::xml_node& below : node.children()) {
    if (below.type() == pugi::node_pcdata || below.type() == pugi::node_cdata) {
      element.text += below.value();
    } else if (below.type() == pugi::node_element) {
      if (!convert(below, depth + 1, element.children.emplace_back())) return false;
    }
  }
  return true;
}

}  // namespace

const XmlElement* XmlElement::child(std::string_view wanted) const noexcept {
  for (const XmlElement& element : children) {
    if (element.name == wanted) return &element;
  }
  return nullptr;
}

std::string_view XmlElement::text_of(std::string_view wanted) const noexcept {
  const XmlElement* const found = child(wanted);
  return found == nullptr ? std::string_view() : found->text;
}

std::string_view XmlElement::attribute(std::string_view wanted) const noexcept {
  for (const auto& [key, value] : attributes) {
    if (key == wanted) return value;
  }
  return {};
}

Result<XmlElement> read_xml(std::string_view text) {
  pugi::xml_document document;
  // Text of nothing but spaces is a key too. parse_doctype: to see it and refuse it.
  const unsigned options = pugi::parse_default | pugi::parse_ws_pcdata_single | pugi::parse_doctype;
  const auto outcome = document.load_buffer(text.data(), text.size(), options, pugi::encoding_utf8);
  if (!outcome) {
    return Error(ErrorKind::corrupt,
                 fmt::format("the answer is not XML: {} at byte {} of {}", outcome.description(),
                             outcome.offset, text.size()));
  }
  for (const pugi::xml_node& node : document.children()) {
    if (node.type() == pugi::node_doctype) {
      return Error(ErrorKind::corrupt, "the XML has a DOCTYPE, which no store sends");
    }
  }
  XmlElement root;
  if (!convert(document.document_element(), 1, root)) {
    return Error(ErrorKind::corrupt, fmt::format("the XML nests deeper than {}", kDeepest));
  }
  return root;
}

}  // namespace streamer::core::inline base
