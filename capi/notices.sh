#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# notices.sh OUTPUT LICENCE...: the licences of what a self-contained library holds, in one text.
set -eu

output=$1
shift
{
  echo "libstreamer is licensed under the Apache License 2.0. This build of it contains other works"
  echo "under the licences below; and libstdc++ and libgcc of GCC, under the GNU General Public"
  echo "License version 3 with the GCC Runtime Library Exception version 3.1."
  for licence in "$@"; do
    folder=$(basename "$(dirname "$licence")")
    printf '\n==== %s\n\n' "$folder"
    cat "$licence"
  done
} >"$output"
