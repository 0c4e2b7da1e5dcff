// SPDX-License-Identifier: Apache-2.0
// streamer digest: SHA-256 of every tensor, so that two stores can be compared.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "cli/command.hpp"
#include "cli/ranks.hpp"

namespace streamer::cli {

namespace {

std::optional<std::string> sha256(std::span<const std::byte> bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  // A pointer is needed even where there are no bytes.
  const void* const data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
  if (EVP_Digest(data, bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return std::nullopt;
  }
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace

int run_digest(const LoadArguments& arguments) {
  auto ranks = Ranks::open(arguments);
  if (!ranks) return report(ranks.error());
  auto request = ranks->make_request(arguments);
  if (!request) return report(request.error());
  auto load = Load::start(request->plan, request->options);
  if (!load) return report(load.error());
  std::vector<std::pair<std::string, std::string>> lines;  // name, digest
  bool has_failed = false;
  auto taken = take_all(
      *load,
      [&](Tensor tensor) -> Result<void> {
        const auto digest = sha256(tensor.bytes());
        has_failed = has_failed || !digest;
        lines.emplace_back(tensor.name(), digest.value_or(""));
        return {};
      },
      [] {});
  if (!taken) return report(taken.error());
  if (has_failed) {
    return report(make_error(ErrorKind::internal, "OpenSSL cannot compute SHA-256 here"));
  }
  std::sort(lines.begin(), lines.end());
  for (const auto& [name, digest] : lines) {
    if (prints_json()) {
      write_to(stdout, "{{\"name\":{},\"sha256\":\"{}\"}}\n", json_string(name), digest);
    } else {
      write_to(stdout, "{}  {}\n", digest, escaped(name));
    }
  }
  return finish_output();
}

}  // namespace streamer::cli
