// SPDX-License-Identifier: Apache-2.0
#include "base/certificates.hpp"

#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include <cstring>

#include "base/openssl_refusal.hpp"

namespace streamer::core::inline base {

namespace {

struct FreedStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_pop_free(stack, X509_free); }
};
using Stack = std::unique_ptr<STACK_OF(X509), FreedStack>;
using Pkcs12 = std::unique_ptr<PKCS12, Freed<PKCS12_free>>;

// What is in a file, as OpenSSL has it.
struct Parts {
  OpensslKey key;
  std::vector<OpensslCertificate> certificates;
};

struct Asked {
  const Secret& password;
  bool was_asked = false;
};

// Without a callback OpenSSL would ask for the password on the terminal.
int give_password(char* buffer, int size, int, void* user) {
  auto& asked = *static_cast<Asked*>(user);
  asked.was_asked = true;
  const std::string_view text = asked.password.reveal();
  if (text.empty() || text.size() > static_cast<std::size_t>(size)) return -1;
  std::memcpy(buffer, text.data(), text.size());
  return static_cast<int>(text.size());
}

Result<Parts> read_pem(std::string_view content, const Secret& password) {
  Parts parts;
  Asked asked{password};
  parts.key.reset(
      PEM_read_bio_PrivateKey(read_from(content).get(), nullptr, give_password, &asked));
  if (parts.key == nullptr) {
    if (!asked.was_asked) return openssl_refusal("it holds no private key as a PEM text");
    return openssl_refusal(password.empty()
                               ? "its private key is encrypted and no password was given"
                               : "the password does not open its private key");
  }
  const OpensslBio bio = read_from(content);
  while (X509* const one = PEM_read_bio_X509(bio.get(), nullptr, give_password, &asked))
    parts.certificates.emplace_back(one);
  ERR_clear_error();  // what ended the loop
  return parts;
}

Result<Parts> read_pkcs12(std::string_view content, const Secret& password) {
  const Pkcs12 file(d2i_PKCS12_bio(read_from(content).get(), nullptr));
  if (file == nullptr) return openssl_refusal("it is neither a PEM text nor a PKCS #12 file (PFX)");
  const std::string text(password.reveal());
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
  STACK_OF(X509)* others = nullptr;
  const bool is_open =
      PKCS12_verify_mac(file.get(), text.c_str(), static_cast<int>(text.size())) == 1 ||
      (text.empty() && PKCS12_verify_mac(file.get(), nullptr, 0) == 1);
  if (!is_open) {
    return openssl_refusal(password.empty() ? "it is encrypted and no password was given"
                                            : "the password does not open it");
  }
  if (PKCS12_parse(file.get(), text.c_str(), &key, &certificate, &others) != 1) {
    return openssl_refusal(
        "it is encrypted in a way that OpenSSL 3 no longer reads (RC2, say); rewrite it with "
        "openssl pkcs12 -legacy, then openssl pkcs12 -export");
  }
  Parts parts;
  parts.key.reset(key);
  if (certificate != nullptr) parts.certificates.emplace_back(certificate);
  const Stack stack(others);
  while (stack && sk_X509_num(stack.get()) > 0)
    parts.certificates.emplace_back(sk_X509_shift(stack.get()));
  if (parts.key == nullptr) return openssl_refusal("it holds no private key");
  return parts;
}

Secret pem_of(EVP_PKEY* key) {
  const OpensslBio bio(BIO_new(BIO_s_secmem()));
  must(bio != nullptr &&
       PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return Secret(std::string(data, static_cast<std::size_t>(size)));
}

std::string der_of(X509* certificate) {
  const int size = i2d_X509(certificate, nullptr);
  must(size > 0);
  std::string der(static_cast<std::size_t>(size), '\0');
  auto* to = reinterpret_cast<unsigned char*>(der.data());
  must(i2d_X509(certificate, &to) == size);
  return der;
}

}  // namespace

Result<Certificate> read_certificate(std::string_view content, const Secret& password) {
  const bool is_pem = content.find("-----BEGIN") != std::string_view::npos;
  const Parts parts = TRY(is_pem ? read_pem(content, password) : read_pkcs12(content, password));
  if (parts.certificates.empty())
    return openssl_refusal(is_pem ? "it holds no certificate as a PEM text"
                                  : "it holds no certificate");
  X509* const own = parts.certificates[0].get();
  if (X509_check_private_key(own, parts.key.get()) != 1)
    return openssl_refusal("its private key does not belong to its first certificate");
  Certificate certificate{.private_key = pem_of(parts.key.get()), .sha1 = {}, .chain = {}};
  certificate.sha1.resize(20);
  unsigned size = 0;
  must(X509_digest(own, EVP_sha1(), reinterpret_cast<unsigned char*>(certificate.sha1.data()),
                   &size) == 1);
  for (const OpensslCertificate& one : parts.certificates)
    certificate.chain.push_back(der_of(one.get()));
  return certificate;
}

}  // namespace streamer::core::inline base
