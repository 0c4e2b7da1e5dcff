#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A wheel is what it promises: check_wheel.py GLIBC ARCH WHEEL, or GLIBC --binaries LIBRARY COMMAND"""
import configparser
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 6_000_000
GLIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2",
         "ld-linux-aarch64.so.1"}
# How vLLM and SGLang find the load format.
ENTRIES = {"vllm.general_plugins": "libstreamer.vllm:register",
           "sglang.srt.plugins": "libstreamer.sglang:register"}
EXPORTED = re.compile(r"(streamer|runai)_\w+@@STREAMER_\d+\.\d+$")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wrong_with(path, floor, may_need):
    """What is wrong with a binary, and the newest glibc that it needs."""
    needed = set(re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "-Wd", path)))
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", run("readelf", "-WV", path))
    newest = max(tuple(map(int, version)) for version in versions)
    name = path.name
    wrong = [f"{name} needs {other}" for other in sorted(needed - GLIBC - may_need)]
    if newest > floor:
        wrong.append(f"{name} needs glibc {newest[0]}.{newest[1]}")
    return wrong, newest


def wrong_exports(library):
    for line in run("nm", "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        if kind != "A" and not EXPORTED.match(name):
            yield f"{library.name} exports {name}"


def check_wheel(floor):
    arch, wheel = sys.argv[2], Path(sys.argv[3])
    wrong = []
    tag = f"-py3-none-manylinux_{floor[0]}_{floor[1]}_{arch}.whl"
    if not wheel.name.endswith(tag):
        wrong.append(f"{wheel.name} does not end with {tag}")
    if wheel.stat().st_size > MOST_BYTES:
        wrong.append(f"{wheel.name} has {wheel.stat().st_size} bytes")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
            names = archive.namelist()
            if not any(info.filename == "libstreamer/bin/streamer" and info.external_attr >> 16 & 0o111
                       for info in archive.infolist()):
                wrong.append("libstreamer/bin/streamer is not executable")
        libraries = [name for name in names if ".so" in name]
        if libraries != ["libstreamer/libstreamer.so.0"]:
            wrong.append(f"the libraries are {libraries}")
        library, command = (Path(folder, "libstreamer", *parts) for parts in
                            (("libstreamer.so.0",), ("bin", "streamer")))
        found, newest = wrong_with(library, floor, set())
        wrong += found
        wrong += wrong_with(command, floor, {"libstreamer.so.0"})[0]
        wrong += wrong_exports(library)
        (info,) = Path(folder).glob("*.dist-info")
        metadata = (info / "METADATA").read_text(encoding="utf-8")
        for field in ("License-Expression: Apache-2.0", "License-File: LICENSE", "Classifier:",
                      "Provides-Extra: torch", "Provides-Extra: numpy", "Provides-Extra: vllm",
                      "Description-Content-Type: text/markdown"):
            if field not in metadata:
                wrong.append(f"METADATA has no {field}")
        entries = configparser.ConfigParser()
        entries.read(info / "entry_points.txt", encoding="utf-8")
        for group, function in ENTRIES.items():
            if entries.get(group, "libstreamer", fallback=None) != function:
                wrong.append(f"entry_points.txt has no {function} for {group}")
        homepage = os.environ.get("HOMEPAGE")
        if homepage and f"Project-URL: Homepage, {homepage}\n" not in metadata:
            wrong.append(f"METADATA does not name {homepage}")
        notices = Path(folder, "libstreamer", "THIRD_PARTY_NOTICES.txt").read_text(encoding="utf-8")
        for other in ("openssl", "curl", "fmt", "simdjson", "pugixml", "liburing", "CLI11"):
            if f"==== {other}" not in notices:
                wrong.append(f"THIRD_PARTY_NOTICES.txt does not name {other}")
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; libstreamer.so.0: {library.stat().st_size:,}; "
              f"streamer: {command.stat().st_size:,}; glibc {newest[0]}.{newest[1]} or newer")
    return wrong


def check_binaries(floor):
    library, command = map(Path, sys.argv[3:])
    wrong, newest = wrong_with(library, floor, set())
    print(f"{library.name}: {library.stat().st_size:,} bytes; glibc {newest[0]}.{newest[1]} or newer")
    return wrong + wrong_with(command, floor, set())[0] + list(wrong_exports(library))


def main():
    floor = tuple(map(int, sys.argv[1].split(".")))
    wrong = check_binaries(floor) if sys.argv[2] == "--binaries" else check_wheel(floor)
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
