// SPDX-License-Identifier: Apache-2.0
// streamer digest: SHA-256 of every tensor, so that two stores can be compared.
// The hash alone: EVP_Digest() brings OpenSSL's providers with it, which would make a command that
// links OpenSSL in four times as large.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <span>

#include "cli/command.hpp"
#include "cli/ranks.hpp"

namespace streamer::cli {

namespace {

std::string sha256(std::span<const std::byte> bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, bytes.data(), bytes.size());
  SHA256_Final(digest.data(), &context);
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
  auto taken = take_all(
      *load,
      [&](Tensor tensor) -> Result<void> {
        lines.emplace_back(tensor.name(), sha256(tensor.bytes()));
        return {};
      },
      [] {});
  if (!taken) return report(taken.error());
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
