// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the files that use OpenSSL share.

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <new>
#include <string_view>

namespace streamer::core::inline base {

template <auto free_it>
struct Freed {
  template <typename T>
  void operator()(T* thing) const {
    free_it(thing);
  }
};
using OpensslBio = std::unique_ptr<BIO, Freed<BIO_free>>;
using OpensslKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using OpensslCertificate = std::unique_ptr<X509, Freed<X509_free>>;

// For calls that fail only for lack of memory, which is treated like every other allocation.
inline void must(bool succeeded) {
  if (!succeeded) throw std::bad_alloc();
}

inline OpensslBio read_from(std::string_view text) {
  OpensslBio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  must(bio != nullptr);
  return bio;
}

}  // namespace streamer::core::inline base
