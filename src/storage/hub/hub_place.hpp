// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an hf:// URI names: hf://ORGANISATION/MODEL[@REVISION][/PATH]. Pure.

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "storage/uri.hpp"

namespace streamer::core::inline storage {

struct HubPlace {
  std::string kind;      // "models", "datasets", "spaces"
  std::string id;        // "org/name"; "name" for the few models without an organisation
  std::string revision;  // a branch, a tag, refs/pr/1 or a commit; "main" if the URI has none
  std::string path;      // in the repository, as in the URI: a folder may end with a slash
  std::string root;      // of the URI's path: what stands before "/" + path

  // "org/name", "datasets/org/name": as the hub's own URLs begin.
  [[nodiscard]] std::string page() const;
  // path without the slash at its end.
  [[nodiscard]] std::string_view bare_path() const noexcept;
  // The object of that path in the same repository.
  [[nodiscard]] Uri at(const Uri& uri, std::string_view path_in_repository) const;
};

// A branch with a slash in its name is written with %2F, but refs/pr/N and refs/convert/NAME as
// they are. invalid_argument for anything that no hub can have.
Result<HubPlace> parse_hub_uri(const Uri& uri);

// 40 hexadecimal digits.
[[nodiscard]] bool is_commit(std::string_view text) noexcept;

// Whether a path can be below a folder and nowhere else: no "..", no empty component.
[[nodiscard]] bool stays_below(std::string_view path) noexcept;

}  // namespace streamer::core::inline storage
