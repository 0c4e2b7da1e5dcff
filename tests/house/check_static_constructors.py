#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing of ours runs when the library is loaded: check_static_constructors.py LIBRARY"""
import subprocess
import sys


def main():
    lines = subprocess.run(["nm", "-C", sys.argv[1]], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    wrong = [line for line in lines
             if "_GLOBAL__sub_I" in line or "global constructors keyed" in line
             or "__static_initialization_and_destruction" in line]
    print("\n".join(wrong))
    return 1 if wrong or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
