# SPDX-License-Identifier: Apache-2.0
"""Errors of libstreamer as those who know the original expect them: ValueError, with its first words
and then ours: what happened, where, and what to do."""
import re

import libstreamer

FILE_ACCESS, END_OF_FILE, INVALID, UNKNOWN = 2, 3, 7, 11
_TEXTS = {FILE_ACCESS: b"File access error", END_OF_FILE: b"End of file reached",
          INVALID: b"Invalid request parameters", UNKNOWN: b"Unknown Error"}


def code_of(error):
    """The original's response code."""
    if error.message.startswith("RangeBeyondEnd"):
        return END_OF_FILE
    if isinstance(error, libstreamer.ObjectChangedError):
        return END_OF_FILE if "ends at byte" in error.message else FILE_ACCESS
    if isinstance(error, (libstreamer.NotFoundError, libstreamer.AccessError,
                          libstreamer.ReadError)):
        return FILE_ACCESS
    if isinstance(error, libstreamer.InvalidArgumentError):
        # Of an object it is a folder or a device; of none, a setting.
        return FILE_ACCESS if error.uri else INVALID
    return UNKNOWN


def response_error(error):
    """For a failure of reading."""
    code = code_of(error)
    if code == INVALID:
        return request_error(error)
    return ValueError(f"Could not receive response from libstreamer due to: {_TEXTS[code]!r}: {error}")


def request_error(why):
    """For a request that cannot be."""
    return ValueError(f"Could not send runai_request to libstreamer due to: {_TEXTS[INVALID]!r}: {why}")


def listing_error(error):
    """For a failure of FileStreamer.list_files()."""
    code = code_of(error)
    return ValueError("runai_list_files failed: "
                      f"{_TEXTS[FILE_ACCESS if code == INVALID else code]!r}: {error}")


def header_error(error):
    """For a failure before any byte of a tensor comes."""
    if not isinstance(error, libstreamer.CorruptError):
        return response_error(error)
    words = _words_with_sums(error)
    if words:
        return ValueError(f"{words}: {error}")
    for pattern, words in _HEADER_WORDS:
        found = re.search(pattern, error.message, re.DOTALL)
        if found:
            return ValueError(f"{words.format(path=error.uri, **found.groupdict())}: {error}")
    return ValueError(f"Corrupted File: {error}")


_CUT_SHORT = f"Could not receive response from libstreamer due to: {_TEXTS[END_OF_FILE]!r}"
_NAME = r'tensor "(?P<name>.*?)"(?=: )'
_OFFSETS = _NAME + r": data_offsets are \[(?P<begin>\d+), (?P<end>\d+)\), and the tensors before it " \
    r"end at (?P<expected>\d+)"
# What of our message says which of the original's words are meant; the first that fits.
_HEADER_WORDS = (
    (r"^HeaderTooLarge: the header claims (?P<size>\d+) bytes but may have at most (?P<most>\d+)",
     "Corrupted File: Header size {size} in {path} exceeds limit of {most} bytes"),
    ("^(HeaderTooSmall|InvalidHeaderLength|IncompleteHeader):", _CUT_SHORT),
    ("^InvalidHeader:", "Corrupted File: Header in {path} is not valid UTF-8"),
    (_NAME + r': dtype "(?P<dtype>.*?)" is unknown',
     "Unsupported dtype '{dtype}' in tensor '{name}'"),
    (_NAME + ": (?P<field>dtype|shape|data_offsets) is missing",
     "Corrupted Header: Tensor '{name}' missing {field}"),
    ("^InvalidHeaderDeserialization: " + _NAME, "Corrupted Header: Tensor '{name}'"),
    ("^(InvalidHeaderDeserialization|InvalidHeaderStart):",
     "Corrupted File: Header in {path} is not valid JSON. Error"),
    (_NAME + r": shape (?P<shape>\[[\d, ]*\]) of (?P<dtype>\w+) is (?P<claimed>\d+) bytes, but "
     r"data_offsets reserve (?P<reserved>\d+)",
     "Corrupted Tensor '{name}': Shape claims {claimed} bytes ({shape} x {dtype}), but offsets reserve "
     "{reserved} bytes"),
    ("^(MisalignedSlice|ValidationOverflow): " + _NAME, "Corrupted Tensor '{name}'"),
)


def _words_with_sums(error):
    found = re.search(r"the header ends at byte (\d+) and the tensors take (\d+) bytes, but the file "
                      r"has (\d+)", error.message)
    if found:
        header, data, there = map(int, found.groups())
        return (f"Corrupted File: '{error.uri}' is truncated - header declares {header + data} total "
                f"bytes but the file is only {there} bytes")
    found = re.search(_OFFSETS, error.message)
    if not found:
        return None
    name = found["name"]
    begin, end, expected = int(found["begin"]), int(found["end"]), int(found["expected"])
    if begin > end:
        return f"Corrupted Offset: Tensor '{name}' start ({begin}) > end ({end})"
    if begin < expected:
        return (f"Corrupted File: Tensor before '{name}' overlaps with next tensor. (Ends at "
                f"{expected}, next starts at {begin})")
    if expected == 0:
        return (f"Corrupted File: Tensor '{name}' does not start at the beginning of the data section "
                f"(starts at {begin})")
    return (f"Corrupted File: Gaps between tensors are not allowed. The one before '{name}' ends at "
            f"{expected}, but next tensor starts at {begin}")
