#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pages say what is true: check_docs.py SOURCE_ROOT [LIBRARY COMPILER...] | --write SOURCE_ROOT
[LIBRARY] | --self-test

The tables of settings are the library's own, that of S3-compatible stores is its source's, and the plot
is the README's table (--write makes them); code compiles; links lead somewhere. Without a library only
what needs none is checked.
"""
import ast
import collections
import ctypes
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plot_ratios import plot  # noqa: E402

BEGIN, END = "<!-- settings: made by tests/house/check_docs.py -->\n", "<!-- end of settings -->\n"
BEGIN_STORES = "<!-- stores: made by tests/house/check_docs.py -->\n"
END_STORES = "<!-- end of stores -->\n"
MOST_LINES_OF_README = 150
FIRST_COMMANDS = ["./examples/quickstart.sh", "./tests/run.sh"]
# Page: a header of the tests that it shows whole.
SHOWN = {"docs/adding-a-store.md": "tests/storage/mirror_store.hpp",
         "CONTRIBUTING.md": "tests/storage/memory_store.hpp"}


class SettingInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t),
                *((name, ctypes.c_char_p) for name in (
                    "name", "variable", "compatible_variable", "default_value", "values", "meaning")),
                ("is_secret", ctypes.c_int32), ("scope", ctypes.c_char_p)]


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def pages(root):
    """Every page, by its path."""
    found = [os.path.relpath(path, root) for pattern in ("*.md", "docs/*.md", "capi/*/*.md")
             for path in glob.glob(os.path.join(root, pattern))]
    return {path: read(root, path) for path in sorted(found)}


# ---- What is made ----

def settings_of(library):
    """Headings to rows, of each table."""
    library.streamer_setting_count.restype = ctypes.c_size_t
    tables = {"": [], "## Stores\nFor all URIs, or for URIs with a given prefix.\n\n": [],
              "## Debugging\nNot guaranteed: any version may change or drop them.\n\n": []}
    common, of_stores, debug = tables.values()
    for index in range(library.streamer_setting_count()):
        info = SettingInfo(ctypes.sizeof(SettingInfo))
        assert library.streamer_setting_get_info(ctypes.c_size_t(index), ctypes.byref(info), None) == 0
        name, scope = info.name.decode(), info.scope.decode()
        variables = [v.decode() for v in (info.variable, info.compatible_variable) if v]
        table = debug if name.startswith("debug.") else of_stores if scope == "store" else common
        table.append(f"| `{name}` | {', '.join(f'`{v}`' for v in variables)} | {scope} | "
                     f"{info.values.decode()} | {info.default_value.decode()} | "
                     f"{info.meaning.decode()} |\n")
    return tables


def settings_text(library):
    head = "| name | environment | scope | values | default | meaning |\n|---|---|---|---|---|---|\n"
    return "\n".join(heading + head + "".join(rows) for heading, rows in settings_of(library).items())


def around_settings(page):
    """What stands before the tables, the tables, and what stands behind."""
    before, rest = page.split(BEGIN)
    return before, *rest.split(END)


def stores_of(source):
    """The rows of known_stores.cpp, each a dict of its fields."""
    rows = []
    for row in re.findall(r"KnownStore\{\s*(\.name = .*?)\},\n", source, re.DOTALL):
        fields = re.findall(r'\.(\w+) =\s+((?:"(?:[^"\\]|\\.)*"\s*)+|[\w:]+)', row)
        rows.append({name: ast.literal_eval(f"({value})") if value.startswith('"') else value
                     for name, value in fields})
    return rows


def stores_text(source):
    text = ("| store | bucket in | region | checksums (`verify=store`) | what is different | what to "
            "set | tried with |\n|---|---|---|---|---|---|---|\n")
    for row in stores_of(source):
        place = "host's name" if row.get("wants_virtual_host") else "path"
        place = "host's name" if row["name"].startswith("AWS") else place
        cells = [row["name"], place, *(row[name] for name in (
            "region", "checksums", "quirks", "advice", "tried"))]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def check_stores(root):
    page = read(root, "docs/s3-stores.md")
    made = stores_text(read(root, "src/storage/s3/known_stores.cpp"))
    if page.partition(BEGIN_STORES)[2].partition(END_STORES)[0] != made:
        yield ("the stores in docs/s3-stores.md are not those of known_stores.cpp: run check_docs.py "
               "--write SOURCE_ROOT")


def write(root, libraries):
    made = {"docs/ratios.svg": plot(read(root, "README.md"))}
    page = read(root, "docs/s3-stores.md")
    made["docs/s3-stores.md"] = (
        page.partition(BEGIN_STORES)[0] + BEGIN_STORES +
        stores_text(read(root, "src/storage/s3/known_stores.cpp")) + END_STORES +
        page.partition(END_STORES)[2])
    for library in libraries:
        before, _, behind = around_settings(read(root, "docs/settings.md"))
        made["docs/settings.md"] = before + BEGIN + settings_text(ctypes.CDLL(library)) + END + behind
    for path, text in made.items():
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)
    return 0


# ---- Code ----

def blocks(text, *languages):
    """(language, code) of each block of those languages."""
    return re.findall(rf"^```({'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def compile_c(root, language, code, compiler):
    suffix, standard = ("cpp", "-std=c++20") if language == "cpp" else ("c", "-std=c99")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"page.{suffix}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(code)
        done = subprocess.run([*compiler, "-x", "c++" if language == "cpp" else "c", standard, "-Wall",
                               "-Wextra", "-Werror", "-fsyntax-only", f"-I{root}/include",
                               f"-I{root}/capi", path], capture_output=True, text=True)
        return done.stderr if done.returncode else ""


def compile_rust(root, code):
    if not shutil.which("rustc"):
        print("SKIPPED: Rust in pages: rustc is not installed")
        return ""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "page.rs"), "w", encoding="utf-8") as file:
            file.write(code)
        rustc = ["rustc", "--edition", "2021", "--emit=metadata", "--out-dir", folder]
        crate = os.path.join(root, "capi/rust/src/lib.rs")
        done = subprocess.run([*rustc, "--crate-type=rlib", "--crate-name=libstreamer", crate],
                              capture_output=True, text=True)
        if done.returncode == 0:
            extern = f"libstreamer={folder}/liblibstreamer.rmeta"
            done = subprocess.run([*rustc, "--extern", extern, os.path.join(folder, "page.rs")],
                                  capture_output=True, text=True)
        return done.stderr if done.returncode else ""


def compile_go(root, code):
    if not shutil.which("go"):
        print("SKIPPED: Go in pages: go is not installed")
        return ""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "page.go"), "w", encoding="utf-8") as file:
            file.write(code)
        with open(os.path.join(folder, "go.mod"), "w", encoding="utf-8") as file:
            file.write("module page\n\ngo 1.19\n\nrequire libstreamer/capi v0.0.0\n\n"
                       f"replace libstreamer/capi => {os.path.abspath(root)}/capi\n")
        environment = {**os.environ, "GOFLAGS": "", "GO111MODULE": "on", "GOPROXY": "off",
                       "GOTOOLCHAIN": "local"}
        environment.setdefault("GOCACHE", os.path.join(folder, "cache"))
        done = subprocess.run(["go", "vet", "."], cwd=folder, env=environment, capture_output=True,
                              text=True)
        return done.stderr if done.returncode else ""


def compile_python(code):
    try:
        # A page may show what is inside of a coroutine.
        compile(code, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return f"{error}\n{code}"
    return ""


def check_code(root, all_pages, compiler):
    seen = set()
    for path, text in all_pages.items():
        for language, code in blocks(text, "cpp", "c", "rust", "go", "python"):
            seen.add(language)
            wrong = (compile_python(code) if language == "python" else
                     compile_rust(root, code) if language == "rust" else
                     compile_go(root, code) if language == "go" else
                     compile_c(root, language, code, compiler))
            if wrong:
                yield f"{path}: {wrong}"
    if seen != {"cpp", "c", "rust", "go", "python"}:
        yield f"no page has an example in each language, only in {sorted(seen)}"


# ---- Links ----

def anchors(text):
    """Of its headings, as code hosts and mkdocs make them."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", plain, re.MULTILINE)]


def check_headings(all_pages):
    """A link reaches only the first of two headings that are the same."""
    for path, text in all_pages.items():
        for anchor, count in collections.Counter(anchors(text)).items():
            if count > 1:
                yield f"{path} has {count} headings #{anchor}: a part of the page is in it twice"


def check_links(root, all_pages):
    for path, text in all_pages.items():
        plain = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", plain):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            where = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            if not os.path.exists(os.path.join(root, where)):
                yield f"{path}: there is no {target}"
            elif anchor and anchor not in anchors(all_pages.get(where, "")):
                yield f"{path}: {where} has no heading #{anchor}"


# ---- The front page ----

def check_readme(root, readme):
    lines = len(readme.splitlines())
    if lines > MOST_LINES_OF_README:
        yield f"README.md has {lines} lines; more than {MOST_LINES_OF_README} belong into docs/"
    commands = [line.split(" ")[0] for _, code in blocks(readme, "sh") for line in code.splitlines()]
    if commands[:2] != FIRST_COMMANDS:
        yield f"the README's first two commands are {commands[:2]}, not {FIRST_COMMANDS}"
    if plot(readme) != read(root, "docs/ratios.svg"):
        yield "docs/ratios.svg is not the README's table: run check_docs.py --write SOURCE_ROOT"


def check(root, arguments):
    all_pages = pages(root)
    yield from check_headings(all_pages)
    yield from check_links(root, all_pages)
    yield from check_readme(root, all_pages["README.md"])
    yield from check_stores(root)
    for page, header in SHOWN.items():
        code = read(root, header).split("namespace streamer::core {\n\n")[1]
        code = code.split("\n}  // namespace")[0]
        if code not in all_pages[page]:
            yield f"the code in {page} is not that of {header}"
    if not arguments:
        return
    library, *compiler = arguments
    if around_settings(all_pages["docs/settings.md"])[1] != settings_text(ctypes.CDLL(library)):
        yield ("the settings in docs/settings.md are not the library's: run check_docs.py --write "
               "SOURCE_ROOT LIBRARY")
    yield from check_code(root, all_pages, compiler)


def self_test():
    pages_of = {"README.md": "# A b\n[x](docs/y.md#c-d) [z](#a-b)", "docs/y.md": "## `C` d\n"}
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(os.path.join(root, "docs"))
        for path, text in pages_of.items():
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        assert not list(check_headings(pages_of)) and not list(check_links(root, pages_of))
        assert len(list(check_headings({"a.md": "# A\n## B\n## b\n```sh\n# A\n```\n"}))) == 1
        for bad in ("[x](docs/n.md)", "[x](docs/y.md#e)", "[x](#e)"):
            assert len(list(check_links(root, {**pages_of, "README.md": bad}))) == 1, bad
        with open(os.path.join(root, "docs/ratios.svg"), "w", encoding="utf-8") as file:
            file.write(plot("| a | 0.50 | b |\n"))
        good = "```sh\n./examples/quickstart.sh  # x\n./tests/run.sh\n```\n| a | 0.50 | b |\n"
        assert not list(check_readme(root, good))
        for bad in (good + "\n" * 150, good.replace("./tests", "tests"), good.replace("0.50", "0.90")):
            assert len(list(check_readme(root, bad))) == 1, bad
    rows = stores_of('KnownStore{.name = "A",\n  .advice =\n  "b \\"c\\" "\n "d"},\n'
                     'KnownStore{.name = "E"},\n')
    assert rows == [{"name": "A", "advice": 'b "c" d'}, {"name": "E"}], rows
    assert not compile_python("await x\n") and compile_python("for x in y\n")


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    if sys.argv[1] == "--write":
        return write(sys.argv[2], sys.argv[3:])
    wrong = list(check(sys.argv[1], sys.argv[2:]))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
