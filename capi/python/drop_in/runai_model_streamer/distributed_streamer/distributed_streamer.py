# SPDX-License-Identifier: Apache-2.0
"""DistributedStreamer: ranks that stream the same files share the reading of them.

Nothing collective is called unless that is so. Every rank gets every tensor, in the same order, as
memory of its own.
"""
import datetime
import logging
import os
import socket
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from runai_model_streamer.distributed_streamer.partition import check_policy
from runai_model_streamer.file_streamer.file_streamer import FileStreamer
from runai_model_streamer.file_streamer.requests_iterator import FileChunks

logger = logging.getLogger(__name__)

_GROUP_SIZE = "RUNAI_STREAMER_PROCESS_GROUP_SIZE"
_TAG = "[RunAI Streamer][Distributed]"


class DistributedStreamer:
    """A FileStreamer that may share its reading with other ranks. Use it with `with`."""

    def __init__(self) -> None:
        self.is_distributed = False

    def __enter__(self) -> "DistributedStreamer":
        self.file_streamer = FileStreamer()
        self.file_streamer.__enter__()
        self._group: Any = None  # of torch; made once for all that is streamed
        self._ranks: Optional[libstreamer.RankGroup] = None  # of the request under way
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.file_streamer.__exit__(exc_type, exc_value, traceback)
        group, self._group = self._group, None
        if group is None:
            return
        if exc_type is None:
            torch.distributed.barrier(group)
        torch.distributed.destroy_process_group(group)

    def check_idle(self) -> None:
        """See FileStreamer."""
        self.file_streamer.check_idle()

    def stream_files(self, file_stream_requests: List[FileChunks], credentials: Any = None,
                     device: Optional[str] = "cpu", is_distributed: bool = False) -> None:
        """Starts to read the chunks and returns."""
        self.check_idle()
        self.decide(is_distributed, device)
        self.file_streamer.stream_files(file_stream_requests, credentials, device, self._ranks)

    def stream_checkpoint(self, checkpoint: libstreamer.Checkpoint, paths: List[str],
                          wanted: Optional[set], settings: Dict[str, Any], device: Optional[str]
                          ) -> None:
        """Starts to read the tensors and returns. decide() was called for it."""
        self.file_streamer.start(checkpoint, paths, wanted, settings, device, self._ranks)

    def decide(self, is_distributed: bool, device: Optional[str]) -> None:
        """Whether ranks share the next request. If they do, every rank gets here."""
        self._ranks = None
        if is_distributed and _is_wished(device):
            self._ranks = self._join(str(device or "cpu"))
        self.is_distributed = self._ranks is not None

    def tell(self, error: Exception) -> None:
        """The other ranks that the request has failed here, before anything was streamed."""
        if self._ranks is not None:
            self._ranks.tell(error)

    def _join(self, device: str) -> Optional[libstreamer.RankGroup]:
        if self._group is None:
            self._group = _make_group()
        if torch.distributed.get_world_size(self._group) == 1:
            logger.info("%s this rank is alone on its host", _TAG)
            return None
        ranks = libstreamer.TorchRanks(self._group, device=device if device != "cpu" else None)
        try:
            # Together: one rank that went on alone would leave the others waiting.
            ranks.agree(_lack_of_memory(device))
        except libstreamer.MemoryLimitError as error:
            logger.warning("%s every rank streams by itself: %s", _TAG, error)
            return None
        return ranks

    def get_chunks(self) -> Iterator[Tuple[int, int, torch.Tensor]]:
        """See FileStreamer."""
        yield from self.file_streamer.get_chunks()

    def get_tensors(self) -> Iterator[Tuple[str, torch.Tensor]]:
        """(name, tensor) of what stream_checkpoint() started."""
        for leased, tensor in self.file_streamer.tensors():
            name = leased.name
            del leased
            yield name, tensor
            del tensor


def _is_wished(device: Optional[str]) -> bool:
    """RUNAI_STREAMER_DIST, and whether there are others that can be reached."""
    wish = os.environ.get("RUNAI_STREAMER_DIST", "auto")
    if wish not in ("0", "1", "auto"):
        raise ValueError(f"Invalid value for RUNAI_STREAMER_DIST: {wish}")
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        logger.info("%s torch.distributed is not initialised: this process streams by itself", _TAG)
        return False
    world = torch.distributed.get_world_size()
    if world == 1:
        return False
    backend = str(torch.distributed.get_backend()).lower()
    on_host = str(device or "cpu") == "cpu"
    fits = (backend == "gloo" and on_host) or (backend == "nccl" and not on_host)
    if wish == "0" or not fits or (wish == "auto" and backend != "nccl"):
        logger.info("%s RUNAI_STREAMER_DIST=%s, %s, device %s: every rank streams by itself", _TAG,
                    wish, backend, device)
        # Without asking the others this is as near as one comes.
        os.environ.setdefault(_GROUP_SIZE, os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        return False
    check_policy()
    return True


def _make_group() -> Any:
    """A new group of the ranks on this host, or of all: RUNAI_STREAMER_DIST_GLOBAL. Collective."""
    distributed = torch.distributed
    timeout = datetime.timedelta(seconds=int(os.environ.get("RUNAI_STREAMER_DIST_TIMEOUT", "600")))
    everyone = list(range(distributed.get_world_size()))
    whole = distributed.new_group(everyone, timeout=timeout)
    hosts: List[Any] = [None] * len(everyone)
    host = socket.gethostname()
    distributed.all_gather_object(hosts, host, group=whole)
    os.environ.setdefault(_GROUP_SIZE, str(hosts.count(host)))
    if os.environ.get("RUNAI_STREAMER_DIST_GLOBAL", "0") == "1":
        return whole
    own = None
    for host in sorted(set(hosts)):
        # Every rank makes the group of every host.
        members = [rank for rank in everyone if hosts[rank] == host]
        made = distributed.new_group(members, timeout=timeout)
        if distributed.get_rank() in members:
            own = made
    distributed.destroy_process_group(whole)
    return own


def _lack_of_memory(device: str) -> Optional[libstreamer.MemoryLimitError]:
    """What a GPU lacks for the buffers through which ranks pass bytes on."""
    if device == "cpu":
        return None
    # What is less than the library's least is raised to it.
    wanted = 3 * max(int(os.environ.get("RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE", 128 << 20)),
                     1 << 20)
    free, _ = torch.cuda.mem_get_info(device)
    if free >= wanted:
        return None
    return libstreamer.MemoryLimitError(
        f"{device} has {free} bytes free, and passing bytes on may take {wanted}: lower "
        "RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE", kind="memory_limit", code=103)
