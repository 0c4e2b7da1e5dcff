// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reading of XML that answers of services need, over pugixml: elements and their text.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace streamer::core::inline base {

struct XmlElement {
  std::string name;  // without its namespace's prefix
  std::string text;  // what stands directly in it, entities resolved
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<XmlElement> children;

  // The first child of that name; nullptr if there is none.
  [[nodiscard]] const XmlElement* child(std::string_view wanted) const noexcept;
  // The text of the child of that name; empty if there is none.
  [[nodiscard]] std::string_view text_of(std::string_view wanted) const noexcept;
  // The value of the attribute of that name; empty if there is none.
  [[nodiscard]] std::string_view attribute(std::string_view wanted) const noexcept;
};

// The root element. Fails with corrupt on what is not well-formed, on a DOCTYPE (and with it on
// every entity but the five built-in and the numeric ones), and on nesting deeper than 32.
Result<XmlElement> read_xml(std::string_view text);

}  // namespace streamer::core::inline base
