#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds in several ways, and runs the tests. The last line is the sum.
#
#   run.sh           all that has to pass before a change lands
#   run.sh --quick   one build, without the slow suite
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
quick=no
[ "${1:-}" = --quick ] && quick=yes

sh "$root/examples/install_packages.sh" g++ meson ninja-build pkg-config python3 ccache binutils \
  clang clang-format libclang-rt-14-dev cmake make catch2 libfmt-dev libsimdjson-dev \
  libcurl4-openssl-dev libpugixml-dev libcli11-dev liburing-dev libssl-dev openssl nginx-light \
  ceph-mon ceph-osd ceph-common radosgw

# From the npm registry: Azurite for the slow suite, and what the example for Node calls C with.
from_npm="$root/build-check-npm"
install_from_npm() {
  command -v npm >/dev/null || sh "$root/examples/install_packages.sh" nodejs npm
  # At once: a second install without a package.json would remove what the first one brought.
  [ -x "$from_npm/node_modules/.bin/azurite-blob" ] ||
    npm install --prefix "$from_npm" --no-audit --no-fund --no-save --loglevel=error \
      azurite@3.35.0 koffi@3.3.4 ||
    echo "Azurite and koffi could not be installed: one's test will fail, the other's be skipped" >&2
  STREAMER_AZURITE="$from_npm/node_modules/.bin/azurite-blob"
  NODE_PATH="$from_npm/node_modules"
  export STREAMER_AZURITE NODE_PATH
}

logs=""
# check NAME "SETUP OPTIONS" "TARGETS" MESON-TEST-ARGUMENTS...: a build of its own, of everything if
# no target is named, and a run of its tests.
check() {
  name=$1
  options=$2
  targets=$3
  shift 3
  build="$root/build-check-$name"
  echo "== $name"
  # shellcheck disable=SC2086  # lists of words
  [ -f "$build/build.ninja" ] || meson setup "$build" "$root" --werror $options >/dev/null
  # shellcheck disable=SC2086
  ninja -C "$build" --quiet $targets
  rm -f "$build"/meson-logs/testlog*.json
  meson test -C "$build" --no-rebuild --print-errorlogs "$@" </dev/null || true
  logs="$logs $(ls "$build"/meson-logs/testlog*.json)"
}

started=$(date +%s)
if [ $quick = yes ]; then
  check gcc "" "" --no-suite slow
else
  install_from_npm
  # What pip builds the packages with: Debian's is too old for today's metadata.
  mesonpy="$root/build-check-mesonpy"
  sh "$root/examples/install_packages.sh" python3-pip
  [ -d "$mesonpy" ] || /usr/bin/python3 -m pip install --quiet --no-deps --target "$mesonpy" \
    meson-python==0.22.1 pyproject-metadata==0.12.1 packaging==26.4 ||
    echo "meson-python could not be installed: the test of pip will be missing" >&2
  STREAMER_MESONPY="$mesonpy"
  export STREAMER_MESONPY
  # The Python packages, and the examples in other languages.
  sh "$root/examples/install_packages.sh" python3-numpy python3-torch python3-pip python3-mesonpy \
    golang-go rustc openmpi-bin libopenmpi-dev
  # Nobody debugs these builds: what sanitizers show needs lines, and no more.
  # --quick compiles every file by itself; these builds need not.
  unity="-Dunity=on -Dunity_size=100"
  # Much of what these tests do is to wait; with sanitizers they compute.
  MESON_TESTTHREADS=$(($(nproc) * 2))
  export MESON_TESTTHREADS
  check gcc "-Dpython=enabled -Dmpi=enabled -Ddebug=false $unity" ""
  unset MESON_TESTTHREADS
  less="-Doptimization=1 -Dbenchmarks=disabled -Dexamples=disabled -Dmpi=disabled $unity"
  less="$less -Ddebug=false -Dcpp_args=-g1"
  check tsan "-Db_sanitize=thread $less" "" --setup tsan --suite fast --suite tsan
  # Memory and undefined behaviour are Clang's part: GCC takes three times as long to build such checks.
  export CC="ccache clang" CXX="ccache clang++"
  targets="capi/libstreamer.a src/cli/streamer tests/fuzz/wire_fuzzer tests/fuzz/header_fuzzer"
  for room in base http auth storage checkpoint memory gpu engine distributed; do
    targets="$targets tests/$room/${room}_test"
  done
  targets="$targets tests/engine/engine_stress tests/engine/mapped_files_test"
  targets="$targets tests/engine/network_fault_test"
  # Only readers of files know io_uring; this build goes without it.
  less="$less -Db_lundef=false -Dfuzzers=enabled -Dio_uring=disabled"
  check clang "-Db_sanitize=address,undefined $less" "$targets" --setup asan \
    base http auth storage checkpoint memory gpu engine distributed "engine limits" "mapped files" \
    "network faults" "cached weights, s3" \
    "fuzz what comes over the wire" "fuzz headers for a minute"
  unset CC CXX
fi
echo "took $(($(date +%s) - started)) s"

# shellcheck disable=SC2086  # a list of words
/usr/bin/python3 "$root/tests/sum_results.py" $logs
