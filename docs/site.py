#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the pages into a site: docs/site.py OUTPUT. Needs mkdocs (pip install mkdocs, or Debian's).

Pages link to each other and to files beside docs/ as they lie in the repository; so the site has the same
layout: README.md is its front page, and files that a page links to are copied."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = (("Home", "README.md"), ("Quickstart", "docs/quickstart.md"), ("The command", "docs/command.md"),
         ("Weights", (("Stores", "docs/stores.md"), ("S3-compatible stores", "docs/s3-stores.md"),
                      ("Hubs", "docs/hub.md"), ("A local cache", "docs/cache.md"),
                      ("Many machines", "docs/many-machines.md"),
                      ("Credentials", "docs/credentials.md"), ("GPUs", "docs/gpus.md"), ("Many ranks", "docs/ranks.md"))),
         ("Engines", (("Engines", "docs/engines.md"), ("Run:ai Model Streamer", "docs/runai.md"),
                      ("Servers", "docs/serving.md"))),
         ("Languages", (("C", "docs/c.md"), ("C++", "docs/cpp.md"), ("Python", "docs/python.md"),
                        ("Rust and Go", "docs/rust-and-go.md"), ("Build and link", "docs/building.md"))),
         ("Tuning", (("Settings", "docs/settings.md"), ("Performance", "docs/performance.md"),
                     ("Comparison", "docs/comparison.md"), ("Measurements", "tests/bench/RESULTS.md"))),
         ("Errors and symptoms", "docs/symptoms.md"),
         ("Development", (("How it works", "ARCHITECTURE.md"), ("How to work on it", "CONTRIBUTING.md"),
                          ("Adding a store", "docs/adding-a-store.md"), ("Changes", "CHANGELOG.md"),
                          ("Security", "SECURITY.md"))))
# The theme gives text two thirds of a screen, and does not break lines in tables.
STYLE = """.wy-nav-content { max-width: 1100px; }
.wy-table-responsive table td, .wy-table-responsive table th { white-space: normal; }
"""
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def targets(page, text):
    """Files that a page links to, relative to the root."""
    for target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        if "://" not in target and not target.startswith("mailto:"):
            yield os.path.normpath(os.path.join(os.path.dirname(page), target))


def collect():
    """Every file of the site: the pages, and what can be reached from them by links."""
    found, todo = set(), ["README.md"]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        if path.endswith(".md"):
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                todo += targets(path, file.read())
    return found


def with_lists(text):
    """mkdocs wants an empty line before a list or a table; code hosts do not, and neither do the pages."""
    lines, is_code = [], False
    for line in text.split("\n"):
        is_code ^= line.startswith("```")
        before = lines[-1] if lines else ""
        for begin, goes_on in ((r"[-*] |\d+\. ", r"[-*] |\d+\. | "), (r"\|", r"\|")):
            if not is_code and before and re.match(begin, line) and not re.match(goes_on, before):
                lines.append("")
        lines.append(line)
    return "\n".join(lines)


def navigation(entries, found, depth=1):
    lines = []
    for title, what in entries:
        if isinstance(what, str):
            if what in found:
                lines.append(f"{'  ' * depth}- \"{title}\": {what}")
        else:
            lines += [f"{'  ' * depth}- \"{title}\":", *navigation(what, found, depth + 1)]
    return lines


def pages_of(entries):
    for _, what in entries:
        yield from [what] if isinstance(what, str) else pages_of(what)


def main():
    output = os.path.abspath(sys.argv[1])
    mkdocs = shutil.which("mkdocs")
    if not mkdocs:
        return "there is no mkdocs: pip install mkdocs"
    found = collect()
    absent = {path for path in found if re.fullmatch(r"docs/\w[\w-]*\.md", path)} - set(pages_of(PAGES))
    if absent:
        return f"no place in the navigation: {', '.join(sorted(absent))}"
    with tempfile.TemporaryDirectory() as folder:
        for path in found:
            if os.path.isfile(os.path.join(ROOT, path)):
                to = os.path.join(folder, "pages", path)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copyfile(os.path.join(ROOT, path), to)
                if path.endswith(".md"):
                    with open(to, "r+", encoding="utf-8") as file:
                        text = with_lists(file.read())
                        file.seek(0)
                        file.write(text)
        with open(os.path.join(folder, "pages", "style.css"), "w", encoding="utf-8") as file:
            file.write(STYLE)
        with open(os.path.join(folder, "mkdocs.yml"), "w", encoding="utf-8") as file:
            file.write("\n".join([
                "site_name: libstreamer", "docs_dir: pages", "use_directory_urls: false",
                "theme: {name: readthedocs, highlightjs: false}", "extra_css: [style.css]",
                "markdown_extensions: [tables, fenced_code, sane_lists, {toc: {permalink: true}}]", "nav:",
                *navigation(PAGES, found), ""]))
        return subprocess.run([mkdocs, "build", "--strict", "--quiet",
                               "--config-file", os.path.join(folder, "mkdocs.yml"), "--site-dir", output],
                              check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
