#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tries what was built for another processor, under an emulator: its wheel in a bare root of Debian, and
# the unit tests. Needs qemu-user, debootstrap and a cross compiler, as packaging/wheels.sh does.
#
#   ARCH=aarch64 packaging/try_emulated.sh FOLDER-OF-WHEELS
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
wheels=$(CDPATH='' cd -- "$1" && pwd)
. "$root/packaging/toolchain.sh"
[ -n "$prefix" ] || { echo "set ARCH to another processor than this machine's" >&2; exit 1; }
sh "$root/examples/install_packages.sh" qemu-user debootstrap
emulator=$(command -v "qemu-$arch")
debians=$(echo "$arch" | sed 's/aarch64/arm64/')

# A root with nothing but Python. Its packages are unpacked, not configured: nothing in it runs as root.
foreign="$work/root"
[ -x "$foreign/usr/bin/python3" ] || {
  rm -rf "$foreign"
  debootstrap --foreign --arch="$debians" --variant=minbase --include=python3,ca-certificates bookworm \
    "$foreign" >"$work/debootstrap.log"
  for package in "$foreign"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$foreign"; done
}
QEMU_LD_PREFIX="$foreign"
export QEMU_LD_PREFIX

echo "== the wheel, on $arch"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
for wheel in "$wheels"/libstreamer-*_"$arch".whl "$wheels"/libstreamer_runai-*.whl; do
  python3 -m zipfile -e "$wheel" "$folder/site"
done
chmod +x "$folder/site/libstreamer/bin/streamer"  # which unpacking forgets
python3 "$root/examples/make_checkpoint.py" "$folder/model" --mib 64 >/dev/null
python3 "$root/tests/support/read_safetensors.py" "$folder/model" >"$folder/theirs"
"$emulator" "$folder/site/libstreamer/bin/streamer" --version
"$emulator" "$folder/site/libstreamer/bin/streamer" digest "$folder/model" >"$folder/ours"
cmp "$folder/ours" "$folder/theirs"
python3 "$root/packaging/emulated_load.py" "$root" "$folder/model" \
  "$emulator" "$foreign/usr/bin/python3" "$folder/site"

echo "== the unit tests, on $arch"
tests="$work/tests"
# The tests need this compiler's C++ library, and so the newer C library of the root.
sed "s/, '-B[^']*'//; /^\[host_machine\]/i exe_wrapper = '$emulator'" "$work/machine.ini" \
  >"$work/emulated.ini"
[ -f "$tests/build.ninja" ] || meson setup "$tests" "$root" --cross-file "$work/emulated.ini" \
  -Dself_contained=true -Dmpi=disabled -Dpython=disabled -Dbenchmarks=disabled -Dexamples=disabled \
  -Dtests=enabled -Dforce_fallback_for=catch2 -Ddebug=false -Dunity=on -Dunity_size=100 >"$work/setup.log"
rooms="base http auth storage checkpoint memory gpu engine distributed scale"
programs=""
for room in $rooms; do programs="$programs tests/$room/${room}_test"; done
# shellcheck disable=SC2086  # a list of words
ninja -C "$tests" --quiet $programs
# Not under an emulator: it has no io_uring, reports no alignment for O_DIRECT, gives its own number where
# a program does not exist, and filters and limits of system calls meet its own calls.
not_here='~"credential_process*"~"a model that is larger*"~"where there are not even*"'
not_here="$not_here"'~"N13 a load goes on*"~"cold chunks are read*"~"where io_uring is*"'
not_here="$not_here"'~"a read that fails once*"~"a read that goes on*"~"a file system without*"'
failed=""
for room in $rooms; do
  echo "-- ${room}_test"
  (cd "$tests" && AWS_EC2_METADATA_DISABLED=true "$emulator" "tests/$room/${room}_test" "$not_here") \
    >"$work/$room.log" 2>&1 || failed="$failed $room"
  tail -n 3 "$work/$room.log"
done
[ -z "$failed" ] || { echo "failed:$failed; their output is in $work" >&2; exit 1; }
