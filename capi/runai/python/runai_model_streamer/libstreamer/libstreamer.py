# SPDX-License-Identifier: Apache-2.0
"""The native functions as the Run:ai Model Streamer 0.17 wraps them: many submissions at once, each
range with a place of its own. What a code cannot say of a failure is a line on stderr."""
import ctypes
import logging
from typing import Callable, List, Optional, Tuple

from runai_model_streamer.libstreamer import (RUNAI_FILE_STREAMER_DEVICE_CPU,
                                              RunaiFileStreamerDevice, dll, t_streamer)
from runai_model_streamer.s3_utils.s3_utils import S3Credentials

log = logging.getLogger(__name__)

SUCCESS_ERROR_CODE = 0
FINISHED_ERROR_CODE = 1
FILE_ACCESS_ERROR_CODE = 2
TIMED_OUT_ERROR_CODE = 16

UINT32_LIMIT = 1 << 32
UINT64_LIMIT = 1 << 64


def runai_start() -> t_streamer:
    """A new handle."""
    streamer = t_streamer(0)
    _check(dll.fn_runai_start(ctypes.byref(streamer)), "Could not open streamer in libstreamer due to")
    return streamer


def runai_end(streamer: Optional[t_streamer]) -> None:
    """Ends the handle; no destination is written after that."""
    dll.fn_runai_end(streamer)


def runai_set_credentials(streamer: t_streamer,
                          s3_credentials: Optional[S3Credentials] = None) -> None:
    """Once for a handle; the same again does nothing, others are refused."""
    names = ("access_key_id", "secret_access_key", "session_token", "region", "endpoint")
    given = [(name, getattr(s3_credentials, "region_name" if name == "region" else name, None))
             for name in names]
    given = [(name, value) for name, value in given if value is not None]
    _check(dll.fn_runai_set_credentials(streamer, *_texts(name for name, _ in given)[:1],
                                        *_texts(value for _, value in given)),
           "Could not set credentials in libstreamer due to")


def runai_request(streamer: t_streamer, paths: List[str], num_ranges: List[int],
                  range_offsets: List[int], range_sizes: List[int], range_dsts: List[int]) -> int:
    """Starts to read num_ranges[i] ranges of each file, one behind the other in the three lists, to
    the addresses in range_dsts. Returns the number of the submission.

    The caller keeps the memory alive until the submission's last response, or runai_end().
    """
    if len(num_ranges) != len(paths):
        raise ValueError(f"num_ranges has {len(num_ranges)} entries but there are {len(paths)} paths")
    count = len(range_sizes)
    if not len(range_offsets) == len(range_dsts) == count:
        raise ValueError(f"range_offsets ({len(range_offsets)}), range_sizes ({count}) and range_dsts "
                         f"({len(range_dsts)}) must be parallel")
    # ctypes would wrap them around.
    _check_numbers("num_ranges value", num_ranges, UINT32_LIMIT, "fit an unsigned 32-bit integer")
    if sum(num_ranges) != count:
        raise ValueError(f"sum(num_ranges) is {sum(num_ranges)} but the range arrays hold {count} "
                         "entries")
    _check_numbers("range size", range_sizes, UINT64_LIMIT, "fit an unsigned 64-bit integer")
    _check_numbers("range offset", range_offsets, UINT64_LIMIT, "fit an unsigned 64-bit integer")
    _check_numbers("range destination", range_dsts, UINT64_LIMIT, "be a valid address")
    submission = ctypes.c_uint64()
    _check(dll.fn_runai_request(
        streamer, ctypes.byref(submission), len(paths), _texts(paths)[0],
        (ctypes.c_uint32 * len(paths))(*num_ranges), (ctypes.c_size_t * count)(*range_offsets),
        (ctypes.c_size_t * count)(*range_sizes), (ctypes.c_void_p * count)(*range_dsts),
        RunaiFileStreamerDevice(RUNAI_FILE_STREAMER_DEVICE_CPU, 0)),
        "Could not send runai_request to libstreamer due to")
    return submission.value


def runai_response(streamer: t_streamer,
                   timeout_ms: int = 0) -> Optional[Tuple[int, int, int, int, bool]]:
    """(code, submission, file, range in it, whether it was the submission's last) of the next range
    that is there or failed. None if none is to come; TimeoutError after timeout_ms, if not 0."""
    submission, file_index, index = ctypes.c_uint64(), ctypes.c_uint32(), ctypes.c_uint32()
    is_last = ctypes.c_int()
    code = dll.fn_runai_response(streamer, ctypes.byref(submission), ctypes.byref(file_index),
                                 ctypes.byref(index), ctypes.byref(is_last), timeout_ms)
    if code == FINISHED_ERROR_CODE:
        return None
    if code == TIMED_OUT_ERROR_CODE:
        raise TimeoutError(f"runai_response timed out after {timeout_ms} ms")
    return code, submission.value, file_index.value, index.value, bool(is_last.value)


def runai_response_str(response_code: int) -> bytes:
    """The code's text."""
    return dll.fn_runai_response_str(response_code)


def runai_probe_direct_block_size(streamer: t_streamer, paths: List[str]) -> int:
    """What destinations had best be congruent to, modulo which their offsets are."""
    block = ctypes.c_size_t(0)
    code = dll.fn_runai_probe_direct_block_size(streamer, *_texts(paths), ctypes.byref(block))
    if code != SUCCESS_ERROR_CODE:
        log.debug("[RunAI Streamer] no file to measure: %s; the block is %d bytes",
                  runai_response_str(code), block.value)
    if block.value == 0:
        raise RuntimeError(f"the block of {len(paths)} paths is 0 bytes: {runai_response_str(code)}")
    return block.value


def runai_list_files(streamer: t_streamer, prefix: str, callback: Callable[[str, int], None],
                     is_recursive: bool = True, allow_patterns: Optional[List[str]] = None,
                     ignore_patterns: Optional[List[str]] = None) -> None:
    """Calls callback with the path and the size of each file under prefix. What it raises is raised
    at the end."""
    raised: List[BaseException] = []

    def take(path: bytes, size: int, _: None) -> None:
        if raised:
            return
        try:
            callback(path.decode(), size)
        except BaseException as error:  # nothing may be thrown into C
            raised.append(error)

    allow, ignore = _texts(allow_patterns or ()), _texts(ignore_patterns or ())
    code = dll.fn_runai_list_files(streamer, prefix.encode(), int(is_recursive), *allow, *ignore,
                                   dll.RunaiFileListCallback(take), None)
    if raised:
        raise raised[0]
    _check(code, "runai_list_files failed")


def _texts(texts):
    """An array, NULL if it is empty, and how many there are."""
    encoded = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(encoded))(*encoded) if encoded else None, len(encoded)


def _check_numbers(what, numbers, limit, must):
    wrong = next((number for number in numbers if not 0 <= number < limit), None)
    if wrong is not None:
        raise ValueError(f"every {what} must {must}: one is {wrong}")


def _check(code, words):
    if code != SUCCESS_ERROR_CODE:
        raise ValueError(f"{words}: {runai_response_str(code)}")
