#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compares the C ABI of this tree with that of the last tag, or of another commit, by abidiff. Fails if
# something was removed or changed; before 1.0 a new minor version may do that. Builds both: some minutes.
#
#   abi.sh [COMMIT]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
old=${1:-$(git -C "$root" describe --tags --abbrev=0 2>/dev/null || true)}
if [ -z "$old" ]; then
  echo "skipped: there is no tag to compare with; name a commit"
  exit 0
fi
sh "$root/examples/install_packages.sh" abigail-tools g++ meson ninja-build pkg-config libfmt-dev \
  libcurl4-openssl-dev libpugixml-dev libsimdjson-dev libcli11-dev liburing-dev libssl-dev

# build SOURCE FOLDER: the library as it is released, with debug information, in FOLDER.
build() {
  [ -d "$2" ] || meson setup "$2" "$1" -Dbuildtype=debugoptimized -Dtests=disabled -Dbenchmarks=disabled \
    -Dexamples=disabled -Dmpi=disabled >/dev/null
  # By Meson's name: the links to the library are no targets of ninja's with Debian 12's Meson.
  meson compile -C "$2" --ninja-args=--quiet streamer:shared_library
}

work="$root/build-abi"
commit=$(git -C "$root" rev-parse "$old^{commit}")
if [ ! -d "$work/$commit" ]; then
  mkdir -p "$work/$commit"
  git -C "$root" archive "$commit" | tar x -C "$work/$commit"
fi
build "$root" "$work/new"
build "$work/$commit" "$work/$commit-build"

# "0.1" of a source tree.
series() {
  sed -n "s/^  version: '\([0-9]*\.[0-9]*\)\..*/\1/p" "$1/meson.build" | head -n 1
}
soname() {
  readelf -d "$1/capi/libstreamer.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p'
}
# Only what the public header declares: what is inside may change.
status=0
abidiff --headers-dir1 "$work/$commit/capi" --headers-dir2 "$root/capi" --drop-private-types \
  "$work/$commit-build/capi/libstreamer.so" "$work/new/capi/libstreamer.so" || status=$?
# Bits of its exit status: 1 and 2, it failed; 4, something changed; 8, so that programs break.
if [ $((status & 3)) -ne 0 ]; then
  echo "abidiff failed" >&2
  exit 1
fi
if [ $((status & 8)) -eq 0 ]; then
  echo "the C ABI is that of $old, or has grown"
elif [ "$(series "$root")" = "$(series "$work/$commit")" ] || [ "$(series "$root" | cut -d. -f1)" != 0 ]; then
  echo "the C ABI of $old was broken; version $(series "$root") may not do that" >&2
  exit 1
elif [ "$(soname "$work/new")" != "$(soname "$work/$commit-build")" ]; then
  echo "the C ABI of $old was broken, which version $(series "$root") may do"
else
  echo "the C ABI of $old was broken under the same soname: raise soversion in capi/meson.build" >&2
  exit 1
fi
