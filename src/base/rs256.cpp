// SPDX-License-Identifier: Apache-2.0
#include "base/rs256.hpp"

#include <openssl/pem.h>

#include "base/openssl_refusal.hpp"

namespace streamer::core::inline base {

namespace {

using Digest = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;

// Without a callback OpenSSL would ask for the pass phrase on the terminal.
int no_pass_phrase(char*, int, int, void*) {
  return -1;
}

}  // namespace

Result<std::string> sign_rs256(std::string_view pem, std::string_view text) {
  const OpensslBio bio = read_from(pem);
  const OpensslKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, nullptr));
  if (key == nullptr)
    return openssl_refusal("the private key is not a PEM text, or needs a pass phrase");
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA)
    return openssl_refusal("the private key is not an RSA key");
  const Digest context(EVP_MD_CTX_new());
  must(context != nullptr);
  std::string signature(static_cast<std::size_t>(EVP_PKEY_get_size(key.get())), '\0');
  std::size_t size = signature.size();
  const bool is_signed =
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1;
  if (!is_signed) return openssl_refusal("the private key cannot sign");
  signature.resize(size);
  return signature;
}

}  // namespace streamer::core::inline base
