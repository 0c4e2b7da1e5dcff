#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compares the C ABI of this tree with that of the last tag, or of another commit, by abidiff. Fails if
# something was removed or changed, which only a new major version, before 1.0 a new minor one, may do.
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

# build SOURCE FOLDER: in FOLDER, libstreamer.so with debug information and only the room that has the
# ABI. The others stay undefined, which abidiff does not mind: all of them take ten times as long.
build() {
  [ -d "$2" ] || meson setup "$2" "$1" -Dbuildtype=debug -Dunity=on -Dunity_size=100 -Dtests=disabled \
    -Dbenchmarks=disabled -Dexamples=disabled -Dmpi=disabled >/dev/null
  meson compile -C "$2" --ninja-args=--quiet streamer_capi:static_library
  c++ -shared -Wl,--version-script="$1/capi/streamer.map" \
    -Wl,--whole-archive "$2/capi/libstreamer_capi.a" -Wl,--no-whole-archive -o "$2/libstreamer.so"
}

work="$root/build-abi"
commit=$(git -C "$root" rev-parse "$old^{commit}")
if [ ! -d "$work/$commit" ]; then
  mkdir -p "$work/$commit"
  git -C "$root" archive "$commit" | tar x -C "$work/$commit"
fi
build "$root" "$work/new"
build "$work/$commit" "$work/$commit-build"

# What keeps the ABI of a source tree's version: "0.2" of 0.2.1, "1" of 1.2.0.
series() {
  sed -n "s/^  version: '\(0\.[0-9]*\|[1-9][0-9]*\)\..*/\1/p" "$1/meson.build" | head -n 1
}
soversion() {
  sed -n "s/^  soversion: '\([0-9]*\)'.*/\1/p" "$1/capi/meson.build"
}
# Only what the public header declares: what is inside may change.
status=0
abidiff --headers-dir1 "$work/$commit/capi" --headers-dir2 "$root/capi" --drop-private-types \
  "$work/$commit-build/libstreamer.so" "$work/new/libstreamer.so" || status=$?
# Bits of its exit status: 1 and 2, it failed; 4, something changed; 8, so that programs break.
if [ $((status & 3)) -ne 0 ]; then
  echo "abidiff failed" >&2
  exit 1
fi
if [ $((status & 8)) -eq 0 ]; then
  echo "the C ABI is that of $old, or has grown"
elif [ "$(series "$root")" = "$(series "$work/$commit")" ]; then
  echo "the C ABI of $old was broken; version $(series "$root") may not do that" >&2
  exit 1
elif [ "$(soversion "$root")" != "$(soversion "$work/$commit")" ]; then
  echo "the C ABI of $old was broken, which version $(series "$root") may do"
else
  echo "the C ABI of $old was broken under the same soversion: raise it in capi/meson.build" >&2
  exit 1
fi
