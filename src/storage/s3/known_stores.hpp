// SPDX-License-Identifier: Apache-2.0
#pragma once
// The S3-compatible stores that are known: how each is recognised, what is different there and what
// to set. The doctor's advice and the table of docs/s3-stores.md come from here.

#include <span>
#include <string>
#include <string_view>

#include "http/response.hpp"

namespace streamer::core::inline storage {

struct KnownStore {
  std::string_view name;
  // ---- How it is recognised; empty: not by that ----
  std::string_view hosts =
      {};  // ends of its hosts' names, separated by spaces; {region} is a label
  std::string_view server = {};      // beginning of the header Server
  std::string_view header = {};      // beginning of the name of a header that only it sends
  std::string_view request_id = {};  // beginning of the header x-amz-request-id
  std::string_view body = {};        // part of its answer to a request without a bucket
  // ---- What is used there unless it is set ----
  bool wants_virtual_host = false;       // it refuses path style
  std::string_view default_region = {};  // empty: the one in the host's name, or else us-east-1
  // ---- For people ----
  std::string_view region;
  std::string_view checksums;  // for verify=store
  std::string_view quirks;
  std::string_view advice;  // what to set
  std::string_view tried;   // with which version, and when; or "documented"
};

[[nodiscard]] std::span<const KnownStore> known_stores() noexcept;
// By its name alone; nullptr: not known.
[[nodiscard]] const KnownStore* known_store_at(std::string_view host) noexcept;
// By its name, or else by an answer.
[[nodiscard]] const KnownStore* recognise_store(std::string_view host, const HttpAnswer& answer);
// The region that is part of the name of a known store's host, or else the store's default; empty:
// neither.
[[nodiscard]] std::string region_of_known_host(std::string_view host);

}  // namespace streamer::core::inline storage
