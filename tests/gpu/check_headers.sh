#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles this library's own declarations of CUDA's, NCCL's and cuFile's interfaces against NVIDIA's
# headers, each of several versions: check_headers.sh FOLDER. By hand: it downloads about 700 MB from
# the Python registry into FOLDER, which must lie outside the repository, and uses what is there.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:?a folder for the headers, outside the repository}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
case $folder/ in "$root"/*) echo "$folder lies in the repository" >&2; exit 2;; esac

# get PACKAGE VERSION: its headers, in $folder/PACKAGE-VERSION; prints the folder with them.
get() {
  to=$folder/$1-$2
  if [ ! -d "$to" ]; then
    ${PIP:-python3 -m pip} download -q --no-deps --only-binary :all: -d "$to.wheel" "$1==$2" >&2
    python3 - "$to.wheel" "$to" <<'END'
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if "/include/" in name])
END
    rm -r "$to.wheel"
  fi
  find "$to" -type d -name include ! -path "*/nvvm/*" ! -path "*/include/*"
}

# check FILE INCLUDE...: compiles FILE alone.
check() {
  file=$1
  shift
  flags=
  for include in "$@"; do flags="$flags -isystem $include"; done
  # shellcheck disable=SC2086
  ${CXX:-c++} -std=c++20 -fsyntax-only -I "$root/src" -I "$root/include" $flags "$root/$file"
}

failed=0
say() { # say WHAT COMMAND...: runs it and says how it went
  what=$1
  shift
  if "$@"; then echo "same      $what"; else echo "DIFFERENT $what"; failed=1; fi
}

for version in 12.0.146 12.4.127 12.9.79; do
  cuda=$(get nvidia-cuda-runtime-cu12 $version)
  say "CUDA $version, driver" check tests/gpu/cuda_headers.cpp "$cuda"
done
# The oldest and the newest of CUDA 13, whose headers name new functions like old ones.
for version in 13.0.96 13.5.37; do
  new=$(get nvidia-cuda-runtime $version)
  say "CUDA $version, driver" check tests/gpu/cuda_headers.cpp "$new"
done
# The rest of the runtime's headers, which are packed elsewhere.
rest=$(get nvidia-cuda-nvcc-cu12 12.9.86)
more=$(get nvidia-cuda-cccl-cu12 12.9.27)
new_rest=$(get nvidia-cuda-crt 13.5.37)
for version in 2.18.1 2.27.7; do
  say "NCCL $version" \
    check tests/gpu/nccl_headers.cpp "$(get nvidia-nccl-cu12 $version)" "$cuda" "$rest" "$more"
done
for version in 1.11.1.6 1.14.1.1; do
  say "cuFile $version" check tests/gpu/cufile_headers.cpp "$(get nvidia-cufile-cu12 $version)" "$cuda"
done
# The other build, which uses the toolkit's runtime.
say "CUDA 12's runtime, as a build option" check src/gpu/cuda_static.cpp "$cuda" "$rest"
say "CUDA 13's runtime, as a build option" check src/gpu/cuda_static.cpp "$new" "$new_rest"
exit $failed
