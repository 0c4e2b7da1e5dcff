# SPDX-License-Identifier: Apache-2.0
"""The original's variables, with the original's patience: numbers out of bounds are brought within
them, with one warning, and what is meant for stores says nothing where files are read."""
import logging
import os
from typing import Any, Dict, Optional, Set, Tuple

from libstreamer.settings import all_settings

logger = logging.getLogger(__name__)

# Setting, variable, the least that the original takes, our bounds, and the factor between the two. The
# original refuses what is none of these when it starts.
_NUMBERS = (
    ("concurrency", "RUNAI_STREAMER_CONCURRENCY", 1, 1, 1024, 1),
    ("debug.connections", "RUNAI_STREAMER_OBJ_CONCURRENCY", 1, 1, 1024, 1),
    ("debug.chunk_bytes", "RUNAI_STREAMER_CHUNK_BYTESIZE", 1, 2 << 20, 1 << 30, 1),
    ("progress_timeout_ms", "RUNAI_STREAMER_S3_TIMEOUT", 0, 1, 86_400, 1000),
)
# These it looks at where a store is read, and what is no number is told by the library then. A later
# row of the same setting wins; 0 is as if it were not set.
_NUMBERS_OF_STORES = (
    ("debug.connections", "RUNAI_STREAMER_S3_MAX_CONNECTIONS", None, 1, 1024, 1),
    ("debug.target_gbps", "RUNAI_STREAMER_S3_TARGET_GBPS", None, 1, 1000, 1),
    ("stall_timeout_ms", "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS", None, 1, 600_000, 1),
)
_STRATEGIES = {"io_uring_direct": "direct", "libaio_direct": "direct", "io_uring_buffered": "buffered",
               "sync_buffered": "buffered"}
_MOST_ALIGNMENT = 1 << 20
_OF_STORES = [row for row in all_settings()
              if row["compatible_variable"].startswith(("RUNAI_STREAMER_S3_", "RUNAI_STREAMER_GCS_"))]
_OWN_VARIABLES = {row["name"]: row["variable"] for row in all_settings()}
_DEFAULTS = {row["name"]: row["default_value"] for row in all_settings()}

_warned: Set[Tuple[str, str]] = set()


def check_environment() -> None:
    """ValueError for what the original refuses when it starts."""
    for row in _NUMBERS:
        _take({}, *row)


def settings_by_environment(is_remote: bool) -> Dict[str, Any]:
    """Settings of libstreamer, for files or for stores."""
    values: Dict[str, Any] = {}
    for row in _NUMBERS:
        _take(values, *row)
    _take_alignment(values)
    if is_remote:
        for row in _NUMBERS_OF_STORES:
            _take(values, *row)
    else:
        _take_strategy(values)
        for known in _OF_STORES:
            if os.environ.get(known["compatible_variable"]) and not os.environ.get(known["variable"]):
                values[known["name"]] = known["default_value"]
    values.update(settings_of_ranks())
    return values


def settings_of_ranks() -> Dict[str, Any]:
    """What holds for those that share a load."""
    if os.environ.get("RUNAI_STREAMER_PARTITION_POLICY") == "spans":
        return {"debug.distributed_partition": "chunks"}  # even, and what follows each other together
    return {}


def _take(values, setting, variable, least, lowest, highest, factor):
    text = os.environ.get(variable)
    # Ours goes before, as everywhere.
    if text is None or os.environ.get(_OWN_VARIABLES[setting]):
        return
    number = _number(text)
    if number is None and least is None:
        return
    if number is None or number < (least or 0):
        raise ValueError("Could not open streamer in libstreamer due to: b'Invalid request "
                         f"parameters': {variable} is {text!r}; it may be a number from {least} on")
    within = min(max(number, lowest), highest) if number else 0
    if within != number and (variable, text) not in _warned:
        _warned.add((variable, text))
        logger.warning("[RunAI Streamer] %s is %s, which is taken as %d", variable, text, within)
    values[setting] = within * factor if within else _DEFAULTS[setting]


def _take_strategy(values):
    """RUNAI_STREAMER_FS_STRATEGY: its first name says whether reads go past the page cache."""
    text = os.environ.get("RUNAI_STREAMER_FS_STRATEGY")
    if text is None or os.environ.get(_OWN_VARIABLES["file_io"]):
        return
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) != len(names) or not set(names) <= set(_STRATEGIES):
        raise ValueError("Could not send runai_request to libstreamer due to: b'Invalid request "
                         f"parameters': RUNAI_STREAMER_FS_STRATEGY is {text!r}; it may be a list of "
                         f"{', '.join(_STRATEGIES)}")
    values["file_io"] = _STRATEGIES[names[0]]


def _take_alignment(values):
    """RUNAI_STREAMER_CUDA_ALIGNMENT: of the original only ranks that share a load look at it, and
    DistributedStreamer refuses what it cannot be."""
    text = os.environ.get("RUNAI_STREAMER_CUDA_ALIGNMENT")
    if not text or os.environ.get(_OWN_VARIABLES["debug.device_alignment"]):
        return
    number = _number(text)
    if number is None or number > _MOST_ALIGNMENT:
        values["debug.device_alignment"] = _DEFAULTS["debug.device_alignment"]
    else:
        values["debug.device_alignment"] = 1 << (number - 1).bit_length() if number else 0


def _number(text: str) -> Optional[int]:
    digits = text.lstrip()
    return int(digits) if digits.isascii() and digits.isdigit() else None
