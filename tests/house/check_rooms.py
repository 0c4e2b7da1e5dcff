#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rooms, and who may include whom: check_rooms.py SOURCE_ROOT | --self-test"""
import os
import re
import sys

# Room -> the rooms that it may include, beside itself. A new arrow is one line here.
ARROWS = {
    "base": set(),
    "http": {"base"},
    "auth": {"base", "http"},
    "storage": {"base", "http", "auth", "memory"},
    "download": {"base", "storage"},
    "checkpoint": {"base", "storage"},
    "doctor": {"base", "http", "storage", "checkpoint", "memory", "gpu"},
    "memory": {"base"},
    "gpu": {"base", "memory"},
    "engine": {"base", "http", "storage", "checkpoint", "memory", "gpu"},
    "distributed": {"base", "checkpoint", "memory", "gpu", "engine"},
    "capi": {"base", "http", "storage", "download", "doctor", "checkpoint", "memory", "gpu", "engine",
             "distributed"},
    "cli": {"streamer"},
    "streamer": set(),  # include/streamer
}
# Headers of others -> the only files that may include them (a prefix of the path in the tree).
THIRD_PARTY = {
    "simdjson": ("src/base/json.cpp",),
    "liburing": ("src/engine/direct_reads.cpp",),
    "CLI/": ("src/cli/main.cpp",),
    "openssl/": ("src/cli/digest.cpp", "src/base/crypto.cpp", "src/base/certificates.cpp",
                 "src/base/openssl.hpp", "src/base/openssl_refusal.hpp", "src/base/rs256.cpp",
                 "src/http/tls_session.cpp"),
    "curl/": ("src/http/",),
    "cuda": ("src/gpu/cuda_static.cpp", "tests/gpu/cuda_headers.cpp"),
    "pugixml": ("src/base/xml.cpp",),
}
NAMELESS = {"utils", "util", "common", "misc", "helpers", "helper", "impl", "manager", "types"}
CLOUD_WORDS = re.compile(r"\b(s3|gcs|azure|aws)\b", re.IGNORECASE)
CLOUDLESS = ("engine", "memory", "gpu", "checkpoint")
# What rooms may take from include/: the one list of error kinds, and that of dtypes.
SHARED_LISTS = {("base", "streamer/error_kinds.inc"), ("checkpoint", "streamer/dtypes.inc")}
# Pure, and needed by a room that sees nothing else of the other.
SHARED_HEADERS = {("cli", "base/counted.hpp"), ("cli", "base/nearest.hpp")}


def room_of(path):
    parts = path.split("/")
    if parts[0] == "src":
        return parts[1]
    return "streamer" if parts[0] == "include" else parts[0]


def includes_of(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE)


def check_file(path, text):
    """Yields what is wrong with one file; path is relative to the root."""
    room = room_of(path)
    for stem in re.split(r"[/.]", path):
        if stem in NAMELESS:
            yield f"{path}: \"{stem}\" says nothing about what is in it"
    for include in includes_of(text):
        target = include.split("/")[0]
        if (room, include) in SHARED_LISTS:
            continue
        if room == "streamer":
            # Public headers: each other, streamer.h, the standard library.
            if "/" in include:
                yield f"{path}: a public header includes {include}"
        elif target in ARROWS and "/" in include and target != room:
            if target not in ARROWS[room] and (room, include) not in SHARED_HEADERS:
                yield f"{path}: {room} may not include {include}"
        for prefix, allowed in THIRD_PARTY.items():
            if include.startswith(prefix) and not path.startswith(allowed or ("\0",)):
                yield f"{path}: {include} belongs to {', '.join(allowed) or 'no room yet'}"
    if room in CLOUDLESS:
        word = CLOUD_WORDS.search(text)
        if word:
            yield f"{path}: {room} knows a cloud's name: {word.group()}"


def check_tree(root):
    for top in ("src", "capi", "include"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if not name.endswith((".cpp", ".hpp", ".h", ".inc")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), root)
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    yield from check_file(path, file.read())


def self_test():
    bad = [
        ("src/base/x.cpp", '#include "storage/uri.hpp"'),
        ("src/memory/x.cpp", '#include "gpu/gpu_kinds.hpp"'),
        ("src/checkpoint/x.cpp", '#include "engine/plan.hpp"'),
        ("src/cli/x.cpp", '#include "engine/load.hpp"'),
        ("src/engine/x.cpp", "#include <simdjson.h>"),
        ("src/engine/x.cpp", "// as S3 does"),
        ("src/base/utils.cpp", ""),
        ("include/streamer/x.hpp", '#include "base/error.hpp"'),
        ("src/base/x.cpp", "#include <curl/curl.h>"),
    ]
    good = [
        ("src/engine/x.cpp", '#include "memory/arena.hpp"\n#include <vector>'),
        ("src/base/error.hpp", '#include "streamer/error_kinds.inc"'),
        ("capi/x.cpp", '#include "engine/load.hpp"\n#include "streamer.h"'),
        ("src/cli/x.cpp", '#include "streamer/load.hpp"\n#include "cli/command.hpp"'),
    ]
    for path, text in bad:
        assert list(check_file(path, text)), (path, text)
    for path, text in good:
        assert not list(check_file(path, text)), (path, text)


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    wrong = list(check_tree(sys.argv[1]))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
