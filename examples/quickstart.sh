#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a sharded checkpoint of about 1 GB in a temporary folder, streams it to memory, and compares
# every tensor with what an independent reader finds in the files. The command is that of an earlier
# run's build or of a wheel in dist/, which takes seconds; otherwise what the build needs is installed,
# and it is built.
#
#   quickstart.sh [MiB]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mebibytes=${1:-1024}
build="$root/build-quickstart"
wheel=$(ls "$root"/dist/libstreamer-*_"$(uname -m)".whl 2>/dev/null | tail -n 1)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

if [ ! -x "$build/src/cli/streamer" ] && [ -n "$wheel" ] && command -v python3 >/dev/null; then
  echo "1. unpacking $wheel"
  python3 -m zipfile -e "$wheel" "$folder/wheel"
  chmod +x "$folder/wheel/libstreamer/bin/streamer"
  streamer="$folder/wheel/libstreamer/bin/streamer"
else
  sh "$root/examples/install_packages.sh" g++ meson ninja-build pkg-config python3 libfmt-dev \
    libcurl4-openssl-dev libpugixml-dev libsimdjson-dev libcli11-dev liburing-dev libssl-dev
  streamer="$build/src/cli/streamer"
  if [ -x "$streamer" ]; then
    echo "1. building what changed since $build was made"
  else
    echo "1. building the command and the library in $build: some minutes, once"
  fi
  [ -d "$build" ] || meson setup "$build" "$root" -Dbuildtype=release -Dtests=disabled \
    -Dbenchmarks=disabled -Dexamples=disabled -Dunity=on -Dunity_size=100 >/dev/null
  # The library's file has its version in its name.
  ninja -C "$build" --quiet src/cli/streamer "capi/$(readlink "$build/capi/libstreamer.so.0")"
fi

echo "2. writing a checkpoint of about $mebibytes MiB to $folder"
/usr/bin/python3 "$root/examples/make_checkpoint.py" "$folder/model" --mib "$mebibytes"

echo "3. streaming it to memory: streamer load $folder/model"
"$streamer" load "$folder/model"

echo "4. comparing the SHA-256 of every tensor with that of an independent reader"
"$streamer" digest "$folder/model" >"$folder/ours"
/usr/bin/python3 "$root/tests/support/read_safetensors.py" "$folder/model" >"$folder/theirs"
if ! cmp "$folder/ours" "$folder/theirs"; then
  echo "the bytes differ" >&2
  exit 1
fi
echo "all $(wc -l <"$folder/ours") tensors are byte for byte what the files hold"
