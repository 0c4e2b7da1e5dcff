# SPDX-License-Identifier: Apache-2.0
"""SafetensorsStreamer, ObjectStorageModel, and what lists and pulls files of a store."""
import fcntl
import fnmatch
import logging
import os
import shutil
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

import libstreamer
from runai_model_streamer.distributed_streamer.distributed_streamer import DistributedStreamer
from runai_model_streamer.file_streamer.file_streamer import RunaiStreamerInvalidInputException
from runai_model_streamer.s3_utils.s3_utils import (S3Credentials, as_uri, is_azure_path, is_gs_path,
                                                    is_object_path, is_s3_path, settings_of)
from runai_model_streamer.safetensors_streamer.safetensors_pytorch import (SafetensorMetadata,
                                                                           metadata_of, open_files)

logger = logging.getLogger(__name__)

class SafetensorsStreamer:
    """Streams the tensors of safetensors files as soon as each is whole. Use it with `with`."""

    def __init__(self) -> None:
        self.files_to_tensors_metadata: Dict[int, List[SafetensorMetadata]] = {}
        self.total_size = 0
        self._is_open = False

    def __enter__(self) -> "SafetensorsStreamer":
        self.file_streamer = DistributedStreamer()
        self.file_streamer.__enter__()
        self._is_open = True
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self._is_open = False
        self.file_streamer.__exit__(exc_type, exc_value, traceback)

    def stream_file(self, path: str, s3_credentials: Optional[S3Credentials] = None,
                    device: Optional[str] = "cpu", is_distributed: bool = False,
                    tensor_names: Optional[List[str]] = None, owned: bool = True) -> None:
        """stream_files() for one file."""
        self.stream_files([path], s3_credentials, device, is_distributed, tensor_names, owned)

    def stream_files(self, paths: List[str], s3_credentials: Optional[S3Credentials] = None,
                     device: Optional[str] = "cpu", is_distributed: bool = False,
                     tensor_names: Optional[List[str]] = None, owned: bool = True) -> None:
        """Reads and checks the headers, starts to read the tensors, and returns.

        tensor_names: only these; each must be in exactly one file. owned is taken for compatibility:
        memory that a yielded tensor still refers to is never written again, whatever it says.
        """
        del owned
        # Before anything else, as without `with` there is nobody to end what is started.
        streamer = self.file_streamer
        paths = [os.fspath(path) for path in paths]
        check_one_source(paths)
        for path in paths:
            if not is_object_path(path) and os.path.isdir(path):
                raise ValueError("Could not receive runai_response from libstreamer due to: "
                                 f"b'Unknown Error': {path} is a folder")
        streamer.check_idle()
        if not paths:
            self.files_to_tensors_metadata = {}
            return
        streamer.decide(is_distributed, device)
        try:
            checkpoint = open_files(paths, s3_credentials)
            metadata = metadata_of(checkpoint)
            wanted = _numbers_of(checkpoint, tensor_names) if tensor_names is not None else None
        except Exception as error:
            streamer.tell(error)
            raise
        if wanted is not None:
            for number, one in enumerate(metadata):
                names = {t.name for t in checkpoint.tensors
                         if t.number in wanted and t.object == number}
                one.tensors_metadata = [t for t in one.tensors_metadata if t.name in names]
        self.files_to_tensors_metadata = {number: one.tensors_metadata
                                          for number, one in enumerate(metadata)}
        self.total_size = sum(t.get_bytesize() for one in metadata for t in one.tensors_metadata)
        streamer.stream_checkpoint(checkpoint, paths, wanted, settings_of(s3_credentials), device)

    def get_tensors(self) -> Iterator[Tuple[str, torch.Tensor]]:
        """(name, tensor), each once, in any order."""
        yield from self.file_streamer.get_tensors()


def check_one_source(paths: List[str]) -> None:
    """All of one kind of store, or all files."""
    kinds = {(is_s3_path(path), is_gs_path(path), is_azure_path(path)) for path in paths}
    if len(kinds) > 1:
        raise RunaiStreamerInvalidInputException(
            "Cannot stream files from multiple source types in parallel")


def _numbers_of(checkpoint, names):
    if not names:
        raise ValueError("tensor_names is empty")
    by_name: Dict[str, List[int]] = {}
    for tensor in checkpoint.tensors:
        by_name.setdefault(tensor.name, []).append(tensor.number)
    for name in names:
        found = len(by_name.get(name, ()))
        if found != 1:
            raise ValueError(f"tensor {name!r} is in {found} of the files" if found
                             else f"no file has a tensor {name!r}")
    return {by_name[name][0] for name in names}


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
    settings = settings_of(s3_credentials)
    prefix = _as_prefix(model_path)
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
    return path.rstrip("/") + "/"


def _as_pattern(key):
    """A pattern that only the key matches."""
    return "".join(f"[{c}]" if c in "*?[" else "\\\\" if c == "\\" else c for c in key)


class ObjectStorageModel:
    """A folder of a model's small files, pulled once by whoever comes first; others wait for him.

    A lock beside the folder and a sentinel in it say how far that is.
    """

    SENTINEL_NAME = ".runai_complete"

    def __init__(self, model_path: str, dst: str,
                 s3_credentials: Optional[S3Credentials] = None) -> None:
        self._lock: Any = None
        self.model_path = os.fspath(model_path)
        if not is_object_path(self.model_path):
            raise ValueError(f"{self.model_path} is not a supported object storage path")
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

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> bool:
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
