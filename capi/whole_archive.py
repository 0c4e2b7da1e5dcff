#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A static library of ROOMS and of what they need of other archives and of the C++ runtime, so that
`cc program.c OUTPUT -lm -lpthread` links:

    whole_archive.py OUTPUT AR OBJCOPY COMPILER... -- ROOMS ARCHIVE...

Only the C API has global names: what is inside cannot clash with a program's own copies.
"""
import os
import struct
import subprocess
import sys

SYMBOL_TABLE = 2
WEAK, UNIQUE = 2, 10


def make_unique_symbols_weak(path):
    """Unique ones, which libstdc++ has, are the only kind that objcopy leaves global."""
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        if data[4:6] != b"\x02\x01":
            sys.exit(f"{path} is not an ELF file of 64 bits, little endian")
        (sections_at,) = struct.unpack_from("<Q", data, 0x28)
        size, count = struct.unpack_from("<HH", data, 0x3A)
        if count == 0:  # too many for the field: in the first section's size
            (count,) = struct.unpack_from("<Q", data, sections_at + 0x20)
        for section in range(sections_at, sections_at + size * count, size):
            if struct.unpack_from("<I", data, section + 4) != (SYMBOL_TABLE,):
                continue
            offset, bytes_of_all = struct.unpack_from("<QQ", data, section + 0x18)
            (each,) = struct.unpack_from("<Q", data, section + 0x38)
            for info in range(offset + 4, offset + bytes_of_all, each):
                if data[info] >> 4 == UNIQUE:
                    data[info] = WEAK << 4 | data[info] & 15
        file.seek(0)
        file.write(data)


def file_of(compiler, name):
    """Where the compiler has a file; the bare name if it has none."""
    return subprocess.run([*compiler, "-print-file-name=" + name], check=True,
                          capture_output=True, text=True).stdout.strip()


def main():
    output, ar, objcopy, *rest = sys.argv[1:]
    compiler, (rooms, *archives) = rest[:rest.index("--")], rest[rest.index("--") + 1:]
    runtime = file_of(compiler, "libstdc++.a")
    # What an older glibc lacks, where packaging/glibc_floor.py made it.
    stand_ins = file_of(compiler, "glibc_floor_static.o")
    whole = output + ".o"
    # Groups are dissolved: a linker would drop those whose name it has seen in the program.
    subprocess.run([*compiler, "-r", "-nostdlib", "-o", whole, "-Wl,-d,--force-group-allocation",
                    "-Wl,--whole-archive", rooms, "-Wl,--no-whole-archive",
                    *([stand_ins] if os.path.isabs(stand_ins) else []),
                    "-Wl,--start-group", *archives, runtime, "-Wl,--end-group"], check=True)
    make_unique_symbols_weak(whole)
    subprocess.run([objcopy, "--strip-debug", "--wildcard", "--keep-global-symbol=streamer_*",
                    "--keep-global-symbol=runai_*", whole], check=True)
    if os.path.exists(output):
        os.remove(output)
    subprocess.run([ar, "rcs", output, whole], check=True)
    os.remove(whole)


if __name__ == "__main__":
    main()
