#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh SOURCE BUILD OPENSSL_SOURCE OPENSSL_BUILD AR COMPILER... -- CONFIGURE...: libcurl.a in BUILD.
set -eu

source=$1
build=$2
openssl_source=$3
openssl_build=$4
ar=$5
shift 5
compiler=""
while [ "$1" != -- ]; do
  compiler="$compiler $1"
  shift
done
shift

cd "$build"
# No paths of certificates: libstreamer looks for them itself, on every distribution.
"$source/configure" "$@" CC="$compiler" AR="$ar" RANLIB="$ar s" PKG_CONFIG=false \
  CFLAGS="-O2 -fvisibility=hidden -ffunction-sections -fdata-sections" \
  CPPFLAGS="-I$openssl_source/include -I$openssl_build/include" \
  LDFLAGS="-L$openssl_build" LIBS="-lpthread -ldl" \
  --disable-shared --enable-static --with-pic --disable-dependency-tracking \
  --with-openssl --without-ca-bundle --without-ca-path --without-ca-fallback \
  --enable-ipv6 --enable-threaded-resolver --enable-proxy --enable-http-auth \
  --disable-ares --disable-docs --disable-manual --disable-unix-sockets \
  --disable-ftp --disable-file --disable-ldap --disable-ldaps --disable-rtsp --disable-dict \
  --disable-telnet --disable-tftp --disable-pop3 --disable-imap --disable-smb --disable-smtp \
  --disable-gopher --disable-mqtt --disable-ipfs --disable-websockets \
  --disable-cookies --disable-hsts --disable-alt-svc --disable-doh --disable-netrc --disable-mime \
  --disable-form-api --disable-dateparse --disable-aws --disable-ntlm --disable-kerberos-auth \
  --disable-negotiate-auth --disable-tls-srp --disable-libcurl-option --disable-progress-meter \
  --without-zlib --without-brotli --without-zstd --without-libpsl --without-libidn2 \
  --without-nghttp2 --without-nghttp3 --without-ngtcp2 --without-libssh2 \
  --without-libgsasl --without-libuv >configure.out 2>&1 || { tail -40 configure.out >&2; exit 1; }
make -C lib -j"$(nproc)" libcurl.la >make.log 2>&1 || { tail -50 make.log >&2; exit 1; }
cp lib/.libs/libcurl.a .
: >curl_is_built.h
