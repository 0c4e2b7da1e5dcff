#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What streamer.h spells out is what the lists say: check_lists.py SOURCE_ROOT | --self-test

The header is for readers, and has no macros that make lists; error kinds and dtypes stand there a
second time, and here both are compared.
"""
import os
import re
import sys


def kinds_of(text):
    return re.findall(r'^STREAMER_ERROR_KIND\((\w+), (\d+), "(.*)"\)$', text, re.MULTILINE)


def kinds_of_header(header):
    return [(name.lower(), number, text) for name, number, text in re.findall(
        r"^#define STREAMER_ERROR_(\w+) (\d+) /\* (.*) \*/$", header, re.MULTILINE)]


def dtypes_of(text):
    return re.findall(r'^STREAMER_DTYPE\(\w+, (\d+), "(\w+)", ', text, re.MULTILINE)


def dtypes_of_header(header):
    return [(number, name) for name, number in re.findall(
        r"^#define STREAMER_DTYPE_(\w+) (\d+)$", header, re.MULTILINE)]


def check(header, kinds, dtypes):
    """Yields what differs."""
    for what, ours, theirs in (("error kind", kinds_of(kinds), kinds_of_header(header)),
                               ("dtype", dtypes_of(dtypes), dtypes_of_header(header))):
        if not ours:
            yield f"the list of {what}s is empty"
        for row in ours:
            if row not in theirs:
                yield f"streamer.h does not have the {what} {' '.join(row)}, as the list has it"
        for row in theirs:
            if row not in ours:
                yield f"the list does not have the {what} {' '.join(row)} of streamer.h"
        numbers = [next(field for field in row if field.isdigit()) for row in ours]
        for number in {one for one in numbers if numbers.count(one) > 1}:
            yield f"two {what}s have the number {number}"


def camel(name):
    return "".join(word.capitalize() for word in name.split("_"))


def check_bindings(kinds, rust, go):
    """Yields the error kinds that the wrappers for Rust and Go do not have."""
    for name, number, _ in kinds_of(kinds):
        if f"    {camel(name)} = {number},\n" not in rust:
            yield f"capi/rust does not have the error kind {camel(name)} = {number}"
        if not re.search(rf"^\t\w+ +ErrorKind = C\.STREAMER_ERROR_{name.upper()}$", go, re.MULTILINE):
            yield f"capi/go does not have the error kind of STREAMER_ERROR_{name.upper()}"


def check_inits(header):
    """Yields the macros that have no function of their name, for languages without macros."""
    for name in re.findall(r"^#define STREAMER_(\w+)_INIT\b", header, re.MULTILINE):
        if f"void streamer_{name.lower()}_init(" not in header:
            yield f"STREAMER_{name}_INIT has no function streamer_{name.lower()}_init()"


def self_test():
    kinds = 'STREAMER_ERROR_KIND(io, 206, "reading failed")\n'
    dtypes = 'STREAMER_DTYPE(u8, 5, "U8", 8, 1)\n'
    header = "#define STREAMER_ERROR_IO 206 /* reading failed */\n#define STREAMER_DTYPE_U8 5\n"
    if list(check(header, kinds, dtypes)):
        return 1
    for bad in ((header.replace("206", "207"), kinds, dtypes),
                (header.replace("failed", "broke"), kinds, dtypes),
                (header, kinds + 'STREAMER_ERROR_KIND(tired, 402, "it is late")\n', dtypes),
                (header + "#define STREAMER_DTYPE_U9 6\n", kinds, dtypes),
                (header, kinds * 2, dtypes), (header, "", dtypes)):
        if not list(check(*bad)):
            print("not found out:", bad)
            return 1
    rust, go = "    Io = 206,\n", "\tIO ErrorKind = C.STREAMER_ERROR_IO\n"
    if list(check_bindings(kinds, rust, go)) or len(list(check_bindings(kinds, "", ""))) != 2:
        return 1
    return 0 if list(check_inits("#define STREAMER_X_INIT {0}\n")) else 1


def main():
    if sys.argv[1] == "--self-test":
        return self_test()

    def read(path):
        with open(os.path.join(sys.argv[1], path), encoding="utf-8") as file:
            return file.read()

    wrong = list(check_inits(read("capi/streamer.h")))
    wrong += list(check(read("capi/streamer.h"), read("include/streamer/error_kinds.inc"),
                       read("include/streamer/dtypes.inc")))
    wrong += list(check_bindings(read("include/streamer/error_kinds.inc"),
                                 read("capi/rust/src/error.rs"), read("capi/go/error.go")))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
