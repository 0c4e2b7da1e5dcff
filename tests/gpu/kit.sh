#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs what an hour on a machine with a GPU needs into one folder: the command, the device tests, the
# measurements, and the libraries that they need; there, nothing but a driver is missing.
#   kit.sh BUILD FOLDER [TOOLKIT_BUILD]
# BUILD: a build folder, best one with -Dself_contained=true, in which the targets streamer (command and
# library), cuda_test and kit_main were built. TOOLKIT_BUILD: one
# with -Dtoolkit_cudart=enabled, whose kit_main is run beside. Python with torch, where it is there, is
# the machine's own.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?a build folder}
folder=${2:?the folder to pack into}
toolkit=${3:-}
mkdir -p "$folder/bin" "$folder/lib" "$folder/loader"

# pack PROGRAM NAME: a program or a library, and all libraries that it is linked with. Those of glibc
# apart: they are used only where the machine's own are too old.
pack() {
  cp -L "$1" "$folder/$2"
  ldd "$1" | while read -r name arrow path _; do
    case $name in
      linux-vdso*) continue ;;
      /*) path=$name ;;
      *) [ "$arrow" = "=>" ] || continue ;;
    esac
    case $(basename "$path") in
      ld-linux*|libc.so*|libm.so*|libdl.so*|librt.so*|libpthread.so*|libresolv.so*)
        cp -L "$path" "$folder/loader/" ;;
      *) cp -L "$path" "$folder/lib/" ;;
    esac
  done
}

pack "$build/src/cli/streamer" bin/streamer
pack "$build/tests/gpu/cuda_test" bin/cuda_test
pack "$build/tests/gpu/kit_main" bin/kit_main
if [ -n "$toolkit" ]; then pack "$toolkit/tests/gpu/kit_main" bin/kit_main_toolkit; fi
pack "$build/capi/libstreamer.so.0" lib/libstreamer.so.0
mkdir -p "$folder/python"
cp -r "$root/capi/python/libstreamer" "$folder/python/"
rm -rf "$folder/python/libstreamer/__pycache__"
cp "$root/tests/gpu/kit_torch.py" "$root/LICENSE" "$folder/"
cp "$root/tests/gpu/kit_run.sh" "$folder/run"
chmod +x "$folder/run"
echo "$folder: $(du -sh "$folder" | cut -f1); on the machine with a GPU: ./run [OUTPUT_FOLDER]"
