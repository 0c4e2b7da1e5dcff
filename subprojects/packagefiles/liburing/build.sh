#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh SOURCE BUILD AR COMPILER...: liburing.a in BUILD, its headers in BUILD/copy/src/include.
set -eu

source=$1
build=$2
ar=$3
shift 3

cd "$build"
rm -rf copy
cp -r "$source" copy
cd copy
./configure --cc="$*" --cxx=false >../configure.log 2>&1 || { cat ../configure.log >&2; exit 1; }
make -C src ENABLE_SHARED=0 AR="$ar" RANLIB="$ar s" liburing.a \
  CFLAGS="-O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections" >../make.log 2>&1 || {
  cat ../make.log >&2
  exit 1
}
cp src/liburing.a ..
: >../liburing_is_built.h
