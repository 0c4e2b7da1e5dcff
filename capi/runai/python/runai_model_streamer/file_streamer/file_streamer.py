# SPDX-License-Identifier: Apache-2.0
"""FileStreamer: ranges of files of any kind."""
import logging
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import torch

import libstreamer
from runai_model_streamer._environment import check_environment
from runai_model_streamer._errors import listing_error, request_error, response_error
from runai_model_streamer.file_streamer.requests_iterator import (FileChunks, MemoryLimit, Window,
                                                                   log_buffer)
from runai_model_streamer.libstreamer.libstreamer import (runai_end, runai_list_files,
                                                          runai_set_credentials, runai_start)
from runai_model_streamer.s3_utils.s3_utils import (S3Credentials, as_uri,
                                                    get_s3_credentials_module, is_azure_path,
                                                    is_gs_path, is_object_path, is_s3_path,
                                                    settings_of)

logger = logging.getLogger(__name__)

s3_credentials_module = get_s3_credentials_module()

# How much of a device a load may hold, as everything on it is copied out of its way: enough to keep
# its copies going.
_DEVICE_WINDOW = 2 << 30
# How many ranks of this machine stream at a time.
_GROUP_SIZE = "RUNAI_STREAMER_PROCESS_GROUP_SIZE"


class RunaiStreamerInvalidInputException(Exception):
    """What was asked for cannot be streamed."""


def host_or_device(device: Union[str, torch.device, None]) -> str:
    """The device as a text; "cpu" whichever way the host is written."""
    if device is None:
        return "cpu"
    try:
        kind = torch.device(device if isinstance(device, torch.device) else str(device)).type
    except (RuntimeError, TypeError) as error:
        raise RunaiStreamerInvalidInputException(f"Unusable device {device!r}: {error}") from error
    return "cpu" if kind == "cpu" else str(device)


def _check_ranges(ranges):
    limit = 1 << 64
    for _, offset, size in ranges:
        if not 0 <= offset < limit:
            raise ValueError(f"every range offset must fit an unsigned 64-bit integer: one is {offset}")
        if not 0 <= size < limit:
            raise ValueError(f"every range size must fit an unsigned 64-bit integer: one is {size}")
        if offset + size >= limit:
            raise request_error(f"{size} bytes from {offset} on end beyond 2^64")


def homogeneous_paths(paths: List[str]) -> bool:
    """All of one kind of store, or all files."""
    return len({(is_s3_path(path), is_gs_path(path), is_azure_path(path)) for path in paths}) <= 1


class FileStreamer:
    """Streams chunks of files as soon as each is whole. Use it with `with`.

    Tensors that were yielded are the caller's: their memory is never written again.
    """

    def __init__(self) -> None:
        self.s3_session = None
        self.s3_credentials: Optional[S3Credentials] = None
        self.device_str: Optional[str] = None
        # The memory of the request under way, or of the last one.
        self.requests_iterator: Optional[Window] = None
        self._credentialed_streamer: Any = None
        self._is_open = False
        self._streamer: Any = None
        self._load: Optional[libstreamer.Load] = None
        self._failure: Optional[ValueError] = None  # of a request before anything was read
        self._left = 0
        self._is_copied = False
        self._moves_to: Optional[str] = None
        # By number of the tensor: the id of the file's request and the index in it.
        self._chunks: Dict[int, Tuple[int, int]] = {}
        self._is_shared = False  # the request under way, with other ranks
        self._is_left = False  # and nobody wants more of it
        self._stream = 0  # of torch, which the request was given; 0: none

    def __enter__(self) -> "FileStreamer":
        check_environment()
        self._is_open = True
        self.device_str = self.s3_session = self.s3_credentials = None
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self._is_open = False
        if self._is_left and exc_type is None:
            self._drain()  # other ranks may not be as far
        self._end()
        streamer, self._streamer = self._streamer, None
        self._credentialed_streamer = None
        if streamer is not None:
            runai_end(streamer)

    @property
    def streamer(self) -> Any:
        """A handle of the native functions, for those who call them; None outside of `with`."""
        if self._is_open and self._streamer is None:
            self._streamer = runai_start()
        return self._streamer

    @property
    def outstanding(self) -> int:
        """How many chunks are still to come."""
        is_busy = self._load is not None or self._failure is not None
        return self._left if is_busy and not self._is_left else 0

    @property
    def has_everything(self) -> bool:
        """Whether every chunk of the last request was taken."""
        return self._left == 0

    @property
    def live_requests(self) -> Dict[int, Any]:
        """What is under way: one request at most, with its memory."""
        return {1: self.requests_iterator} if self.outstanding else {}

    def check_idle(self) -> None:
        """ValueError outside of `with`, and while chunks of the request before are still to come."""
        if not self._is_open:
            raise request_error("the streamer is not open; stream within `with`")
        if self._is_left:
            self._drain()
        if self.outstanding:
            raise ValueError(f"cannot start a new stream while {self._left} response(s) are "
                             "outstanding from the previous one: take them, or close what "
                             "get_chunks() or get_tensors() returned")

    def stream_files(self, file_stream_requests: List[FileChunks],
                     credentials: Optional[S3Credentials] = None, device: Optional[str] = "cpu",
                     memory_limit: Optional[int] = None, owned: bool = True,
                     ranks: Optional[libstreamer.RankGroup] = None) -> None:
        """Starts to read the chunks and returns. memory_limit: None is RUNAI_STREAMER_MEMORY_LIMIT.
        owned is taken for compatibility: what was yielded is never written again, whatever it says.
        ranks: who shares the reading."""
        del owned
        self.check_idle()
        if not homogeneous_paths([request.path for request in file_stream_requests]):
            raise RunaiStreamerInvalidInputException(
                "Cannot stream files from multiple source types in parallel")
        device = host_or_device(device)
        ranges, asked = [], []
        for request in file_stream_requests:
            for index, (offset, size) in enumerate(zip(request.offsets, request.sizes)):
                # Of nothing no place can be wrong.
                ranges.append((as_uri(request.path), offset if size else 0, size))
                asked.append((request.id, index))
        _check_ranges(ranges)
        settings = settings_of(credentials, any(is_object_path(path) for path, *_ in ranges))
        try:
            checkpoint = libstreamer.Ranges(ranges, settings)
        except libstreamer.StreamerError as error:
            failure = response_error(error)
            failure.__cause__ = error
            if ranks is not None:
                ranks.tell(error)
            if ranks is not None or not error.uri:
                raise failure
            # Where files are read it is a response of the first of them.
            self._failure, self._left = failure, len(ranges)
            return
        self.start(checkpoint, [request.path for request in file_stream_requests],
                   {tensor.number: asked[int(tensor.name)] for tensor in checkpoint.tensors},
                   settings, device, memory_limit, ranks)

    def handle_object_store(self, path: str, streamer: Any,
                            credentials: Optional[S3Credentials] = None) -> str:
        """Gives a native handle, once, the credentials of the first s3:// path that it is for."""
        if not is_s3_path(path):
            return path
        if s3_credentials_module is not None and self.s3_session is None:
            self.s3_session, self.s3_credentials = s3_credentials_module.get_credentials(credentials)
        elif self.s3_credentials is None:
            self.s3_credentials = credentials
        has_some = any(value is not None for value in vars(self.s3_credentials).values()) \
            if self.s3_credentials is not None else False
        if streamer is not None and has_some and streamer is not self._credentialed_streamer:
            runai_set_credentials(streamer, self.s3_credentials)
            self._credentialed_streamer = streamer
        return path

    def list_files(self, prefix: str, is_recursive: bool = True,
                   allow_patterns: Optional[List[str]] = None,
                   ignore_patterns: Optional[List[str]] = None,
                   credentials: Optional[S3Credentials] = None) -> List[Tuple[str, int]]:
        """(path, bytes) of the files under a prefix, sorted; also outside of `with`. Patterns are
        fnmatch's, held against whole paths of files, and keys of objects; None is no pattern."""
        streamer = self.streamer or runai_start()
        found: List[Tuple[str, int]] = []
        try:
            runai_list_files(streamer, self.handle_object_store(as_uri(prefix), streamer, credentials),
                             lambda path, size: found.append((path, size)),
                             is_recursive=is_recursive, allow_patterns=allow_patterns,
                             ignore_patterns=ignore_patterns)
        except ValueError as failure:
            try:  # the native functions have codes only
                libstreamer.list(as_uri(prefix), settings=settings_of(credentials))
            except libstreamer.StreamerError as error:
                raise listing_error(error) from error
            raise failure
        finally:
            if streamer is not self._streamer:
                runai_end(streamer)
                self._credentialed_streamer = None
        return found

    def start(self, checkpoint: libstreamer.Checkpoint, paths: List[str],
              chunks: Dict[int, Tuple[int, int]], settings: Dict[str, Any], device: str,
              memory_limit: Optional[int] = None,
              ranks: Optional[libstreamer.RankGroup] = None) -> None:
        """Starts a load of those tensors of the checkpoint whose numbers are keys of chunks."""
        self._chunks = chunks
        chosen = [t for t in checkpoint.tensors if t.number in chunks]
        total, largest = sum(t.bytes for t in chosen), max((t.bytes for t in chosen), default=0)
        try:
            least = max([largest] + [one.header_bytes for one in checkpoint.objects])
            limit = MemoryLimit(memory_limit)
            if ranks is not None:
                # It is the machine's, and holds what must be in memory at once in any case.
                limit.share(int(os.environ.get(_GROUP_SIZE, ranks.size)), least)
            limit.check(least)
        except Exception as error:
            if ranks is not None:
                ranks.tell(error)
            raise
        window = limit.window(total, largest)
        self.requests_iterator = Window(1, total if window == "unlimited" else window)
        log_buffer(self.requests_iterator, paths)
        self.device_str = device
        self._is_shared = ranks is not None
        kind = torch.device(device).type
        # The library reaches the host and CUDA; to others torch moves what it read.
        self._moves_to = device if kind not in ("cpu", "cuda") else None
        # What is limited is used again at once, so that what is yielded is a copy.
        self._is_copied = window != "unlimited"
        values = {"memory_limit": window}  # all else is as the checkpoint was opened
        stream = 0
        if ranks is not None:
            # Of what ranks share the original keeps RUNAI_STREAMER_CUDA_ALIGNMENT on the host too.
            wish = int(settings.get("debug.device_alignment", 512))
            values["debug.tensor_alignment"] = min(wish, 4096) if wish else "auto"
        if kind == "cuda":
            self._is_copied = True
            values["memory_limit"] = "auto"
            values["device_memory_limit"] = max(3 * largest, min(_DEVICE_WINDOW, total), 1)
            stream = _current_stream(device)
        self._stream = stream
        self._left = len(chosen)
        if not chosen and ranks is None:
            return  # nothing is under way
        select = None
        if len(chosen) != len(checkpoint.tensors):
            def select(tensor):
                return tensor.number in chunks
        try:
            self._load = self._start(checkpoint, values, select, stream, ranks,
                                     device if kind == "cuda" else "cpu")
        except libstreamer.StreamerError as error:
            raise response_error(error) from error

    def _start(self, checkpoint, values, select, stream, ranks, device):
        try:
            return libstreamer.Load(checkpoint, device=device, select=select, stream=stream,
                                    order="completion", settings=values, group=ranks)
        except libstreamer.DeviceError as error:
            torch.empty(0, device=device)  # raises if torch cannot either
            # torch can what this build of libstreamer cannot. Ranks fail alike, and go on alone.
            logger.warning("[RunAI Streamer] %s; tensors are moved to %s by torch", error, device)
            self._moves_to = device
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
            moved = tensor.to(self._moves_to)
            leased.release()
            return moved
        if not self._is_copied or leased.nbytes == 0:
            return tensor
        copy = tensor.clone()
        # The load waits for what is queued on the stream that it was given, and on no other.
        if self._stream and _current_stream(str(tensor.device)) != self._stream:
            torch.cuda.current_stream(tensor.device).synchronize()
        leased.release()
        return copy

    def drain_live_submissions(self) -> None:
        """Ends the request under way: nothing of it is written any more. One that ranks share is
        brought to its end when the next one is made."""
        if self._is_shared and self._load is not None:
            self._is_left = True
        else:
            self._end()

    def _end(self) -> None:
        if self._load is not None:
            self._load.close()
        self._load = self._failure = None
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
                # A row of bytes; what they are is the header's business.
                leased.dtype, leased.shape = "U8", (1, leased.nbytes)
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
        if not self._is_open:
            raise ValueError("Streamer not initialized: it streams within `with` only")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        for leased, tensor in self.tensors():
            file_id, index = self._chunks[leased.number]
            # Whoever asks for the next one holds no more than they like.
            del leased
            yield file_id, index, tensor
            del tensor


def _current_stream(device: str) -> int:
    """Of torch, by which what it does to a tensor comes behind our copies. 0: none."""
    if not torch.cuda.is_available():
        return 0
    # torch calls the default stream 0, which is no stream to a load; CUDA calls it 1, too.
    return torch.cuda.current_stream(device).cuda_stream or 1


__all__ = ["FileStreamer", "RunaiStreamerInvalidInputException"]
