// SPDX-License-Identifier: Apache-2.0
#include "base/crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "base/openssl.hpp"
#include "base/text.hpp"

namespace streamer::core::inline base {

namespace {

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string digest(const EVP_MD* algorithm, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out;
  unsigned size = 0;
  must(EVP_Digest(text.data(), text.size(), out.data(), &size, algorithm, nullptr) == 1);
  return {reinterpret_cast<const char*>(out.data()), size};
}

}  // namespace

Sha256Digest sha256(std::string_view text) {
  Sha256Digest out;
  unsigned size = 0;
  must(EVP_Digest(text.data(), text.size(), out.data(), &size, EVP_sha256(), nullptr) == 1);
  return out;
}

Sha256Digest hmac_sha256(std::string_view key, std::string_view text) {
  Sha256Digest out;
  unsigned size = 0;
  must(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(),
            out.data(), &size) != nullptr);
  return out;
}

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  must(context_ != nullptr);
  must(EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) == 1);
}

Sha256Hasher::~Sha256Hasher() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256Hasher::update(std::string_view bytes) {
  must(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256Hasher::finish() {
  Sha256Digest out;
  unsigned size = 0;
  must(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), out.data(), &size) == 1);
  return out;
}

Md5Hasher::Md5Hasher() : context_(EVP_MD_CTX_new()) {
  must(context_ != nullptr);
  is_allowed_ = EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_md5(), nullptr) == 1;
}

Md5Hasher::~Md5Hasher() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Md5Hasher::update(std::string_view bytes) {
  if (!is_allowed_) return;
  must(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1);
}

std::optional<std::string> Md5Hasher::finish_hex() {
  if (!is_allowed_) return std::nullopt;
  std::array<unsigned char, EVP_MAX_MD_SIZE> out;
  unsigned size = 0;
  must(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), out.data(), &size) == 1);
  return hex({reinterpret_cast<const char*>(out.data()), size});
}

std::string sha1_hex(std::string_view text) {
  return hex(digest(EVP_sha1(), text));
}

std::string md5_bytes(std::string_view text) {
  return digest(EVP_md5(), text);
}

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string percent;
  for (std::size_t i = 0; i < text.size(); i += 2)
    percent.append("%").append(text.substr(i, 2));
  return percent_decode(percent);
}

std::string base64_encode(std::string_view bytes) {
  // One byte more: EVP_EncodeBlock() ends its text with a NUL.
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes_of(bytes),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::string base64url_encode(std::string_view bytes) {
  std::string text = base64_encode(bytes);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  text.resize(std::min(text.size(), text.find('=')));
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.substr(0, text.size() - padding).find_first_not_of(kAlphabet) != std::string_view::npos)
    return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), bytes_of(text),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(size) - padding);
  return bytes;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace streamer::core::inline base
