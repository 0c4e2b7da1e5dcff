# SPDX-License-Identifier: Apache-2.0
"""FileStreamer: ranges of files of any kind."""
import logging
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from runai_model_streamer._errors import response_error
from runai_model_streamer.file_streamer.requests_iterator import (FileChunks, MemoryLimit,
                                                                   human_bytes, log_buffer)
from runai_model_streamer.s3_utils.s3_utils import (as_uri, filter_allow, filter_ignore,
                                                    is_object_path, settings_of)

logger = logging.getLogger(__name__)

# How much of a device a load may hold, as everything on it is copied out of its way: enough to keep
# its copies going.
_DEVICE_WINDOW = 2 << 30


class RunaiStreamerInvalidInputException(Exception):
    """What was asked for cannot be streamed."""


class FileStreamer:
    """Streams chunks of files as soon as each is whole. Use it with `with`.

    Tensors that were yielded are the caller's: their memory is never written again.
    """

    def __enter__(self) -> "FileStreamer":
        self._load: Optional[libstreamer.Load] = None
        self._device = "cpu"
        self._is_copied = False
        self._moves_to = None
        self._chunks: List[Tuple[int, int]] = []
        self._is_shared = False  # the request under way, with other ranks
        self._is_left = False  # and nobody wants more of it
        self._started = time.monotonic()
        self._bytes = 0
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if self._load is not None:
            self._load.close()
            self._load = None
        took = max(time.monotonic() - self._started, 1e-9)
        logger.info("[RunAI Streamer] Overall time to stream %s of all files to %s: %ss, %s/s",
                    human_bytes(self._bytes), self._device, round(took, 2),
                    human_bytes(self._bytes / took))

    def check_idle(self) -> None:
        """ValueError while chunks of the request before are still to come."""
        if self._is_left:
            self._drain()
        if self._load is not None:
            raise ValueError("Could not send runai_request to libstreamer due to: "
                             "b'Streamer is handling previous request'")

    def stream_files(self, file_stream_requests: List[FileChunks], credentials: Any = None,
                     device: Optional[str] = "cpu",
                     ranks: Optional[libstreamer.RankGroup] = None) -> None:
        """Starts to read the chunks and returns. ranks: who shares the reading."""
        self.check_idle()
        ranges, self._chunks = [], []
        for request in file_stream_requests:
            for index, (offset, size) in enumerate(zip(request.offsets, request.sizes)):
                ranges.append((as_uri(request.path), offset, size))
                self._chunks.append((request.id, index))
        if not ranges and ranks is None:
            return
        settings = settings_of(credentials)
        try:
            checkpoint = libstreamer.Ranges(ranges, settings)
        except libstreamer.StreamerError as error:
            if ranks is not None:
                ranks.tell(error)
            raise response_error(error) from error
        self.start(checkpoint, [request.path for request in file_stream_requests], None, settings,
                   device, ranks)

    def list_files(self, prefix: str, is_recursive: bool = True,
                   allow_patterns: Optional[List[str]] = None,
                   ignore_patterns: Optional[List[str]] = None,
                   credentials: Any = None) -> List[Tuple[str, int]]:
        """(URI, bytes) of the objects under a prefix, sorted. Patterns are fnmatch's, held against
        whole keys; None is no pattern."""
        entries = libstreamer.list(as_uri(prefix).rstrip("/") + "/", recursive=is_recursive,
                                   settings=settings_of(credentials))
        keys = {entry.uri.split("/", 3)[3] if is_object_path(entry.uri) else entry.uri: entry
                for entry in entries if not entry.is_folder}
        names = list(keys)
        if allow_patterns is not None:
            names = filter_allow(names, allow_patterns)
        if ignore_patterns is not None:
            names = filter_ignore(names, ignore_patterns)
        return [(keys[name].uri, keys[name].bytes) for name in names]

    def start(self, checkpoint: libstreamer.Checkpoint, paths: List[str], wanted: Optional[set],
              settings: Dict[str, Any], device: Optional[str],
              ranks: Optional[libstreamer.RankGroup] = None) -> None:
        """Starts a load of the checkpoint, or of the tensors with the numbers that are wanted."""
        chosen = [t for t in checkpoint.tensors if wanted is None or t.number in wanted]
        total, largest = sum(t.bytes for t in chosen), max((t.bytes for t in chosen), default=0)
        try:
            limit = MemoryLimit(default=-1 if ranks is not None else None)
            limit.check(max([largest] + [one.header_bytes for one in checkpoint.objects]))
        except Exception as error:
            if ranks is not None:
                ranks.tell(error)
            raise
        window = limit.window(total, largest)
        log_buffer(total if window == "unlimited" else window, paths)
        self._device = str(device or "cpu")
        self._is_shared = ranks is not None
        self._moves_to = None
        # What is limited is used again at once, so that what is yielded is a copy.
        self._is_copied = window != "unlimited"
        values = dict(settings, memory_limit=window)
        stream = 0
        if self._device != "cpu":
            self._is_copied = True
            values["memory_limit"] = "auto"
            values["device_memory_limit"] = max(3 * largest, min(_DEVICE_WINDOW, total), 1)
            stream = _current_stream(self._device)
        self._left = len(chosen)
        if not chosen and ranks is None:
            return  # nothing is under way
        select = None if wanted is None else (lambda tensor: tensor.number in wanted)
        try:
            self._load = self._start(checkpoint, values, select, stream, ranks)
        except libstreamer.StreamerError as error:
            raise response_error(error) from error
        # Of plain ranges no header is read.
        self._bytes += total + sum(8 + one.header_bytes for one in checkpoint.objects
                                   if one.header_bytes)

    def _start(self, checkpoint, values, select, stream, ranks):
        try:
            return libstreamer.Load(checkpoint, device=self._device, select=select, stream=stream,
                                    order="completion", settings=values, group=ranks)
        except libstreamer.DeviceError as error:
            if not torch.cuda.is_available():
                raise
            # torch can what this build of libstreamer cannot. Ranks fail alike, and go on alone.
            logger.warning("[RunAI Streamer] %s; tensors are moved to %s by torch", error,
                           self._device)
            self._moves_to = self._device
            values.pop("device_memory_limit", None)
            values["memory_limit"] = "unlimited"
            return libstreamer.Load(checkpoint, select=select, order="completion",
                                    settings=values)

    def next_tensor(self) -> Optional[libstreamer.Tensor]:
        """The next one; None at the end. ValueError if the load fails, which ends it."""
        if self._load is None:
            return None
        try:
            tensor = self._load.next()
        except libstreamer.StreamerError as error:
            self._end()
            raise response_error(error) from error
        self._left -= tensor is not None
        # With the last one the request is over: who counts may ask for the next at once.
        if tensor is None or self._left == 0:
            self._end()
        return tensor

    def own(self, tensor: torch.Tensor, leased: libstreamer.Tensor) -> torch.Tensor:
        """The tensor in memory that stays the caller's."""
        if self._moves_to is not None:
            return tensor.to(self._moves_to)
        if not self._is_copied or leased.nbytes == 0:
            return tensor
        copy = tensor.clone()
        leased.release()
        return copy

    def _end(self) -> None:
        if self._load is not None:
            self._load.close()
        self._load = None
        self._is_left = False

    def _drain(self) -> None:
        """Takes what is left of a request that is shared, so that all ranks end it together."""
        try:
            while self.next_tensor() is not None:
                pass
        except ValueError as error:
            logger.warning("[RunAI Streamer] a request that was left: %s", error)

    def tensors(self) -> Iterator[Tuple[libstreamer.Tensor, torch.Tensor]]:
        """What the request under way brings, each as it was yielded and as the caller's own. Closing
        this before the end, by `break` or an exception, cancels the request; one that ranks share is
        brought to its end when the next one is made, because others may still need it."""
        load = self._load
        try:
            # A caller that has everything may start the next request before this is over.
            while load is not None and self._load is load:
                leased = self.next_tensor()
                if leased is None:
                    return
                yield leased, self.own(leased.torch(), leased)
                del leased
        finally:
            if load is not None and self._load is load:
                if self._is_shared:
                    self._is_left = True
                else:
                    self._end()

    def get_chunks(self) -> Iterator[Tuple[int, int, torch.Tensor]]:
        """(id of the file's request, index of the chunk, its bytes as a row of uint8)."""
        for leased, tensor in self.tensors():
            file_id, index = self._chunks[int(leased.name)]
            # Whoever asks for the next one holds no more than he likes.
            del leased
            yield file_id, index, tensor.view(1, -1)
            del tensor


def _current_stream(device: str) -> int:
    """Of torch, by which what it does to a tensor comes behind our copies. 0: none."""
    if not torch.cuda.is_available():
        return 0
    return torch.cuda.current_stream(device).cuda_stream


__all__ = ["FileStreamer", "RunaiStreamerInvalidInputException"]
