#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a compiler link for an older glibc: glibc_floor.py VERSION FOLDER COMPILER...

A program that is linked against a glibc needs that version or a newer one, because the linker takes the
newest version of each symbol. FOLDER gets stubs of the C libraries that offer, of every symbol, the newest
version that VERSION has; `COMPILER -B FOLDER` links against them. What VERSION does not have at all does not
link, but for the few functions of glibc_floor.c, which stand in for what compilers and headers of
newer systems take for granted.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARIES = ("libc.so.6", "libm.so.6")
# These became part of libc with 2.34; until then programs must ask for them.
FORMER = {"libpthread.so.0": re.compile(r"_*(pthread|sem)_|__h_errno_loc|__errno_loc|raise$"),
          "libdl.so.2": re.compile(r"dl[a-z]+1?$"),
          "librt.so.1": re.compile(r"(aio|lio|mq|shm|timer)_")}


def run(*command, **keywords):
    return subprocess.run(command, check=True, capture_output=True, text=True, **keywords).stdout


def number(version):
    """GLIBC_2.28 as (2, 28); None for names that are no releases, such as GLIBC_PRIVATE."""
    match = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)+)", version)
    return tuple(map(int, match.group(1).split("."))) if match else None


def symbols(path):
    """Per name a list of (version, type, size)."""
    found = {}
    for line in run("readelf", "--wide", "--dyn-syms", path).splitlines():
        words = line.split()
        if len(words) < 8 or not words[0].endswith(":") or words[6] == "UND":
            continue
        match = re.fullmatch(r"(.+?)@@?(\S+)", words[7])
        if match and words[3] in ("FUNC", "IFUNC", "OBJECT", "TLS"):
            found.setdefault(match.group(1), []).append((match.group(2), words[3], int(words[2], 0)))
    return found


def chosen(found, floor):
    """Per name the newest (version, type, size) that the floor has."""
    result = {}
    for name, versions in found.items():
        old = [row for row in versions if number(row[0]) and number(row[0]) <= floor]
        if old:
            result[name] = max(old, key=lambda row: number(row[0]))
    return result


def former_library(name, versions):
    """Where a symbol was until 2.34, if not in libc."""
    moved = any(number(row[0]) and (2, 32) <= number(row[0]) <= (2, 34) for row in versions)
    if moved and len(versions) > 1:
        for library, names in FORMER.items():
            if names.match(name):
                return library
    return None


def make_stub(compiler, folder, soname, rows):
    lines, nodes = [], {}
    for name, (version, kind, size) in sorted(rows.items()):
        section = {"OBJECT": ".data", "TLS": ".section .tdata,\"awT\",%progbits"}.get(kind, ".text")
        type_name = {"OBJECT": "object", "TLS": "tls_object"}.get(kind, "function")
        lines += [section, f".globl {name}", f".type {name}, %{type_name}",
                  f".size {name}, {max(size, 1)}", f"{name}: .zero {max(size, 1) if kind != 'FUNC' else 1}"]
        nodes.setdefault(version, []).append(name)
    source, script = os.path.join(folder, soname + ".s"), os.path.join(folder, soname + ".map")
    with open(source, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + '\n.section .note.GNU-stack,"",%progbits\n')
    with open(script, "w", encoding="ascii") as file:
        for version in sorted(nodes, key=number):
            file.write(f"{version} {{ global: {'; '.join(nodes[version])}; }};\n")
        if not nodes:
            file.write("GLIBC_2.17 { };\n")
    run(*compiler, "-shared", "-nostdlib", "-o", os.path.join(folder, soname), source,
        "-Wl,-soname," + soname, "-Wl,--version-script=" + script)
    os.remove(source)
    os.remove(script)


def main():
    floor = tuple(map(int, sys.argv[1].split(".")))
    folder, compiler = os.path.abspath(sys.argv[2]), sys.argv[3:]
    os.makedirs(folder, exist_ok=True)

    def path_of(name):
        path = run(*compiler, "-print-file-name=" + name).strip()
        if not os.path.isabs(path):
            sys.exit(f"{' '.join(compiler)} has no {name}: install its C library")
        return path

    libraries = {name: {} for name in (*LIBRARIES, *FORMER)}
    for library in LIBRARIES:
        found = symbols(path_of(library))
        for name, row in chosen(found, floor).items():
            where = former_library(name, found[name]) if library == "libc.so.6" else None
            libraries[where or library][name] = row
    for library, rows in libraries.items():
        make_stub(compiler, folder, library, rows)
        if library != "libc.so.6":
            link = os.path.join(folder, library.split(".so")[0] + ".so")
            if os.path.lexists(link):
                os.remove(link)
            os.symlink(library, link)
    # What newer systems take for granted; hidden, so that each binary keeps its own.
    stand_ins = os.path.join(folder, "glibc_floor.o")
    for name, options in ((stand_ins, []), (os.path.join(folder, "glibc_floor_static.o"), ["-DFOR_STATIC"])):
        run(*compiler, "-c", "-O2", "-fPIC", "-ffunction-sections", "-fvisibility=hidden", *options, "-o", name,
            os.path.join(HERE, "glibc_floor.c"))
    archive = os.path.join(folder, "libglibc_floor.a")
    if os.path.exists(archive):
        os.remove(archive)
    run(run(*compiler, "-print-prog-name=ar").strip(), "rcs", archive, stand_ins)
    for start in ("crt1.o", "Scrt1.o"):
        run(run(*compiler, "-print-prog-name=objcopy").strip(),
            "--redefine-sym=__libc_start_main=glibc_floor_start_main", path_of(start),
            os.path.join(folder, start))
    loader = re.search(r"(\S*/ld-linux\S*\.so\.\d)", open(path_of("libc.so"), encoding="ascii").read())
    others = " ".join(os.path.join(folder, name) for name in FORMER)
    with open(os.path.join(folder, "libc.so"), "w", encoding="ascii") as script:
        script.write(f"GROUP ( {folder}/libc.so.6 {archive} {path_of('libc_nonshared.a')} "
                     f"AS_NEEDED ( {others} {loader.group(1) if loader else ''} ) )\n")


if __name__ == "__main__":
    main()
