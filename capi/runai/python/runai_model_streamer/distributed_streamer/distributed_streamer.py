# SPDX-License-Identifier: Apache-2.0
"""DistributedStreamer: ranks that stream the same files share the reading of them.

Nothing collective is called unless that is so. Every rank gets every tensor, in the same order, as
memory of its own.
"""
import contextlib
import datetime
import logging
import os
import socket
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from runai_model_streamer._environment import settings_of_ranks
from runai_model_streamer.distributed_streamer.partition import get_partition_policy
from runai_model_streamer.file_streamer.file_streamer import FileStreamer, host_or_device
from runai_model_streamer.file_streamer.requests_iterator import FileChunks
from runai_model_streamer.s3_utils.s3_utils import S3Credentials

logger = logging.getLogger(__name__)

RUNAI_STREAMER_CUDA_ALIGNMENT_ENV_VAR = "RUNAI_STREAMER_CUDA_ALIGNMENT"
DEFAULT_DIST_BUFFER_ALIGNMENT = 512
MAX_DIST_BUFFER_ALIGNMENT = 1024 * 1024
DEFAULT_BROADCAST_TIMEOUT = datetime.timedelta(seconds=600)

_GROUP_SIZE = "RUNAI_STREAMER_PROCESS_GROUP_SIZE"
_TAG = "[RunAI Streamer][Distributed]"


class DistributedStreamer:
    """A FileStreamer that may share its reading with other ranks. Use it with `with`."""

    def __init__(self) -> None:
        self.file_streamer = FileStreamer()
        self.is_distributed = False
        self._group: Any = None  # of torch; made once for all that is streamed
        self._ranks: Optional[libstreamer.RankGroup] = None  # of the request under way
        self._has_streamed = False

    def __enter__(self) -> "DistributedStreamer":
        self.file_streamer.__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        has_everything = self.file_streamer.has_everything
        self.file_streamer.__exit__(exc_type, exc_value, traceback)
        group, ranks = self._group, self._ranks
        # What still refers to the group keeps its connections open.
        self._group = self._ranks = None
        if group is None:
            return
        if ranks is not None and (exc_type is None or has_everything):
            # Others may still be receiving. What fails in one of them is its own.
            with contextlib.suppress(libstreamer.StreamerError):
                ranks.agree()
        del ranks
        torch.distributed.destroy_process_group(group)

    def check_idle(self) -> None:
        """See FileStreamer."""
        self.file_streamer.check_idle()

    def stream_files(self, file_stream_requests: List[FileChunks],
                     credentials: Optional[S3Credentials] = None, device: Optional[str] = "cpu",
                     is_distributed: bool = False, owned: bool = True) -> None:
        """Starts to read the chunks and returns. owned: see FileStreamer."""
        self.check_idle()
        device = host_or_device(device)
        self.set_is_distributed(is_distributed, device)
        self.file_streamer.stream_files(file_stream_requests, credentials, device, owned=owned,
                                        ranks=self._ranks)
        self._has_streamed = True

    def stream_checkpoint(self, checkpoint: libstreamer.Checkpoint, paths: List[str],
                          chunks: Dict[int, Tuple[int, int]], settings: Dict[str, Any],
                          device: str) -> None:
        """Starts to read the tensors and returns. set_is_distributed() was called for it."""
        self.file_streamer.start(checkpoint, paths, chunks, settings, device, ranks=self._ranks)
        self._has_streamed = True

    def set_is_distributed(self, is_distributed: bool, device: Optional[str]) -> None:
        """Whether ranks share the next request. If they do, every rank gets here."""
        self._ranks = None
        self._has_streamed = False
        if is_distributed and _is_wished(device):
            self._ranks = self._join(str(device or "cpu"))
        self.is_distributed = self._ranks is not None

    def get_group_size(self) -> int:
        """How many ranks torch.distributed has; 1 without it."""
        return torch.distributed.get_world_size() if _is_initialized() else 1

    def get_cuda_free_memory(self) -> int:
        """Of the current GPU; 0 if there is none."""
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0

    def ring_info(self) -> Optional[Tuple[int, int, int]]:
        """(rank, 1, bytes) of the memory that the last request streams through; None if it began
        none."""
        if not self._has_streamed or self.file_streamer.requests_iterator is None:
            return None
        rank = torch.distributed.get_rank() if _is_initialized() else 0
        return (rank, *self.file_streamer.requests_iterator)

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
        ranks = libstreamer.TorchRanks(self._group, settings_of_ranks(),
                                       device=device if device != "cpu" else None)
        with ranks.told():
            get_dist_buffer_alignment()  # refuses what it cannot be
            lack = _lack_of_memory(device)
        try:
            # Together: one rank that went on alone would leave the others waiting.
            ranks.agree(lack)
        except libstreamer.MemoryLimitError as error:
            logger.warning("%s every rank streams by itself: %s", _TAG, error)
            return None
        return ranks

    def get_chunks(self) -> Iterator[Tuple[int, int, torch.Tensor]]:
        """See FileStreamer."""
        yield from self.file_streamer.get_chunks()


def get_dist_buffer_alignment() -> int:
    """RUNAI_STREAMER_CUDA_ALIGNMENT."""
    value = int(os.environ.get(RUNAI_STREAMER_CUDA_ALIGNMENT_ENV_VAR, DEFAULT_DIST_BUFFER_ALIGNMENT))
    if not 0 <= value <= MAX_DIST_BUFFER_ALIGNMENT:
        raise ValueError(f"Invalid value for {RUNAI_STREAMER_CUDA_ALIGNMENT_ENV_VAR}: {value}, must "
                         f"be between 0 and {MAX_DIST_BUFFER_ALIGNMENT} bytes")
    return value


def aligned_offset(base_ptr: int, current_offset: int, alignment: int) -> int:
    """The first offset from current_offset on at which an address is a multiple of alignment."""
    return current_offset + (-(base_ptr + current_offset) % alignment if alignment > 1 else 0)


def _is_initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _is_wished(device: Optional[str]) -> bool:
    """RUNAI_STREAMER_DIST, and whether there are others that can be reached."""
    wish = os.environ.get("RUNAI_STREAMER_DIST", "auto")
    if wish not in ("0", "1", "auto"):
        raise ValueError(f"Invalid value for RUNAI_STREAMER_DIST: {wish}")
    if not _is_initialized():
        logger.info("%s Torch distributed is not initialized - fallback to non distributed streaming",
                    _TAG)
        return False
    world = torch.distributed.get_world_size()
    if world == 1:
        return False
    backend = str(torch.distributed.get_backend()).lower()
    kind = torch.device(device or "cpu").type
    fits = (backend, kind) in (("gloo", "cpu"), ("nccl", "cuda"))
    if wish == "0" or not fits or (wish == "auto" and backend != "nccl"):
        logger.info("%s Note: Torch distributed backend %s with RUNAI_STREAMER_DIST=%s is not "
                    "supported for %s device - fallback to non distributed streaming", _TAG, backend,
                    wish, device)
        # Without asking the others this is as near as one comes.
        os.environ.setdefault(_GROUP_SIZE, os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        return False
    get_partition_policy()  # refuses what it cannot be
    return True


def _make_group() -> Any:
    """A new group of the ranks on this host, or of all: RUNAI_STREAMER_DIST_GLOBAL. Collective."""
    try:
        return _group_of_host_or_all()
    except RuntimeError as error:
        raise RuntimeError(
            f"{_TAG} the ranks could not make their group: {error}; each of them must come here: check "
            "that none failed before, and that RUNAI_STREAMER_DIST, RUNAI_STREAMER_PARTITION_POLICY "
            "and the device are the same on all") from error


def _group_of_host_or_all():
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
