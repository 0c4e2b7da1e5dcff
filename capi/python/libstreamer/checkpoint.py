# SPDX-License-Identifier: Apache-2.0
"""Safetensors objects, opened and checked, as one mapping of names to tensors."""
import collections.abc
import ctypes
import functools
import itertools
import os
import struct
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _native
from ._native import library
from .errors import call
from .settings import NativeSettings, explained_by
from .waiting import call_for_handle, operation_of

Uri = Union[str, "os.PathLike[str]"]


class TensorInfo(NamedTuple):
    """One tensor as it is stored."""

    name: str
    dtype: str  # as safetensors spells it: "BF16"
    shape: Tuple[int, ...]
    bytes: int
    number: int  # in the checkpoint, from 0
    object: int  # index of its object in Checkpoint.objects
    object_offset: int  # of its first byte in the object


class ObjectInfo(NamedTuple):
    """One stored file."""

    uri: str
    bytes: int
    header_bytes: int
    tensor_count: int
    metadata: Dict[str, str]
    version: str = ""  # differs if the bytes may differ: an ETag, or the times and the inode of a file


def as_uris(uris: Union[Uri, Sequence[Uri]]) -> List[str]:
    """One URI or path, or several, as a list of strings."""
    if isinstance(uris, (str, os.PathLike)):
        uris = [uris]
    return [os.fspath(uri) for uri in uris]


# TensorInfo of streamer.h for struct: struct_size, name, name_size, dtype, rank, shape, bytes, object,
# object_offset.
_INFO = struct.Struct("@NPNiIPQNQ")
assert _INFO.size == ctypes.sizeof(_native.TensorInfo)


@functools.lru_cache(maxsize=None)
def dtype_name(number):
    return (library.dtype_name(number) or b"unknown").decode()


class _Columns:
    """The fields of TensorInfo, each as a list with one value for each tensor. Of 100,000 tensors they
    are made in a fraction of the time that as many objects take, and most loads need no more."""

    _AT_ONCE = 4096  # the most infos that one call of the library stores

    def __init__(self, handle):
        self.name: List[str] = []
        self.dtype: List[str] = []
        self.shape: List[Tuple[int, ...]] = []
        self.bytes: List[int] = []
        self.object: List[int] = []
        self.object_offset: List[int] = []
        infos = (_native.TensorInfo * min(library.checkpoint_tensor_count(handle), self._AT_ONCE))()
        for info in infos:
            info.struct_size = _INFO.size
        count, shapes = ctypes.c_size_t(len(infos)), {}
        while count.value == len(infos) > 0:
            call(library.checkpoint_get_tensor_infos, handle, len(self.name), len(infos), infos,
                 ctypes.byref(count))
            if count.value:
                view = memoryview(infos).cast("B")[:count.value * _INFO.size]
                self._add(*zip(*_INFO.iter_unpack(view)), shapes)

    def _add(self, _, name, name_size, dtype, rank, shape, nbytes, index, offset, shapes):
        """All but shapes, which maps each shape to itself: a field of several infos."""
        self.name += self._names(name, name_size)
        self.dtype += map(dtype_name, dtype)
        lengths = struct.unpack(f"={sum(rank)}Q", ctypes.string_at(shape[0], 8 * sum(rank)))
        ends = list(itertools.accumulate(rank, initial=0))
        self.shape += (shapes.setdefault(one, one) for one in
                       map(lengths.__getitem__, map(slice, ends, ends[1:])))
        self.bytes += nbytes
        self.object += index
        self.object_offset += offset

    @staticmethod
    def _names(name, name_size):
        block = ctypes.string_at(name[0], name[-1] + name_size[-1] - name[0])
        names = block.decode().split("\0")
        if len(names) == len(name):
            return names
        # A name has a NUL of its own.
        return [block[one - name[0]:one - name[0] + size].decode()
                for one, size in zip(name, name_size)]


class Checkpoint(_native.Unshared, collections.abc.Mapping):
    """Maps names to TensorInfo, in storage order: by object, then offset. Each object is pinned to the
    version it had when it was opened. Immutable; any number of threads and loads may use it.

    A name that several objects have refers to the first; `tensors` has all of them. timeout and
    operation: for opening it.
    """

    def __init__(self, uris, settings: Optional[Mapping] = None, *, prefixes=None,
                 credentials=None, timeout=None, operation=None):
        self._settings = NativeSettings(settings, prefixes, credentials)
        self._values = dict(settings or {})  # which loads inherit
        self.uris = as_uris(uris)
        self._operation = operation_of(timeout, operation)
        self.handle = self._open()
        self._operation = None
        self.objects: Tuple[ObjectInfo, ...] = tuple(self._read_objects())

    def _open(self):
        texts = (ctypes.c_char_p * (len(self.uris) + 1))(*(os.fsencode(u) for u in self.uris))
        return self._call(library.checkpoint_open, texts, len(self.uris))

    def _call(self, function, *arguments):
        with explained_by(self._settings):
            return call_for_handle(function, *arguments, self._settings.handle,
                                   self._operation.handle, keep=(self._settings, arguments),
                                   free=library.checkpoint_close, operation=self._operation)

    def __del__(self):
        if getattr(self, "handle", None):
            library.checkpoint_close(self.handle)

    @functools.cached_property
    def tensors(self) -> Tuple[TensorInfo, ...]:
        """All tensors, in storage order. Made when it is first asked for."""
        of = self._columns
        return tuple(map(TensorInfo._make, zip(of.name, of.dtype, of.shape, of.bytes,
                                               itertools.count(), of.object, of.object_offset)))

    @functools.cached_property
    def _columns(self) -> _Columns:
        """Made when it is first asked for, so that a load can already read in the meantime."""
        return _Columns(self.handle)

    @functools.cached_property
    def _by_name(self) -> Dict[str, TensorInfo]:
        by_name = {tensor.name: tensor for tensor in self.tensors}
        if len(by_name) != len(self.tensors):
            by_name = {}
            for tensor in self.tensors:
                by_name.setdefault(tensor.name, tensor)
        return by_name

    def _read_objects(self):
        info = _native.ObjectInfo()
        key, value = ctypes.c_char_p(), ctypes.c_char_p()
        for number in range(library.checkpoint_object_count(self.handle)):
            call(library.checkpoint_get_object_info, self.handle, number, ctypes.byref(info))
            metadata = {}
            for entry in range(info.metadata_count):
                call(library.checkpoint_get_metadata, self.handle, number, entry,
                     ctypes.byref(key), ctypes.byref(value))
                metadata[key.value.decode()] = value.value.decode()
            yield ObjectInfo(os.fsdecode(info.uri), info.bytes, info.header_bytes,
                             info.tensor_count, metadata,
                             (info.version or b"").decode(errors="replace"))

    @property
    def bytes(self) -> int:
        """The bytes of all tensors together."""
        return library.checkpoint_bytes(self.handle)

    @property
    def notes(self) -> List[str]:
        """Which files of a folder were left out when it was opened, and why."""
        return library.checkpoint_notes(self.handle).decode(errors="replace").splitlines()

    @property
    def metadata(self) -> Dict[str, str]:
        """The __metadata__ of all objects; for keys that several have, the value of the first."""
        merged: Dict[str, str] = {}
        for one in reversed(self.objects):
            merged.update(one.metadata)
        return merged

    def __getitem__(self, name: str) -> TensorInfo:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self):
        return f"<Checkpoint of {len(self.tensors)} tensors in {len(self.objects)} objects>"


class Ranges(Checkpoint):
    """Ranges of files of any kind as a checkpoint: range i is the tensor "i", U8, one row."""

    def __init__(self, ranges: Sequence[Tuple[Uri, int, int]], settings: Optional[Mapping] = None,
                 **options):
        self._ranges = [(os.fspath(uri), offset, size) for uri, offset, size in ranges]
        super().__init__([], settings, **options)

    def _open(self):
        ranges = (_native.ObjectRange * max(len(self._ranges), 1))()
        for native, (uri, offset, size) in zip(ranges, self._ranges):
            native.struct_size = ctypes.sizeof(_native.ObjectRange)
            native.uri, native.offset, native.bytes = os.fsencode(uri), offset, size
        return self._call(library.checkpoint_open_ranges, ranges, len(self._ranges))


class RankParts(Checkpoint):
    """The parts of one rank of a sharded state."""

    def __init__(self, folder: Uri, rank: int, pattern: Optional[str] = None,
                 settings: Optional[Mapping] = None, **options):
        self._wanted = (os.fsencode(folder), pattern.encode() if pattern else None, rank)
        super().__init__([], settings, **options)

    def _open(self):
        return self._call(library.checkpoint_open_rank, *self._wanted)
