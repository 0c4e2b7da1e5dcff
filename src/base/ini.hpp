// SPDX-License-Identifier: Apache-2.0
#pragma once
// The dialect of INI files that the AWS tools share.

#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline base {

struct IniValue {
  std::string text;
  // The indented lines below an empty value: "s3 =" and then "  addressing_style = path".
  std::map<std::string, std::string> nested;
};

using IniSection = std::map<std::string, IniValue, std::less<>>;
// By name as it stands between the brackets, with quotes taken off and runs of white space made one
// space: `[profile "a b"]` is "profile a b". A section that comes twice is merged, the later value
// wins.
using IniFile = std::map<std::string, IniSection, std::less<>>;

// "name = value" or "name: value", at any indentation: only what is indented deeper than the key
// above belongs to that key. Names of keys in lower case. Comments begin with # or ; at the start
// of a line, or behind white space. Lines end with LF or CRLF; a byte-order mark is skipped. Fails
// with invalid_argument and the number of the line on a line that is none of this.
Result<IniFile> read_ini(std::string_view text);

}  // namespace streamer::core::inline base
