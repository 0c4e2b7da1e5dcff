#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# try_wheels.sh FOLDER [--install-python]: installs libstreamer's wheel where nothing else is, and loads a
# checkpoint with it.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
wheels=$(CDPATH='' cd -- "$1" && pwd)
python=python3
if [ "${2:-}" = --install-python ]; then
  if command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv ca-certificates >/dev/null
  elif command -v zypper >/dev/null; then
    zypper --quiet --non-interactive install python311 ca-certificates-mozilla && python=python3.11
  else
    dnf install -y -q python3.11 ca-certificates && python=python3.11
  fi
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-index --find-links "$wheels" libstreamer
"$python" "$root/examples/make_checkpoint.py" "$folder/model" --mib 16 >/dev/null
PATH="$folder/venv/bin:$PATH"
cd "$folder"
streamer --version
streamer digest model >ours
"$python" "$root/tests/support/read_safetensors.py" model >theirs
cmp ours theirs
"$folder/venv/bin/python" -c 'import libstreamer
count = sum(1 for _ in libstreamer.load("model"))
print(f"loaded {count} tensors with {libstreamer._native.library.path}")'
