# SPDX-License-Identifier: Apache-2.0
"""What is asked of a FileStreamer, and how much memory it may take."""
import enum
import logging
import operator
import os
from typing import List, NamedTuple, Optional, Union

logger = logging.getLogger(__name__)

RUNAI_STREAMER_MEMORY_LIMIT_ENV_VAR_NAME = "RUNAI_STREAMER_MEMORY_LIMIT"
DEFAULT_MEMORY_LIMIT_STRING = "40000000000"
# Of the original's ring of buffers; ours is one window, and these two say nothing.
RUNAI_STREAMER_RING_BUFFERS_ENV_VAR_NAME = "RUNAI_STREAMER_RING_BUFFERS"
DEFAULT_RING_BUFFERS = 18
RUNAI_STREAMER_MAX_PADS_PER_BUFFER_ENV_VAR_NAME = "RUNAI_STREAMER_MAX_PADS_PER_BUFFER"
DEFAULT_MAX_PADS_PER_BUFFER = 1024
DIRECT_IO_BLOCK = os.sysconf("SC_PAGESIZE")


class RunaiStreamerMemoryLimitException(Exception):
    """The limit is below what must be in memory at once."""


class MemoryCapMode(enum.Enum):
    """How RUNAI_STREAMER_MEMORY_LIMIT is to be read."""

    unlimited = 1
    limited = 2
    largest_chunk = 3


def _get_memory_mode(memory_limit):
    if memory_limit == -1:
        return MemoryCapMode.unlimited
    return MemoryCapMode.largest_chunk if memory_limit == 0 else MemoryCapMode.limited


class MemoryLimit:
    """-1 unlimited, 0 the largest chunk, else bytes."""

    def __init__(self, given: Optional[int] = None):
        """given: None is RUNAI_STREAMER_MEMORY_LIMIT as it is now."""
        if given is not None:
            self.bytes = operator.index(given)
        else:
            self.bytes = int(os.environ.get(RUNAI_STREAMER_MEMORY_LIMIT_ENV_VAR_NAME,
                                            DEFAULT_MEMORY_LIMIT_STRING))
        self.mode = _get_memory_mode(self.bytes)

    def share(self, count: int, least: int) -> None:
        """One of count shares, but not less than that."""
        if self.mode == MemoryCapMode.limited and self.bytes > 0:
            self.bytes = max(self.bytes // max(count, 1), least)

    def check(self, largest: int) -> None:
        """What must be in memory at once is within the limit."""
        if self.mode == MemoryCapMode.limited and self.bytes < largest:
            raise RunaiStreamerMemoryLimitException(
                f"Memory limit supplied: {self.bytes} cannot be smaller than: {largest}")

    def window(self, total: int, largest: int) -> Union[str, int]:
        """libstreamer's memory_limit for chunks of `total` bytes in all: "unlimited" if all of them
        fit, so that nothing has to be copied out of the way."""
        if self.mode == MemoryCapMode.largest_chunk:
            return "unlimited" if total <= largest else max(largest, 1)
        if self.mode == MemoryCapMode.unlimited or total <= self.bytes:
            return "unlimited"
        return self.bytes


class Window(NamedTuple):
    """The memory that a request streams through, in the words of the original's ring."""

    num_buffers: int
    buffer_size: int


# What FileStreamer.requests_iterator is of, by the original's name.
FilesRequestsIteratorWithBuffer = Window


class FileChunks:
    """Ranges of one file: sizes[i] bytes from offsets[i] on. With one offset, as the original had it
    before 0.16, they follow each other."""

    def __init__(self, id: int, path: str,
                 offsets: Union[int, List[int]], sizes: List[int]):
        self.id = id
        self.path = path
        self.sizes = list(sizes)
        if isinstance(offsets, int):
            begin, self.offsets = offsets, []
            for size in self.sizes:
                self.offsets.append(begin)
                begin += size
        else:
            self.offsets = list(offsets)
            if len(self.offsets) != len(self.sizes):
                raise ValueError(f"offsets ({len(self.offsets)}) and sizes ({len(self.sizes)}) must "
                                 "be parallel")

    @staticmethod
    def contiguous(id: int, path: str, offset: int, sizes: List[int]) -> "FileChunks":
        """Ranges that follow each other."""
        return FileChunks(id, path, offset, sizes)

    @property
    def offset(self) -> int:
        """Of the first range."""
        return self.offsets[0] if self.offsets else 0

    @property
    def chunks(self) -> List[int]:
        """The sizes."""
        return self.sizes

    def total_size(self) -> int:
        """Of all ranges together."""
        return sum(self.sizes)

    def max_chunk_size(self) -> int:
        """Of the largest range."""
        return max(self.sizes, default=0)

    def __repr__(self) -> str:
        return (f"FileChunks(id='{self.id}', path='{self.path}', num_ranges={len(self.sizes)}, "
                f"total_size={self.total_size()})")


def human_bytes(size: float) -> str:
    """As the log has it: "1.0 GiB"."""
    units = ["Bytes", "KiB", "MiB", "GiB", "TiB"]
    unit = 0
    while size >= 1024 and unit + 1 < len(units):
        size, unit = size / 1024, unit + 1
    if unit:
        return f"{size:.1f} {units[unit]}"
    return "1 Byte" if int(size) == 1 else f"{int(size)} Bytes"


def in_words(window: Window) -> str:
    """As the log has it: "1 x 2.0 KiB = 2.0 KiB"."""
    return (f"{window.num_buffers} x {human_bytes(window.buffer_size)} = "
            f"{human_bytes(window.num_buffers * window.buffer_size)}")


def log_buffer(window: Window, paths: List[str]) -> None:
    """How much memory files are streamed through."""
    logger.debug("[RunAI Streamer] CPU ring: %s for files: %s", in_words(window), paths)
