#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No unit includes itself by way of others: check_circles.py SOURCE_ROOT | --self-test

A unit is name.hpp and name.cpp together, so that two headers that do not include each other, but
whose sources do, are a circle too."""
import os
import sys

from check_rooms import includes_of

TOPS = ("src", "capi", "include")
SUFFIXES = (".cpp", ".hpp", ".h", ".inc", ".c")


def unit_of(path):
    """src/engine/plan.hpp and src/engine/plan.cpp -> engine/plan."""
    parts = os.path.splitext(path)[0].split("/")
    return "/".join(parts[1:] if parts[0] in ("src", "include") else parts)


def graph_of(files):
    """files: {path: text}; -> {unit: units that it includes}."""
    units = {unit_of(path) for path in files}
    graph = {unit: set() for unit in units}
    for path, text in files.items():
        for include in includes_of(text):
            beside = os.path.join(os.path.dirname(path), include)
            for target in ("src/" + include, "include/" + include, beside):
                if target in files and unit_of(target) != unit_of(path):
                    graph[unit_of(path)].add(unit_of(target))
    return graph


def circles(graph):
    """The groups of units that reach each other (Tarjan), each sorted."""
    number, low, stack, found = {}, {}, [], []

    def visit(unit):
        number[unit] = low[unit] = len(number)
        stack.append(unit)
        for target in sorted(graph[unit]):
            if target not in number:
                visit(target)
            if target in stack:
                low[unit] = min(low[unit], low[target])
        if low[unit] == number[unit]:
            group = stack[stack.index(unit):]
            del stack[stack.index(unit):]
            if len(group) > 1:
                found.append(sorted(group))

    for unit in sorted(graph):
        if unit not in number:
            visit(unit)
    return found


def read_tree(root):
    files = {}
    for top in TOPS:
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if name.endswith(SUFFIXES):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        files[os.path.relpath(path, root)] = file.read()
    return files


def self_test():
    bad = [
        {"src/a/x.hpp": '#include "a/y.hpp"', "src/a/y.hpp": '#include "a/x.hpp"'},
        {"src/a/x.hpp": "", "src/a/x.cpp": '#include "a/x.hpp"\n#include "a/y.hpp"',
         "src/a/y.hpp": '#include "a/x.hpp"'},
        {"src/a/x.cpp": '#include "b/y.hpp"', "src/b/y.cpp": '#include "c/z.hpp"',
         "src/b/y.hpp": "", "src/c/z.hpp": '#include "a/x.hpp"', "src/a/x.hpp": ""},
        {"include/streamer/x.hpp": '#include "y.hpp"', "include/streamer/y.hpp": '#include "x.hpp"'},
    ]
    good = [
        {"src/a/x.cpp": '#include "a/x.hpp"', "src/a/x.hpp": '#include "a/y.hpp"', "src/a/y.hpp": ""},
        {"src/a/x.hpp": '#include "b/x.hpp"', "src/b/x.hpp": "#include <x.hpp>"},
    ]
    for files in bad:
        assert circles(graph_of(files)), files
    for files in good:
        assert not circles(graph_of(files)), files


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    graph = graph_of(read_tree(sys.argv[1]))
    assert len(graph) > 100, len(graph)
    found = circles(graph)
    for group in found:
        print("these units form a circle of includes: " + ", ".join(group))
    # Sources land their bytes, and know nothing of the load that they do it for.
    wrong = [unit for unit in sorted(graph) if "engine/load" in graph[unit] and
             unit.startswith("engine/")]
    print("\n".join(f"{unit} includes engine/load.hpp; in the engine nobody does" for unit in wrong))
    return 1 if found or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
