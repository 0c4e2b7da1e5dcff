#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the build needs, builds, makes a sharded checkpoint of about 1 GB in a temporary folder,
# streams it to memory, and compares every tensor with what an independent reader finds in the files.
#
#   quickstart.sh [MiB]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mebibytes=${1:-1024}
build="$root/build-quickstart"

sh "$root/examples/install_packages.sh" g++ meson ninja-build pkg-config python3 libfmt-dev \
  libcurl4-openssl-dev libpugixml-dev libsimdjson-dev libcli11-dev liburing-dev libssl-dev

[ -d "$build" ] || meson setup "$build" "$root" -Dbuildtype=release -Dtests=disabled \
  -Dbenchmarks=disabled >/dev/null
echo "building"
ninja -C "$build" --quiet

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
echo "writing a checkpoint of about $mebibytes MiB to $folder"
/usr/bin/python3 "$root/examples/make_checkpoint.py" "$folder/model" --mib "$mebibytes"

streamer="$build/src/cli/streamer"
echo "streaming it to memory"
"$streamer" load "$folder/model"

echo "comparing every tensor with an independent reader"
"$streamer" digest "$folder/model" >"$folder/ours"
/usr/bin/python3 "$root/tests/support/read_safetensors.py" "$folder/model" >"$folder/theirs"
if ! cmp "$folder/ours" "$folder/theirs"; then
  echo "the bytes differ" >&2
  exit 1
fi
echo "all $(wc -l <"$folder/ours") tensors are byte for byte what the files hold"
