# SPDX-License-Identifier: Apache-2.0
"""What is asked of a FileStreamer, and how much memory it may take."""
import enum
import logging
import os
from typing import List, Optional, Union

logger = logging.getLogger(__name__)

RUNAI_STREAMER_MEMORY_LIMIT_ENV_VAR_NAME = "RUNAI_STREAMER_MEMORY_LIMIT"
_DEFAULT_MEMORY_LIMIT = 40_000_000_000


class RunaiStreamerMemoryLimitException(Exception):
    """The limit is below what must be in memory at once."""


class MemoryCapMode(enum.Enum):
    """How RUNAI_STREAMER_MEMORY_LIMIT is to be read."""

    unlimited = 1
    largest_chunk = 2
    limited = 3


class MemoryLimit:
    """RUNAI_STREAMER_MEMORY_LIMIT as it is now: -1 unlimited, 0 the largest chunk, else bytes."""

    def __init__(self, default: Optional[int] = None):
        """default: if the variable is not set; None: that of one process alone."""
        text = os.environ.get(RUNAI_STREAMER_MEMORY_LIMIT_ENV_VAR_NAME)
        usual = _DEFAULT_MEMORY_LIMIT if default is None else default
        self.bytes = usual if text is None else int(text)
        if self.bytes == -1:
            self.mode = MemoryCapMode.unlimited
        elif self.bytes == 0:
            self.mode = MemoryCapMode.largest_chunk
        else:
            self.mode = MemoryCapMode.limited

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
                raise ValueError(f"{len(self.offsets)} offsets for {len(self.sizes)} sizes")

    @classmethod
    def contiguous(cls, id: int, path: str, offset: int,
                   sizes: List[int]) -> "FileChunks":
        """Ranges that follow each other."""
        return cls(id, path, offset, sizes)

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


def human_bytes(size: float) -> str:
    """As the log has it: "1.0 GiB"."""
    units = ["Bytes", "KiB", "MiB", "GiB", "TiB"]
    unit = 0
    while size >= 1024 and unit + 1 < len(units):
        size, unit = size / 1024, unit + 1
    return f"{int(size)} Bytes" if unit == 0 else f"{size:.1f} {units[unit]}"


def log_buffer(size: int, paths: List[str]) -> None:
    """How much memory files are streamed through."""
    logger.debug("[RunAI Streamer] CPU Buffer size: %s for files: %s", human_bytes(size), paths)
