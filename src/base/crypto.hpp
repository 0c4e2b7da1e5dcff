// SPDX-License-Identifier: Apache-2.0
#pragma once
// Hashes, codes and keyed hashes, over OpenSSL.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace streamer::core::inline base {

using Sha256Digest = std::array<unsigned char, 32>;

[[nodiscard]] Sha256Digest sha256(std::string_view text);
[[nodiscard]] Sha256Digest hmac_sha256(std::string_view key, std::string_view text);
// The same from parts, from front to back.
class Sha256Hasher {
 public:
  Sha256Hasher();
  Sha256Hasher(Sha256Hasher&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
  Sha256Hasher& operator=(Sha256Hasher other) noexcept {
    std::swap(context_, other.context_);
    return *this;
  }
  ~Sha256Hasher();

  void update(std::string_view bytes);
  // Once.
  [[nodiscard]] Sha256Digest finish();

 private:
  void* context_;  // EVP_MD_CTX
};

// MD5 of what is compared with a store's ETag, from front to back.
class Md5Hasher {
 public:
  Md5Hasher();
  Md5Hasher(const Md5Hasher&) = delete;
  Md5Hasher& operator=(const Md5Hasher&) = delete;
  ~Md5Hasher();

  void update(std::string_view bytes);
  // Once. nullopt where OpenSSL may not compute it (FIPS).
  [[nodiscard]] std::optional<std::string> finish_hex();

 private:
  void* context_;  // EVP_MD_CTX
  bool is_allowed_ = false;
};

// Only for names of cached files and for headers that a protocol defines with them.
[[nodiscard]] std::string sha1_hex(std::string_view text);
[[nodiscard]] std::string md5_bytes(std::string_view text);

[[nodiscard]] inline std::string_view as_text(const Sha256Digest& digest) noexcept {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// Lower case.
[[nodiscard]] std::string hex(std::string_view bytes);
// In either case; nullopt for anything but whole bytes.
[[nodiscard]] std::optional<std::string> from_hex(std::string_view text);
[[nodiscard]] std::string base64_encode(std::string_view bytes);
// For URLs and tokens: other characters, no padding (RFC 4648 5).
[[nodiscard]] std::string base64url_encode(std::string_view bytes);
// Padded, without white space; nullopt for anything else.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

// Whether two texts are equal, in a time that does not tell where they differ.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

}  // namespace streamer::core::inline base
