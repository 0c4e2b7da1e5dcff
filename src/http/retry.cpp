// SPDX-License-Identifier: Apache-2.0
#include "http/retry.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace streamer::core::inline http {

Milliseconds retry_delay(const RetryPolicy& policy, Again again, std::uint32_t failures,
                         std::optional<Milliseconds> retry_after, double chance) noexcept {
  if (again == Again::never || again == Again::at_once) return Milliseconds(0);
  const Milliseconds base = again == Again::throttled ? policy.throttled_base : policy.soon_base;
  // 2^20 of any base is far above the cap.
  const std::int64_t doubled = base.count() << std::min(failures - 1, 20U);
  const auto bound = static_cast<double>(std::min<std::int64_t>(doubled, policy.cap.count()));
  const Milliseconds drawn(static_cast<std::int64_t>(bound * chance));
  if (!retry_after) return drawn;
  return std::max(drawn, std::min(*retry_after, policy.longest_retry_after));
}

Again again_after(TransferFault fault) noexcept {
  switch (fault) {
    case TransferFault::unresolved:
    case TransferFault::unreachable:
    case TransferFault::handshake:
    case TransferFault::reset:
    case TransferFault::stalled:
    case TransferFault::bad_response:
      return Again::soon;
    case TransferFault::none:
    case TransferFault::untrusted:
    case TransferFault::proxy:
    case TransferFault::stopped:
    case TransferFault::local:
      return Again::never;
  }
  return Again::never;
}

Again again_after_status(int status) noexcept {
  switch (status) {
    case 429:
    case 503:
      return Again::throttled;
    case 408:
    case 500:
    case 502:
    case 504:
      return Again::soon;
    default:
      return Again::never;
  }
}

std::optional<Milliseconds> retry_after(const ResponseHead& head, SystemTime now) noexcept {
  for (const std::string_view name :
       {"retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after"}) {
    // A day is more than any policy waits.
    const auto wait = parse_unsigned(head.header_or_empty(name));
    if (wait) return Milliseconds(std::min<std::uint64_t>(*wait, 86'400'000));
  }
  const std::string_view value = head.header_or_empty("retry-after");
  if (const auto seconds = parse_unsigned(value))
    return Milliseconds(std::min<std::uint64_t>(*seconds, 86'400) * 1000);
  const auto date = parse_http_date(value);
  if (!date) return std::nullopt;
  return std::max(Milliseconds(0), std::chrono::duration_cast<Milliseconds>(*date - now));
}

}  // namespace streamer::core::inline http
