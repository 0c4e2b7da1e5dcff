#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up meson's test logs: the last line is "N passed, N failed", the exit code says the same."""
import json
import sys


def main():
    passed, failed = 0, []
    for path in sys.argv[1:]:
        with open(path) as log:
            for line in log:
                test = json.loads(line)
                if test["result"] in ("OK", "EXPECTEDFAIL"):
                    passed += 1
                else:  # a test that was skipped has shown nothing
                    failed.append(f"{path}: {test['name']}: {test['result']}")
    for line in failed:
        print(line)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
