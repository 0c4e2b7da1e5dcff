#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh SOURCE BUILD TARGET AR COMPILER...: libssl.a and libcrypto.a in BUILD.
set -eu

source=$1
build=$2
target=$3
ar=$4
shift 4

cd "$build"
# No configuration file and no modules: those on the machine belong to another OpenSSL.
flags="-fvisibility=hidden -ffunction-sections -fdata-sections"
CC="$*" AR="$ar" RANLIB="$ar s" CFLAGS="-O2 $flags" perl "$source/Configure" "$target" \
  --openssldir=/etc/ssl no-shared no-module no-dso no-engine no-autoload-config no-apps no-docs \
  no-tests no-legacy no-comp no-ssl3 no-tls1 no-tls1_1 no-dtls no-srp no-psk no-cms no-ts no-cmp \
  no-ct no-ocsp no-rfc3779 no-srtp no-quic no-gost no-sm2 no-sm3 no-sm4 no-aria no-camellia \
  no-seed no-idea no-bf no-cast no-rc2 no-rc4 no-rc5 no-md4 no-mdc2 no-rmd160 no-whirlpool \
  no-siphash no-slh-dsa no-ml-dsa no-ui-console no-uplink no-nextprotoneg 2>configure.log >&2 || {
    cat configure.log >&2
    exit 1
  }
make -j"$(nproc)" build_generated libssl.a libcrypto.a >make.log 2>&1 || {
  tail -50 make.log >&2
  exit 1
}
: >openssl_is_built.h
