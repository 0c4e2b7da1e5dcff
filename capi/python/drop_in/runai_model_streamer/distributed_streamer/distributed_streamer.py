# SPDX-License-Identifier: Apache-2.0
"""DistributedStreamer: one process reads all that it needs itself.

Ranks that share what they read come with distributed streaming; until then every rank streams by
itself, which is what the original does too where it cannot distribute, and no collective is called.
"""
import logging
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from runai_model_streamer.file_streamer.file_streamer import FileStreamer
from runai_model_streamer.file_streamer.requests_iterator import FileChunks

logger = logging.getLogger(__name__)


def _check_wish() -> None:
    wish = os.environ.get("RUNAI_STREAMER_DIST", "auto")
    if wish not in ("0", "1", "auto"):
        raise ValueError(f"Invalid value for RUNAI_STREAMER_DIST: {wish}")


class DistributedStreamer:
    """A FileStreamer that may share its reading with other ranks. Use it with `with`."""

    def __init__(self) -> None:
        self.is_distributed = False

    def __enter__(self) -> "DistributedStreamer":
        self.file_streamer = FileStreamer()
        self.file_streamer.__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.file_streamer.__exit__(exc_type, exc_value, traceback)

    def check_idle(self) -> None:
        """See FileStreamer."""
        self.file_streamer.check_idle()

    def stream_files(self, file_stream_requests: List[FileChunks], credentials: Any = None,
                     device: Optional[str] = "cpu", is_distributed: bool = False) -> None:
        """Starts to read the chunks and returns."""
        self._decide(is_distributed)
        self.file_streamer.stream_files(file_stream_requests, credentials, device)

    def stream_checkpoint(self, checkpoint: libstreamer.Checkpoint, paths: List[str],
                          wanted: Optional[set], settings: Dict[str, Any], device: Optional[str],
                          is_distributed: bool) -> None:
        """Starts to read the tensors and returns."""
        self._decide(is_distributed)
        self.file_streamer.start(checkpoint, paths, wanted, settings, device)

    def _decide(self, is_distributed: bool) -> None:
        self.is_distributed = False
        if not is_distributed:
            return
        _check_wish()
        logger.info("[RunAI Streamer][Distributed] every rank streams by itself")

    def get_chunks(self) -> Iterator[Tuple[int, int, torch.Tensor]]:
        """See FileStreamer."""
        yield from self.file_streamer.get_chunks()

    def get_tensors(self) -> Iterator[Tuple[str, torch.Tensor]]:
        """(name, tensor) of what stream_checkpoint() started."""
        while True:
            leased = self.file_streamer.next_tensor()
            if leased is None:
                return
            yield leased.name, self.file_streamer.own(leased.torch(), leased)
