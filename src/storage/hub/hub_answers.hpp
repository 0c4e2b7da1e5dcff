// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a hub's answers say. Pure.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/response.hpp"
#include "storage/hub/hub_place.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline storage {

// Its own code and message (X-Error-Code, X-Error-Message). The message of an answer without a code
// may be in its JSON.
[[nodiscard]] ServiceError hub_error(const HttpAnswer& answer);
// What the codes mean. has_token: one was sent.
[[nodiscard]] std::span<const CodeRow> hub_codes(bool has_token) noexcept;
// When the hub will answer again, by `RateLimit: "api";r=0;t=55`.
[[nodiscard]] std::optional<Milliseconds> hub_rate_limit(const ResponseHead& head) noexcept;

// A page of the tree API; a recursive one names folders too. Fails with corrupt on anything else.
Result<Page> read_hub_tree(const HubPlace& place, const Uri& folder, const HttpAnswer& answer);
// The target of a Link header with rel="next"; empty: there is none.
[[nodiscard]] std::string next_link(const ResponseHead& head);

}  // namespace streamer::core::inline storage
