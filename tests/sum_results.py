#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up meson's test logs: the last line is "N passed, N failed, N skipped"; the exit code says
whether some failed. What was skipped is listed with its reason: whole tests, which end with 77, and
cases within one, of Catch2 (see skip() in support/catch.hpp) and of unittest."""
import json
import re
import sys

SKIPPED_CASES = (
    re.compile(r"^SKIPPED: (?P<case>.+?): (?P<reason>.+)$", re.M),
    re.compile(r"^(?P<case>\S+) \(.*\)(?:\n.*)? \.\.\. skipped "
               r"(?P<quote>['\"])(?P<reason>.*)(?P=quote)$", re.M),
)


def skipped_cases(test):
    """(case, reason) of each case that a test says it left out."""
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    return [(found["case"], found["reason"]) for pattern in SKIPPED_CASES
            for found in pattern.finditer(text)]


def add_up(tests):
    """How many passed; a line for each that failed, and for each that was skipped."""
    passed, failed, skipped = 0, [], []
    for test in tests:
        cases = skipped_cases(test)
        skipped += [f"{test['name']}: {case}: {reason}" for case, reason in cases]
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif test["result"] == "SKIP":
            if not cases:
                skipped.append(f"{test['name']}: all of it, without a reason")
        else:
            failed.append(f"{test['name']}: {test['result']}")
    return passed, failed, skipped


def read(path):
    with open(path, encoding="utf-8") as log:
        return [json.loads(line) for line in log]


def self_test():
    passed, failed, skipped = add_up([
        {"name": "a", "result": "OK", "stdout": "SKIPPED: root reads: root may read: all\nok\n"},
        {"name": "b", "result": "SKIP", "stdout": "SKIPPED: one: no device\n"},
        {"name": "c", "result": "SKIP", "stdout": ""},
        {"name": "d", "result": "TIMEOUT"},
        {"name": "e", "result": "OK",
         "stderr": "test_x (__main__.T.test_x)\nWhat it says. ... skipped 'no gloo'\n"
                   "test_y (__main__.T.test_y) ... skipped \"it's off\"\n"},
    ])
    assert passed == 2 and failed == ["d: TIMEOUT"], (passed, failed)
    assert skipped == ["a: root reads: root may read: all", "b: one: no device",
                       "c: all of it, without a reason", "e: test_x: no gloo",
                       "e: test_y: it's off"], skipped


def main():
    tests = [test for path in sys.argv[1:] for test in read(path)]
    passed, failed, skipped = add_up(tests)
    for line in skipped:
        print("skipped:", line)
    for line in failed:
        print("failed:", line)
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        sys.exit(main())
