#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the wheels and checks them: libstreamer for this processor or for another, and the drop-in.
#
#   packaging/wheels.sh [FOLDER]                   to FOLDER, or dist/
#   ARCH=aarch64 packaging/wheels.sh [FOLDER]      with Debian's cross compiler (crossbuild-essential-arm64)
#   HOMEPAGE=URL packaging/wheels.sh [FOLDER]      the wheels name it; only a publisher knows it
#
# All dependencies are built from subprojects/*.wrap and linked in. The wheel needs glibc 2.28 and nothing
# else. Compilers run through ccache, if there is one: a second run takes a minute.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dist=$(mkdir -p "${1:-$root/dist}" && CDPATH='' cd -- "${1:-$root/dist}" && pwd)
. "$root/packaging/toolchain.sh"
if [ -n "$prefix" ]; then
  _PYTHON_HOST_PLATFORM="linux-$arch"
  export _PYTHON_HOST_PLATFORM
fi

echo "building the wheels for $arch"
rm -rf "$work/raw" "$work/checked"
python3 -m build --wheel --no-isolation --outdir "$work/raw" "$root" \
  "-Csetup-args=$machine" -Csetup-args=-Dself_contained=true -Csetup-args=-Dmpi=disabled \
  "-Cbuild-dir=$work/build" >"$work/build.log" 2>&1 || { tail -40 "$work/build.log" >&2; exit 1; }
python3 -m build --wheel --no-isolation --outdir "$work/checked" "$root/capi/runai/python" \
  >"$work/build-runai.log" 2>&1 || { tail -40 "$work/build-runai.log" >&2; exit 1; }

# Named only after it was found to be what the name says. meson-python takes a library for an extension
# module of this Python; ctypes loads it in any.
platform="manylinux_$(echo $floor | tr . _)_$arch"
auditwheel show "$work/raw"/libstreamer-*.whl | tee "$work/audit.txt"
grep -q "\"$platform\"" "$work/audit.txt" || { echo "auditwheel does not say $platform" >&2; exit 1; }
wheel tags --remove --python-tag py3 --abi-tag none --platform-tag "$platform" "$work/raw"/libstreamer-*.whl
mv "$work/raw"/libstreamer-*.whl "$work/checked"
if [ -n "${HOMEPAGE:-}" ]; then
  for made in "$work/checked"/*.whl; do
    rm -rf "$work/open"
    wheel unpack --dest "$work/open" "$made"
    sed -i "/^Version: /a Project-URL: Homepage, $HOMEPAGE" "$work/open"/*/*.dist-info/METADATA
    wheel pack --dest-dir "$work/checked" "$work/open"/*
  done
fi
python3 "$root/packaging/check_wheel.py" "$floor" "$arch" "$work/checked"/libstreamer-[0-9]*.whl
twine check --strict "$work/checked"/*.whl
if [ -z "$prefix" ]; then
  sh "$root/packaging/try_wheels.sh" "$work/checked"
fi
cp "$work/checked"/*.whl "$dist"
ls -l "$dist"/*.whl
