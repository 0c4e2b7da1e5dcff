#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves and measures libstreamer on this machine's GPU: run [OUTPUT_FOLDER]. Needs a driver, and
# neither network nor compiler. Ends in OUTPUT_FOLDER/gpu.json and gpu.md, in less than 20 minutes.
# Variables: KIT_DEVICE (cuda:0), KIT_MIB (the checkpoint; 2048), KIT_MINUTES (the measurements; 9),
# KIT_DATA (a folder on the disk to read from; OUTPUT_FOLDER).
set -u
kit=$(cd "$(dirname "$0")" && pwd)
out=${1:-$kit/found}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
rm -f "$out"/measured.* "$out"/toolkit.* "$out"/gpu.*
data=$(mktemp -d "${KIT_DATA:-$out}/data-XXXXXX") || exit 1
trap 'rm -rf "$data"' EXIT
trap 'exit 130' INT TERM
began=$(date +%s)
device=${KIT_DEVICE:-cuda:0}
mib=${KIT_MIB:-2048}
minutes=${KIT_MINUTES:-9}
case $mib$minutes in
  *[!0-9]*) echo "KIT_MIB=$mib and KIT_MINUTES=$minutes: whole numbers are needed" >&2; exit 2 ;;
esac

# Libraries of the kit; the machine's own glibc, unless that is older than the kit's.
library_path=$kit/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
loader=
if ! LD_LIBRARY_PATH=$library_path "$kit/bin/streamer" --version >/dev/null 2>&1; then
  loader=$(ls "$kit"/loader/ld-linux* 2>/dev/null | head -n 1)
fi
start() { # start SECONDS PROGRAM ARGUMENT...
  limit=$1
  program=$2
  shift 2
  if [ -n "$loader" ]; then
    timeout -k 5 "$limit" "$loader" --library-path "$kit/loader:$library_path" "$kit/bin/$program" "$@"
  else
    LD_LIBRARY_PATH=$library_path timeout -k 5 "$limit" "$kit/bin/$program" "$@"
  fi
}

# Text as a JSON string.
quoted() {
  printf '"'
  tr -d '\000-\010\013-\037' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/ /g' |
    awk '{ printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }'
  printf '"'
}

version=$(start 20 streamer --version 2>&1) || version="the command does not start: $version"
echo "$version"

echo "== doctor"
start 60 streamer doctor --device "$device" >"$out/doctor.txt" 2>&1
doctor=$?
cat "$out/doctor.txt"

echo "== device tests"
TMPDIR=$data start 150 cuda_test >"$out/tests.txt" 2>&1
tests=$?
tail -n 4 "$out/tests.txt"

echo "== measurements, at most $minutes minutes"
start $((minutes * 60 + 120)) kit_main "$data" "$out/measured" "$mib" "$minutes" "$device"
measured=$?
rm -rf "$data"/*
toolkit=-1
if [ -x "$kit/bin/kit_main_toolkit" ]; then
  echo "== the same through the toolkit's runtime"
  start 150 kit_main_toolkit "$data" "$out/toolkit" "$mib" 1 "$device"
  toolkit=$?
  rm -rf "$data"/*
fi

echo "== torch in the same process"
torch=-1
if command -v python3 >/dev/null 2>&1; then
  # Python's other libraries are not ours, unless ours needs those of the kit.
  library=$kit/lib/libstreamer.so.0
  python_path=${LD_LIBRARY_PATH:-}
  python3 -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$library" 2>/dev/null ||
    python_path=$library_path
  LD_LIBRARY_PATH=$python_path STREAMER_LIBRARY=$library PYTHONPATH=$kit/python \
    PYTHONDONTWRITEBYTECODE=1 timeout -k 5 120 python3 "$kit/kit_torch.py" "$data" "$device" \
    >"$out/torch.txt" 2>&1
  torch=$?
else
  echo "not run: there is no python3" >"$out/torch.txt"
  torch=77
fi
tail -n 5 "$out/torch.txt"

# 77: not run, for the reason that the text gives.
passed=true
for code in $doctor $tests $measured; do [ "$code" -eq 0 ] || passed=false; done
case $torch in 0 | 77) ;; *) passed=false ;; esac
case $toolkit in 0 | -1) ;; *) passed=false ;; esac
seconds=$(($(date +%s) - began))
{
  printf '{"passed":%s,"seconds":%s,"version":%s,"kernel":%s,"device":"%s","checkpoint_mib":%s,\n' \
    "$passed" "$seconds" "$(printf '%s' "$version" | quoted)" "$(uname -srm | quoted)" "$device" "$mib"
  printf '"doctor":{"exit":%s,"text":%s},\n' "$doctor" "$(quoted <"$out/doctor.txt")"
  printf '"tests":{"exit":%s,"text":%s},\n' "$tests" "$(tail -n 20 "$out/tests.txt" | quoted)"
  printf '"torch":{"exit":%s,"text":%s},\n' "$torch" "$(tail -n 20 "$out/torch.txt" | quoted)"
  printf '"measured":'
  cat "$out/measured.json" 2>/dev/null || echo null
  printf ',"toolkit":'
  cat "$out/toolkit.json" 2>/dev/null || echo null
  echo '}'
} >"$out/gpu.json"
{
  echo "# libstreamer on $device"
  echo
  echo "Passed: $passed, in $seconds s. $(uname -srm), $(getconf _NPROCESSORS_ONLN) processors," \
    "a checkpoint of $mib MiB."
  printf '\n## The build\n```text\n%s\n```\n' "$version"
  for part in doctor tests torch; do
    printf '\n## Said by: %s\n```text\n' "$part"
    tail -n 20 "$out/$part.txt"
    echo '```'
  done
  cat "$out/measured.md" 2>/dev/null
  if [ -f "$out/toolkit.md" ]; then
    printf '\n# Through the runtime of the toolkit\n'
    cat "$out/toolkit.md"
  fi
} >"$out/gpu.md"
echo "== $out/gpu.json and $out/gpu.md: passed: $passed, $seconds s"
[ "$passed" = true ]
