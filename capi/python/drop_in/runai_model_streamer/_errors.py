# SPDX-License-Identifier: Apache-2.0
"""Errors of libstreamer as those who know the original expect them: ValueError, with its words and
then ours."""
import re

import libstreamer

# Our rule to the original's words for the header's faults.
_HEADER_WORDS = (
    ("HeaderTooLarge", "header length exceeds limit"),
    ("HeaderTooSmall", "End of file reached"),
    ("InvalidHeaderLength", "End of file reached"),
    ("IncompleteHeader", "End of file reached"),
    ("InvalidHeader:", "header is not valid UTF-8"),
    ("InvalidHeaderStart", "header is not valid JSON"),
    ("InvalidHeaderDeserialization", "header is not valid JSON"),
    ("MetadataIncompleteBuffer", "End of file reached"),
)

FILE_ACCESS, END_OF_FILE, UNKNOWN = 2, 3, 11
_TEXTS = {FILE_ACCESS: "File access error", END_OF_FILE: "End of file reached",
          UNKNOWN: "Unknown Error"}


def code_of(error):
    """The original's response code."""
    if isinstance(error, libstreamer.ObjectChangedError):
        return END_OF_FILE if "ends at byte" in error.message else FILE_ACCESS
    if isinstance(error, (libstreamer.NotFoundError, libstreamer.AccessError,
                          libstreamer.ReadError)):
        return FILE_ACCESS
    return UNKNOWN


def response_error(error):
    """For a failure while bytes come."""
    text = _TEXTS[code_of(error)].encode()
    return ValueError(f"Could not receive runai_response from libstreamer due to: {text!r}: {error}")


def header_error(error):
    """For a failure before any byte comes."""
    if not isinstance(error, libstreamer.CorruptError):
        return response_error(error)
    for rule, words in _HEADER_WORDS:
        if error.message.startswith(rule):
            if words == "End of file reached":
                return ValueError("Could not receive runai_response from libstreamer due to: "
                                  f"{words.encode()!r}: {error}")
            return ValueError(f"{words}: {error}")
    mismatch = re.search(r"is (\d+) bytes, but data_offsets reserve (\d+)", error.message)
    if mismatch:
        return ValueError(f"Shape claims {mismatch[1]} bytes, but offsets reserve {mismatch[2]} "
                          f"bytes: {error}")
    offsets = re.search(r"data_offsets are \[(\d+), \d+\), and the tensors before it end at (\d+)",
                        error.message)
    if offsets and int(offsets[1]) < int(offsets[2]):
        return ValueError(f"a tensor overlaps with next tensor: {error}")
    if offsets:
        return ValueError(f"Gaps between tensors: {error}")
    return ValueError(str(error))
