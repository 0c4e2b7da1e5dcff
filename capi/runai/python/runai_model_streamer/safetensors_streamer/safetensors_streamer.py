# SPDX-License-Identifier: Apache-2.0
"""SafetensorsStreamer, ObjectStorageModel, and what lists and pulls files of a store."""
import collections
import fcntl
import fnmatch
import logging
import os
import shutil
import time
from typing import Any, Collection, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from libstreamer.errors import clean_text
from runai_model_streamer.distributed_streamer.distributed_streamer import DistributedStreamer
from runai_model_streamer.file_streamer.file_streamer import (RunaiStreamerInvalidInputException,
                                                              homogeneous_paths, host_or_device)
from runai_model_streamer.file_streamer.requests_iterator import Window, human_bytes, in_words
from runai_model_streamer.s3_utils.s3_utils import S3Credentials, as_uri, is_object_path, settings_of
from runai_model_streamer.safetensors_streamer import safetensors_pytorch
from runai_model_streamer.safetensors_streamer.safetensors_pytorch import (SafetensorMetadata,
                                                                           metadata_of, open_files)

logger = logging.getLogger(__name__)

SAFETENSORS_PATTERN = "*.safetensors"


class SafetensorsStreamer:
    """Streams the tensors of safetensors files as soon as each is whole. Use it with `with`."""

    def __init__(self) -> None:
        self.file_streamer = DistributedStreamer()
        self.files_to_tensors_metadata: Dict[int, List[SafetensorMetadata]] = {}
        self.total_size = 0
        self.device_str: Optional[str] = None
        self.start_time: Optional[float] = None
        # Tensors of this streamer that had to be copied, as their dtype cannot be read where they
        # were.
        self.unaligned_copies = 0
        # Of a path that is there several times: by its first index, the others.
        self._repeats: Dict[int, List[int]] = {}

    def __enter__(self) -> "SafetensorsStreamer":
        self.file_streamer.__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.file_streamer.__exit__(exc_type, exc_value, traceback)

    def stream_file(self, path: str, s3_credentials: Optional[S3Credentials] = None,
                    device: Optional[str] = "cpu", is_distributed: bool = False,
                    tensor_names: Optional[Collection[str]] = None, owned: bool = True) -> None:
        """stream_files() for one file."""
        self.stream_files([path], s3_credentials, device, is_distributed, tensor_names, owned)

    def stream_files(self, paths: List[str], s3_credentials: Optional[S3Credentials] = None,
                     device: Optional[str] = "cpu", is_distributed: bool = False,
                     tensor_names: Optional[Collection[str]] = None, owned: bool = True) -> None:
        """Reads and checks the headers, starts to read the tensors, and returns.

        tensor_names: only these; each must be in exactly one file. owned is taken for compatibility:
        memory that a yielded tensor still refers to is never written again, whatever it says.
        """
        del owned
        names = _checked_names(tensor_names)
        paths = [os.fspath(path) for path in paths]
        if not homogeneous_paths(paths):
            raise RunaiStreamerInvalidInputException(
                "Cannot stream files from multiple source types in parallel")
        streamer = self.file_streamer
        streamer.check_idle()
        self.files_to_tensors_metadata, self._repeats = {}, {}
        self.total_size = self.unaligned_copies = 0
        self.device_str = device
        self.start_time = time.perf_counter()
        device = host_or_device(device)
        if not paths:
            return
        # One that is named twice is read once.
        firsts: Dict[str, int] = {}
        for index, path in enumerate(paths):
            if firsts.setdefault(as_uri(path), index) != index:
                self._repeats.setdefault(firsts[as_uri(path)], []).append(index)
        streamer.set_is_distributed(is_distributed, device)
        try:
            checkpoint = open_files([paths[index] for index in firsts.values()], s3_credentials)
            chunks = self._choose(checkpoint, list(firsts.values()), names)
        except Exception as error:
            streamer.tell(error)
            raise
        settings = settings_of(s3_credentials, any(is_object_path(path) for path in paths))
        streamer.stream_checkpoint(checkpoint, paths, chunks, settings, device)
        self._log_ring()

    def _choose(self, checkpoint: libstreamer.Checkpoint, firsts: List[int],
                names: Optional[frozenset]) -> Dict[int, Tuple[int, int]]:
        """Fills files_to_tensors_metadata; returns the file and the index there of each tensor that
        is wanted."""
        found: Dict[int, List[SafetensorMetadata]] = {}
        for first, one in zip(firsts, metadata_of(checkpoint)):
            kept = [t for t in one.tensors_metadata if names is None or t.name in names]
            for index in (first, *self._repeats.get(first, ())):
                found[index] = kept
        self.files_to_tensors_metadata = {index: found[index] for index in sorted(found)}
        if names is not None:
            _check_found(names, self.files_to_tensors_metadata)
        self.total_size = sum(t.get_bytesize() for kept in found.values() for t in kept)
        places = {(first, t.name): (first, index) for first in firsts
                  for index, t in enumerate(found[first])}
        return {t.number: places[firsts[t.object], t.name] for t in checkpoint.tensors
                if (firsts[t.object], t.name) in places}

    def get_tensors(self) -> Iterator[Tuple[str, torch.Tensor]]:
        """(name, tensor), each once, in any order."""
        chunks = self.file_streamer.get_chunks()
        try:
            yield from self._tensors_of(chunks)
        finally:
            # Also where an exception keeps this generator's caller alive.
            getattr(chunks, "close", lambda: None)()
        self._log_throughput()

    def _tensors_of(self, chunks: Iterator[Tuple[int, int, torch.Tensor]]
                    ) -> Iterator[Tuple[str, torch.Tensor]]:
        for file_index, index, buffer in chunks:
            metadata = self.files_to_tensors_metadata[file_index][index]
            if safetensors_pytorch.requires_alignment_copy(buffer, metadata):
                buffer = buffer.clone()
                self.unaligned_copies += 1
            tensor = safetensors_pytorch.create_torch_tensor(buffer, metadata)
            safetensors_pytorch.check_alignment(tensor, metadata)
            del buffer
            repeats = [tensor.clone() for _ in self._repeats.get(file_index, ())] \
                if self._repeats else None
            yield metadata.name, tensor
            del tensor  # whoever asks for the next one need not hold this one
            while repeats:
                yield metadata.name, repeats.pop()

    def _log_throughput(self) -> None:
        if self.start_time is None:
            return
        took = max(time.perf_counter() - self.start_time, 1e-9)
        logger.info("[RunAI Streamer] Overall time to stream %s of all files to %s: %ss, %s/s",
                    human_bytes(self.total_size), self.device_str, round(took, 2),
                    human_bytes(self.total_size / took))
        if self.unaligned_copies:
            logger.debug("[RunAI Streamer] Copied %d tensor(s) whose address their dtype could not use",
                         self.unaligned_copies)

    def _log_ring(self) -> None:
        info = self.file_streamer.ring_info()
        if info is not None:
            rank, *window = info
            logger.info("[RunAI Streamer] Rank %d: CPU ring %s for %s in %d file(s)", rank,
                        in_words(Window(*window)), human_bytes(self.total_size),
                        len(self.files_to_tensors_metadata))


def _checked_names(names: Optional[Collection[str]]) -> Optional[frozenset]:
    if names is None:
        return None
    if isinstance(names, str):
        raise ValueError("tensor_names must be a collection of names, not a single str: write "
                         f"[{names!r}]")
    if len(names) == 0:
        raise ValueError("tensor_names must not be empty - pass None to load every tensor")
    return frozenset(names)


def _check_found(names: frozenset, files: Dict[int, List[SafetensorMetadata]]) -> None:
    """Each is in exactly one of the files."""
    counts = collections.Counter(t.name for kept in files.values() for t in kept)
    missing = sorted(names - set(counts))
    if missing:
        raise ValueError(f"tensor_names not found in checkpoint: {missing}")
    several = sorted(name for name, count in counts.items() if count > 1)
    if several:
        raise ValueError(f"tensor_names requested tensors that appear in more than one file: {several}")


def list_safetensors(path: str, s3_credentials: Optional[S3Credentials] = None) -> List[str]:
    """The safetensors files of the model in a folder or under a prefix, sorted: the shards of its
    index, or all of them, but for other forms of the same model. Nothing there is an empty list.

    ValueError or FileNotFoundError: of the model something is missing, or what is meant is not clear.
    Those who ask read what is listed, and nothing else.
    """
    path = os.fspath(path)
    if is_object_path(path):
        model = libstreamer.list_model(_as_prefix(path), settings=settings_of(s3_credentials))
        _log_notes(model)
        return [entry.uri for entry in model.objects]
    if not os.path.isdir(path):
        logger.warning("[RunAI Streamer] %s is no folder: no safetensors files", path)
        return []
    model = libstreamer.list_model(as_uri(path))
    _log_notes(model)
    if model.folder.rstrip("/") != as_uri(path).rstrip("/"):
        return [entry.uri for entry in model.objects]  # of a hub's cache one snapshot is meant
    return [os.path.join(path, os.path.relpath(entry.uri, model.folder)) for entry in model.objects]


def _log_notes(model: libstreamer.ModelListing) -> None:
    for note in model.notes:
        logger.warning("[RunAI Streamer] %s", note)


def pull_files(model_path: str, dst: str, allow_pattern: Optional[List[str]] = None,
               ignore_pattern: Optional[List[str]] = None,
               s3_credentials: Optional[S3Credentials] = None) -> None:
    """Copies the objects under a prefix to dst. Patterns are fnmatch's, held against whole keys."""
    model_path = os.fspath(model_path)
    if not is_object_path(model_path):
        raise NotImplementedError("pull files is not implemented for file system paths")
    try:
        _pull(_as_prefix(model_path), dst, allow_pattern, ignore_pattern, settings_of(s3_credentials))
    except libstreamer.StreamerError as error:
        if not isinstance(error, ValueError):
            raise
        # vLLM pulls while pydantic validates, which puts words of its own behind any ValueError.
        raise libstreamer.StreamerError(str(error), **vars(error)) from error


def _pull(prefix, dst, allow_pattern, ignore_pattern, settings):
    bucket = "/".join(prefix.split("/", 3)[:3]) + "/"
    entries = libstreamer.list(prefix, recursive=True, settings=settings)
    if not entries:
        logger.warning("[RunAI Streamer] there is nothing under %s", prefix)
    keys = [entry.uri[len(bucket):] for entry in entries]
    if allow_pattern is not None:
        keys = [key for key in keys if any(fnmatch.fnmatch(key, p) for p in allow_pattern)]
    if ignore_pattern is not None:
        keys = [key for key in keys if not any(fnmatch.fnmatch(key, p) for p in ignore_pattern)]
    if keys:
        libstreamer.pull(prefix, os.fspath(dst), allow=[_as_pattern(key) for key in keys],
                         settings=settings)


def _as_prefix(path):
    return as_uri(path).rstrip("/") + "/"


def _as_pattern(key):
    """A pattern that only the key matches."""
    return "".join(f"[{c}]" if c in "*?[" else "\\\\" if c == "\\" else c for c in key)


class ObjectStorageModel:
    """A folder of a model's small files, pulled once by whoever comes first; others wait.

    A lock beside the folder and a sentinel in it say how far that is.
    """

    SENTINEL_NAME = ".runai_complete"

    def __init__(self, model_path: str, dst: str,
                 s3_credentials: Optional[S3Credentials] = None) -> None:
        self._lock: Any = None
        self.model_path = os.fspath(model_path)
        if not is_object_path(self.model_path):
            raise ValueError(f"model_path {clean_text(self.model_path)!r} is not a supported "
                             "object storage path "
                             "(expected s3://, gs://, or az://)")
        self.dir = os.fspath(dst).rstrip("/")
        self._credentials = s3_credentials
        self._skip = False
        self._lock = open(self.dir + ".lock", "a", encoding="utf-8")
        try:
            self._begin()
        except BaseException:
            self._unlock()
            raise

    def _begin(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        if self._is_complete():
            self._skip = True
            return
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if self._is_complete():
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._skip = True
            return
        if os.path.isdir(self.dir):
            shutil.rmtree(self.dir)
        os.makedirs(self.dir)

    def _is_complete(self) -> bool:
        return os.path.exists(os.path.join(self.dir, self.SENTINEL_NAME))

    def pull_files(self, allow_pattern: Optional[List[str]] = None,
                   ignore_pattern: Optional[List[str]] = None) -> None:
        """Nothing if somebody pulled before; may be called several times."""
        if not self._skip:
            pull_files(_as_prefix(self.model_path), self.dir, allow_pattern, ignore_pattern,
                       self._credentials)

    def __enter__(self) -> "ObjectStorageModel":
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool:
        try:
            if exc_type is None and not self._skip:
                self._complete()
        finally:
            self._unlock()
        return False

    def _complete(self) -> None:
        if not set(os.listdir(self.dir)) - {self.SENTINEL_NAME}:
            raise RuntimeError(f"No files were downloaded from {self.model_path} to {self.dir}")
        try:
            with open(os.path.join(self.dir, self.SENTINEL_NAME), "w", encoding="utf-8"):
                pass
        except OSError as error:
            raise RuntimeError(f"{self.dir} cannot be marked as complete: {error}") from error

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)
            lock.close()

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            self._unlock()
