#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What headers and bindings spell out is what the lists say:
check_lists.py [--write] SOURCE_ROOT | --self-test

Readers of streamer.h, of the Rust crate and of the Go module want to see error kinds and dtypes, not
macros that make them from a list. --write spells out there what is in the lists.
"""
import os
import re
import sys

ERROR_KINDS, DTYPES = "include/streamer/error_kinds.inc", "include/streamer/dtypes.inc"


def kinds_of(text):
    return re.findall(r'^STREAMER_ERROR_KIND\((\w+), (\d+), "(.*)"\)$', text, re.MULTILINE)


def dtypes_of(text):
    return re.findall(r'^STREAMER_DTYPE\((\w+), (\d+), "(\w+)", ', text, re.MULTILINE)


def camel(name):
    return "".join(word.capitalize() for word in name.split("_"))


def in_c(rows):
    return [f"#define STREAMER_ERROR_{name.upper()} {number} /* {text} */"
            for name, number, text in rows]


def dtypes_in_c(rows):
    return [f"#define STREAMER_DTYPE_{text} {number}" for _, number, text in rows]


def in_rust(rows):
    return [line for name, number, text in rows
            for line in (f"    /// {text[0].upper()}{text[1:]}.", f"    {camel(name)} = {number},")]


def in_go(rows):
    names = ["IO" if name == "io" else camel(name) for name, _, _ in rows]
    width = max(map(len, names), default=0)
    return [f"\t{go:{width}} ErrorKind = C.STREAMER_ERROR_{name.upper()}"
            for go, (name, _, _) in zip(names, rows)]


# Where what is spelled out: file, the list and its rows, how they are written, a line of the block.
SPELLED = (
    ("capi/streamer.h", ERROR_KINDS, kinds_of, in_c, r"#define STREAMER_ERROR_\w+ \d+ .*"),
    ("capi/streamer.h", DTYPES, dtypes_of, dtypes_in_c, r"#define STREAMER_DTYPE_\w+ \d+"),
    ("capi/rust/src/error.rs", ERROR_KINDS, kinds_of, in_rust, r"    (?:/// .*|\w+ = \d+,)"),
    ("capi/go/error.go", ERROR_KINDS, kinds_of, in_go, r"\t\w+ +ErrorKind = C\.STREAMER_ERROR_\w+"),
)


def spelled(text, lines, line_of_block):
    """text with those lines in the place of its block; None if it has none."""
    block = re.compile(rf"^(?:{line_of_block}\n)+", re.MULTILINE)
    # Other lines may look alike; the block has most of them.
    found = max(block.finditer(text), key=lambda one: one.group().count("\n"), default=None)
    if found is None:
        return None
    return text[:found.start()] + "".join(line + "\n" for line in lines) + text[found.end():]


def wrong_numbers(what, rows):
    if not rows:
        yield f"{what} is empty"
    for at in (0, 1):
        values = [row[at] for row in rows]
        for value in sorted({one for one in values if values.count(one) > 1}):
            yield f"{what}: {value} is there twice"


def check(read, write=None):
    """Yields what is wrong; with write, only what that cannot mend."""
    for path, rows_of in ((ERROR_KINDS, kinds_of), (DTYPES, dtypes_of)):
        yield from wrong_numbers(path, rows_of(read(path)))
    for path, of, rows_of, written, line_of_block in SPELLED:
        text = read(path)
        right = spelled(text, written(rows_of(read(of))), line_of_block)
        if right is None:
            yield f"{path}: there is no block of what {of} lists"
        elif right != text and write:
            write(path, right)
        elif right != text:
            yield f"{path} does not say what {of} lists: check_lists.py --write ."


def check_inits(header):
    """Yields the macros that have no function of their name, for languages without macros."""
    for name in re.findall(r"^#define STREAMER_(\w+)_INIT\b", header, re.MULTILINE):
        if f"void streamer_{name.lower()}_init(" not in header:
            yield f"STREAMER_{name}_INIT has no function streamer_{name.lower()}_init()"


def self_test():
    files = {
        ERROR_KINDS: 'STREAMER_ERROR_KIND(io, 206, "reading failed")\n',
        DTYPES: 'STREAMER_DTYPE(boolean, 4, "BOOL", 8, 1, 6)\n',
        "capi/streamer.h": "/* a */\n#define STREAMER_ERROR_IO 206 /* reading failed */\n"
                           "#define STREAMER_DTYPE_BOOL 4\n",
        "capi/rust/src/error.rs": "kinds! {\n    /// Reading failed.\n    Io = 206,\n}\n",
        "capi/go/error.go": "const (\n\tIO ErrorKind = C.STREAMER_ERROR_IO\n)\n"}
    assert not list(check(files.get)), list(check(files.get))
    for path, old, new in (("capi/streamer.h", "206", "207"), ("capi/streamer.h", "failed", "broke"),
                           ("capi/streamer.h", "BOOL 4", "BOOL 5"),
                           ("capi/streamer.h", "#define STREAMER_DTYPE_BOOL 4\n", ""),
                           ("capi/rust/src/error.rs", "Io = 206", "Io = 207"),
                           ("capi/go/error.go", "\tIO ErrorKind = C.STREAMER_ERROR_IO\n", ""),
                           (ERROR_KINDS, files[ERROR_KINDS], files[ERROR_KINDS] * 2),
                           (ERROR_KINDS, files[ERROR_KINDS], "")):
        bad = {**files, path: files[path].replace(old, new)}
        assert bad != files and list(check(bad.get)), (path, new)
    grown = {**files, ERROR_KINDS: files[ERROR_KINDS] +
             'STREAMER_ERROR_KIND(so_tired, 402, "it is late")\n'}
    assert len(list(check(grown.get))) == 3
    assert not list(check(grown.get, grown.__setitem__)) and not list(check(grown.get))
    assert "#define STREAMER_ERROR_SO_TIRED 402 /* it is late */\n" in grown["capi/streamer.h"]
    assert "    /// It is late.\n    SoTired = 402,\n}" in grown["capi/rust/src/error.rs"]
    assert "\tIO      ErrorKind = C.STREAMER_ERROR_IO\n\tSoTired Err" in grown["capi/go/error.go"]
    assert list(check_inits("#define STREAMER_X_INIT {0}\n"))


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    root = sys.argv[-1]

    def read(path):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            return file.read()

    def write(path, text):
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)

    wrong = list(check(read, write if "--write" in sys.argv else None))
    wrong += list(check_inits(read("capi/streamer.h")))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
