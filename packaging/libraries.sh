#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the archive for users of C and C++ and checks it: libstreamer.so and libstreamer.a that need glibc
# 2.28 and nothing else, the headers, the command, and files for pkg-config and CMake.
#
#   packaging/libraries.sh [FOLDER]                to FOLDER, or dist/; ARCH=aarch64 as in wheels.sh
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dist=$(mkdir -p "${1:-$root/dist}" && CDPATH='' cd -- "${1:-$root/dist}" && pwd)
. "$root/packaging/toolchain.sh"

echo "building the libraries for $arch"
[ -d "$work/libraries" ] || meson setup "$work/libraries" "$root" "$machine" --prefix=/ --libdir=lib \
  -Dself_contained=true -Dpkgconfig.relocatable=true -Dbuildtype=release -Dunity=on -Dunity_size=100 \
  -Dmpi=disabled -Dtests=disabled -Dbenchmarks=disabled \
  -Dexamples=disabled >"$work/libraries.log"
ninja -C "$work/libraries" --quiet
version=$(meson introspect --projectinfo "$work/libraries" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])')
name="libstreamer-$version-linux-$arch"
rm -rf "${work:?}/$name"
meson install -C "$work/libraries" --no-rebuild --strip --quiet --destdir "$work/$name"

echo "checking them"
lib="$work/$name/lib"
python3 "$root/packaging/check_wheel.py" "$floor" --binaries "$lib/libstreamer.so.$version" \
  "$work/$name/bin/streamer"
names=$(nm -g --defined-only "$lib/libstreamer.a" | sed -n 's/.* [A-Z] //p' | grep -v '^streamer_\|^runai_' || true)
[ -z "$names" ] || { echo "libstreamer.a has other names: $names" >&2; exit 1; }
# It is linked with the glibc of the program's machine. stat() and its kin are there, as functions of the
# program until 2.33.
names_of() {
  nm -D --defined-only "$@" | sed -n 's/.* \([^ @]*\)@.*/\1/p' | sort -u
}
names_of "$("${prefix}gcc" -print-file-name=libc.so.6)" >"$work/names-here.txt"
names_of "$work/glibc"/lib*.so.[0-9]* >"$work/names-floor.txt"
newer=$(nm -u "$lib/libstreamer.a" | sed -n 's/.* U //p' | sort -u | comm -12 - "$work/names-here.txt" |
  comm -23 - "$work/names-floor.txt" | grep -Evx '[fl]?stat(64)?|fstatat(64)?|mknod' || true)
[ -z "$newer" ] || { echo "libstreamer.a needs what glibc $floor lacks: $newer" >&2; exit 1; }
# As a program's author would, without this toolchain.
"${prefix}gcc" -I"$work/$name/include" "$root/examples/c/load_checkpoint.c" "$lib/libstreamer.a" -lm -lpthread \
  -static-libgcc -o "$work/load_checkpoint"
if readelf -d "$work/load_checkpoint" | grep NEEDED | grep -v 'lib[cm]\.so\|ld-linux'; then
  echo "a program with libstreamer.a needs more than glibc" >&2
  exit 1
fi
if [ -z "$prefix" ]; then
  python3 "$root/examples/make_checkpoint.py" "$work/model" --mib 8 >/dev/null
  "$work/load_checkpoint" "$work/model" | grep -q lm_head.weight
fi
tar -C "$work" -czf "$dist/$name.tar.gz" "$name"
ls -l "$dist/$name.tar.gz"
