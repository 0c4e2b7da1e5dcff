# SPDX-License-Identifier: Apache-2.0
"""Loads: each is one pass that reads tensors into memory."""
import asyncio
import atexit
import collections
import contextlib
import ctypes
import fnmatch
import functools
import os
import struct
import sys
import time
import weakref
from typing import (Any, Callable, ContextManager, Dict, Iterable, Iterator, List, Mapping, Optional,
                    Sequence, Tuple, Union)

from . import _native
from ._native import library
from .checkpoint import Checkpoint, TensorInfo
from .errors import (InvalidArgumentError, MemoryLimitError, StreamerError, UnsupportedError, call,
                     text_of)
from .ranks import RankGroup, as_ranks
from .settings import NativeSettings, explain
from .tensor import FRAMEWORK_NAMES, Tensor
from .torch_threads import SleepBetweenCopies
from .waiting import call_for_handle

# How long a wait in the library lasts before Python looks for signals.
_TICK_MS = 100
# A loop that waits longer than this is one that keeps up with its source: what its copies take from the
# cores is missing there. Tensors of cached files come sooner.
_LONG_WAIT_S = 0.01

# The most tensors that one call of the library returns, if all of the load is in memory anyway.
_AT_ONCE = 256
# Of TensorView, for struct: data, bytes, device.kind, device.number and tensor.
_VIEW = struct.Struct(f"@{_native.TensorView.data.offset}xPQiiN"
                      f"{ctypes.sizeof(_native.TensorView) - _native.TensorView.item.offset}x")
assert _VIEW.size == ctypes.sizeof(_native.TensorView)

Select = Union[None, str, Iterable[str], Callable[[TensorInfo], bool]]


def all_stats() -> Dict[str, str]:
    """What loads count: maps names to their meanings. Those ending in _ns are nanoseconds."""
    found, info = {}, _native.StatInfo()
    for index in range(library.stat_count()):
        call(library.stat_get_info, index, ctypes.byref(info))
        found[info.name.decode()] = info.meaning.decode()
    return found


@functools.lru_cache(maxsize=None)
def _parse_device(text):
    found = _native.Device()
    call(library.device_parse, text.encode("utf-8", "replace"), ctypes.byref(found))
    return found.kind, found.number


def parse_device(device) -> Tuple[int, int]:
    """The kind and number of "cpu", "cuda", "cuda:1", or of a torch.device."""
    return _parse_device(str(device if device is not None else "cpu"))


@functools.lru_cache(maxsize=None)
def _device_name(kind, number):
    """As torch spells it."""
    return "cpu" if kind == _native.DEVICE_HOST else \
        f"{library.device_kind_name(kind).decode()}:{number}"


def _limit_of(values) -> str:
    """memory_limit as the library will see it: from the call, from the environment, or the default."""
    limit = values.get("memory_limit")
    for variable in ("STREAMER_MEMORY_LIMIT", "RUNAI_STREAMER_MEMORY_LIMIT"):
        limit = os.environ.get(variable) if limit is None else limit
    return "auto" if limit is None else str(limit).strip().lower()


def _number_of(argument: str, value: Any, words: Sequence[str]) -> int:
    if value not in words:
        raise InvalidArgumentError(f"{argument} is {value!r}; it may be "
                                   f"{' or '.join(map(repr, words))}")
    return words.index(value)


def _usual_order(values) -> str:
    """The loop holds its current tensor while it waits for the next one. If that tensor became ready
    long after those behind it, there would be no room until it is released; so with a limit, tensors
    come in the order in which memory is used."""
    is_unlimited = str(values.get("memory_limit")) in ("unlimited", "-1")
    return "completion" if is_unlimited and "device_memory_limit" not in values else "plan"


class _Destination:
    """Memory of the caller: anything with the buffer protocol, or a torch tensor."""

    def __init__(self, name, target):
        self.owner = target
        self.device = (_native.DEVICE_HOST, 0)
        if hasattr(target, "data_ptr") and hasattr(target, "is_contiguous"):
            if not target.is_contiguous():
                raise InvalidArgumentError(f"the destination of {name} is not contiguous")
            self.address = target.data_ptr()
            self.nbytes = target.numel() * target.element_size()
            self.device = parse_device(target.device)
            self.shape = tuple(target.shape)
            self.dtype = str(target.dtype).replace("torch.", "")
            return
        view = memoryview(target)
        if view.readonly or not view.c_contiguous:
            raise InvalidArgumentError(f"the destination of {name} is read-only or not contiguous")
        self.nbytes = view.nbytes
        self.shape = tuple(view.shape) if hasattr(target, "dtype") else None
        self.dtype = str(target.dtype) if hasattr(target, "dtype") else None
        self.address = 0
        if self.nbytes:
            self.owner = (ctypes.c_ubyte * self.nbytes).from_buffer(view.cast("B"))
            self.address = ctypes.addressof(self.owner)


def destination_of(tensor, shape, target) -> _Destination:
    """Memory of the caller that a tensor, or the part of it that has this shape, fits in."""
    destination = _Destination(tensor.name, target)
    if destination.shape is not None and destination.shape != shape:
        raise InvalidArgumentError(
            f"tensor {tensor.name!r} has shape {list(shape)}, but its destination has "
            f"{list(destination.shape)}")
    if destination.dtype is not None and not _same_dtype(tensor.dtype, destination.dtype):
        raise InvalidArgumentError(
            f"tensor {tensor.name!r} has dtype {tensor.dtype}, but its destination has "
            f"{destination.dtype}")
    return destination


def _is_wanted(select: Select) -> Callable[[TensorInfo], bool]:
    if select is None:
        return lambda tensor: True
    if callable(select):
        return select
    patterns = [select] if isinstance(select, str) else list(select)
    names = frozenset(p for p in patterns if not any(c in p for c in "*?["))
    globs = [p for p in patterns if p not in names]
    return lambda tensor: tensor.name in names or any(
        fnmatch.fnmatchcase(tensor.name, glob) for glob in globs)


def _check_names(checkpoint, select, slices, into, allow_empty):
    wanted = [] if select is None or callable(select) else \
        [select] if isinstance(select, str) else list(select)
    for name in (*wanted, *(slices or ()), *(into or ())):
        if name in checkpoint:
            continue
        if not any(c in name for c in "*?["):
            raise InvalidArgumentError(f"the checkpoint has no tensor {name!r}")
        if not allow_empty and not any(fnmatch.fnmatchcase(one, name) for one in checkpoint):
            some = next(iter(checkpoint), None)
            like = f", which have names such as {some!r}" if some is not None else ""
            raise InvalidArgumentError(
                f"select: {name!r} matches none of the {len(checkpoint)} tensors{like}; give another "
                "pattern, or allow_empty=True")


class _Plan(_native.Unshared):
    """Owns a native plan."""

    def __init__(self, checkpoint):
        self.handle = ctypes.c_void_p()
        call(library.plan_new, checkpoint.handle, ctypes.byref(self.handle))

    def __del__(self):
        library.plan_free(self.handle)


def _call_here(function, *arguments, keep, free):
    del keep, free
    handle = ctypes.c_void_p()
    call(function, *arguments, ctypes.byref(handle))
    return handle


# By what carries the bytes of ranks: the load that it carries.
_carried: "weakref.WeakKeyDictionary[Any, weakref.ref[Load]]" = weakref.WeakKeyDictionary()
# What carried a load whose start was interrupted, and may carry it still.
_abandoned: "weakref.WeakSet[Any]" = weakref.WeakSet()


def told_to(ranks: Optional[RankGroup]) -> ContextManager[None]:
    """What fails in it fails on the other ranks, too, which would wait for this one; None: alone."""
    if ranks is None:
        return contextlib.nullcontext()
    _check_carries_none(ranks)
    return ranks.told()


def _check_carries_none(ranks):
    """Two loads at once would take each other's bytes. Nothing can be told to the other ranks then: the
    group carries what they are in the middle of."""
    if ranks.size == 1:
        return
    if ranks.carries in _abandoned:
        raise InvalidArgumentError("the group of ranks was left in the middle of the start of a load, "
                                   "which was interrupted: make a new group")
    other = _carried.get(ranks.carries, lambda: None)()
    if other is not None and other._handle and not other._has_ended:
        raise InvalidArgumentError("the group of ranks is in the middle of another load: close that "
                                   "one, or take it to its end, before the next one starts")


@atexit.register
def _close_shared_loads():
    """Before the interpreter goes away under the threads on which ranks exchange bytes."""
    for reference in list(_carried.values()):
        load = reference()
        if load is not None and load._handle:
            load.close()


class _NotStarted(Exception):
    """Something failed before the library was asked to load; __cause__ says what."""


class Load(_native.Unshared):
    """An iterator of (name, tensor). Ends with close(), with the `with` statement, or when it is
    dropped; yielded tensors stay valid. For one thread, except cancel() and stats()."""

    def __init__(self, checkpoint: Checkpoint, *, device="cpu", select: Select = None,
                 slices: Optional[Mapping[str, Any]] = None,
                 into: Optional[Mapping[str, Any]] = None, order: Optional[str] = None,
                 read_order="storage", stream: int = 0,
                 settings: Optional[Mapping[str, Any]] = None, prefixes=None, credentials=None,
                 group: Any = None, allow_empty: bool = False, first: Sequence[str] = ()):
        self.checkpoint = checkpoint
        self._may_be_empty = allow_empty
        self._pid = os.getpid()
        self._handle = ctypes.c_void_p()
        self._ranks = as_ranks(group, settings, device)
        if self._ranks is not None:
            _check_carries_none(self._ranks)
            _carried[self._ranks.carries] = weakref.ref(self)
        self._at_the_end = [], {}  # what explain() and stats() say once it is closed
        self._sleep_between_copies = SleepBetweenCopies()
        self._tell = lambda: None
        self._has_ended = False
        self._ready = collections.deque()
        self._handles = (ctypes.c_void_p * _AT_ONCE)()
        self._views = (_native.TensorView * _AT_ONCE)()
        for view in self._views:
            view.struct_size = ctypes.sizeof(view)
        self._shapes = {}
        self._destinations: Dict[int, _Destination] = {}
        self._last = lambda: None  # the tensor that was yielded last, if it is still referenced
        try:
            self._start(device, select, slices, into, order, read_order, stream, settings, prefixes,
                        credentials, first)
        except _NotStarted as error:
            # Otherwise the other ranks would wait for this one.
            if self._ranks is not None:
                self._ranks.tell(error.__cause__)
            raise error.__cause__ from None

    def _start(self, device, select, slices, into, order, read_order, stream, settings, prefixes,
               credentials, first):
        try:
            values = dict(settings or {})
            if order is None:
                order = _usual_order({**self.checkpoint._values, **values})
            plan = self._plan(select, slices, into, [first] if isinstance(first, str) else list(first))
        except Exception as error:
            raise _NotStarted() from error
        try:
            options = self._prepare(plan.handle, device, order, read_order, stream, values, prefixes,
                                    credentials)
            # Starting may ask the store for checksums, or wait for the other ranks, and Ctrl-C must
            # end that.
            is_anywhere = self._ranks is None or self._ranks.is_for_any_thread
            starting = call_for_handle if is_anywhere else _call_here
            self._handle = starting(library.load_start, plan.handle, ctypes.byref(options),
                                    self._settings.handle, free=library.load_close,
                                    keep=(self._settings, options, plan, self._destinations,
                                          self._ranks))
        except StreamerError as error:
            explain(error, self._settings, self.checkpoint._settings)
            interrupt = getattr(self._ranks, "interrupt", None)
            if interrupt is not None:
                raise interrupt from None
            raise
        except KeyboardInterrupt:
            if self._ranks is not None:
                _abandoned.add(self._ranks.carries)
            raise

    def _plan(self, select, slices, into, first):
        if into is not None and select is None:
            select = list(into)
        _check_names(self.checkpoint, select, slices, into, self._may_be_empty)
        plan = _Plan(self.checkpoint)
        if select is None and not slices and not into:
            call(library.plan_add_matching, plan.handle, None, None)
        else:
            self._fill(plan.handle, _is_wanted(select), slices or {}, into or {})
        if first:
            globs = (ctypes.c_char_p * len(first))(*(text.encode() for text in first))
            call(library.plan_prioritize, plan.handle, globs, len(first))
        return plan

    def _prepare(self, plan, device, order, read_order, stream, values, prefixes, credentials):
        try:
            in_force = {**self.checkpoint._values, **values}
            # A tensor may need the whole ring, so the one before it cannot stay there.
            self.moves_out = _limit_of(in_force) in ("minimum", "0") and \
                parse_device(device)[0] == _native.DEVICE_HOST
            self._settings = NativeSettings(values, prefixes, credentials)
            # With a limit, tensors taken in advance would occupy the room that others need.
            self.is_limited = _limit_of(in_force) not in ("auto", "unlimited", "-1") or \
                "device_memory_limit" in in_force
            self._at_once = 1 if self.is_limited else _AT_ONCE
            self._yields_host_memory = not self._destinations and \
                parse_device(device)[0] == _native.DEVICE_HOST
            self.total = library.plan_item_count(plan)
            self.total_bytes = library.plan_bytes(plan)
            self._wait_for_queued_work()
            kind, number = parse_device(device)
            communicator = None
            if self._ranks is not None:
                communicator = ctypes.cast(self._ranks.communicator, ctypes.c_void_p)
            return _native.LoadOptions(
                order=_number_of("order", order, ("completion", "plan")),
                read_order=_number_of("read_order", read_order, ("storage", "item")),
                device=_native.Device(kind, number), stream=stream or None,
                communicator=communicator)
        except Exception as error:
            raise _NotStarted() from error

    def _fill(self, plan, is_wanted, slices, into):
        # Of several tensors of one name, one destination has room for the first.
        chosen = [tensor for tensor in self.checkpoint.tensors if is_wanted(tensor) and
                  (tensor.name not in into or self.checkpoint[tensor.name].number == tensor.number)]
        left_out = sorted(set(into) - {tensor.name for tensor in chosen})
        if left_out:
            raise InvalidArgumentError(f"into has memory for {left_out[:5]}, which select leaves out; "
                                       "select them too, or leave select out")
        items = (_native.PlanItem * len(chosen))()
        for item, tensor in zip(items, chosen):
            item.struct_size = ctypes.sizeof(_native.PlanItem)
            item.tensor = tensor.number
            shape = tensor.shape
            if tensor.name in slices:
                dimension, start, stop = _slice_of(tensor, slices[tensor.name])
                item.part = _native.PART_SLICE
                item.slice_dimension, item.slice_start, item.slice_stop = dimension, start, stop
                shape = (*shape[:dimension], stop - start, *shape[dimension + 1:])
                self._shapes[tensor.number] = shape
            if tensor.name in into:
                self._aim(item, tensor, shape, into[tensor.name])
        if chosen:
            call(library.plan_add, plan, items, len(chosen))

    def _aim(self, item, tensor, shape, target):
        destination = destination_of(tensor, shape, target)
        self._destinations[tensor.number] = destination
        item.destination = destination.address or None
        item.destination_bytes = destination.nbytes
        item.device = _native.Device(*destination.device)

    def _wait_for_queued_work(self):
        """Kernels that torch has queued may still write to the destinations, as those do that
        initialize a model."""
        devices = {one.device for one in self._destinations.values()
                   if one.device[0] != _native.DEVICE_HOST}
        torch = sys.modules.get("torch")
        if devices and torch is not None and torch.cuda.is_available():
            for _, number in devices:
                torch.cuda.current_stream(number).synchronize()

    def __iter__(self) -> Iterator[Tuple[str, Tensor]]:
        return self

    def __next__(self) -> Tuple[str, Tensor]:
        if self._ready:
            tensor = self._ready.popleft()
            return tensor.name, tensor
        tensor = self.next()
        if tensor is None:
            raise StopIteration
        return tensor.name, tensor

    def next(self) -> Optional[Tensor]:
        """Returns the next tensor, or None at the end. Waits without the interpreter's lock; Ctrl-C
        ends the load at once."""
        while True:
            tensor, is_over = self._look(_TICK_MS)
            if tensor is not None or is_over:
                return tensor

    def _look(self, timeout_ms):
        """Returns (tensor, False), (None, True) at the end, or (None, False) on a timeout."""
        if not self._handle:
            return None, True
        if os.getpid() != self._pid:
            raise UnsupportedError("this load was started before fork(); start the load in the "
                                   "process that uses it")
        if self._ready:
            return self._ready.popleft(), False
        if self.moves_out:
            self._move_out()
        count = ctypes.c_size_t()
        began = time.monotonic()
        try:
            status = call(library.load_next_many, self._handle, timeout_ms, self._at_once,
                          self._handles, self._views, ctypes.byref(count))
            self._has_ended = status == _native.END
            if self._yields_host_memory and time.monotonic() - began > _LONG_WAIT_S:
                self._sleep_between_copies.start()
            if status != _native.OK:
                return None, status == _native.END
            self._take(count.value)
            tensor = self._ready.popleft()
            if self.moves_out:
                self._last = weakref.ref(tensor)
            return tensor, False
        except StreamerError as error:
            self._has_ended = not isinstance(error, MemoryLimitError)  # after that it may go on
            explain(error, self._settings, self.checkpoint._settings)
            interrupt = getattr(self._ranks, "interrupt", None)
            if interrupt is not None:
                raise interrupt from None
            raise
        except KeyboardInterrupt:
            self.close()
            raise

    # ---- In an event loop ----

    def fileno(self) -> int:
        """A descriptor that is readable when next() may have something; see streamer_load_fd() in
        streamer.h."""
        fd = ctypes.c_int()
        call(library.load_fd, self._handle, ctypes.byref(fd))
        return fd.value

    def __aiter__(self) -> "Load":
        return self

    async def __anext__(self) -> Tuple[str, Tensor]:
        tensor = await self.next_async()
        if tensor is None:
            raise StopAsyncIteration
        return tensor.name, tensor

    async def next_async(self) -> Optional[Tensor]:
        """next() for asyncio: the event loop runs other tasks in the meantime."""
        if not self._ready:
            await asyncio.sleep(0)  # other tasks get their turn even if a tensor is always ready
        while True:
            tensor, is_over = self._look(0)
            if tensor is not None or is_over:
                return tensor
            await self._news()

    async def _news(self):
        loop, fd = asyncio.get_running_loop(), self.fileno()
        news = loop.create_future()

        def tell():
            if not news.done():
                news.set_result(None)

        self._tell = lambda: loop.call_soon_threadsafe(tell)
        loop.add_reader(fd, tell)
        try:
            await news
        finally:
            self._tell = lambda: None
            loop.remove_reader(fd)

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, *_):
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def _take(self, count):
        # Once for each tensor of a checkpoint that may have 100,000: every step counts.
        of, sliced, append = self.checkpoint._columns, self._shapes, self._ready.append
        names, dtypes, shapes = of.name, of.dtype, of.shape
        views = _VIEW.iter_unpack(memoryview(self._views).cast("B")[:count * _VIEW.size])
        for handle, (data, nbytes, kind, device, number) in zip(self._handles, views):
            shape = sliced.get(number, shapes[number]) if sliced else shapes[number]
            append(Tensor(handle, names[number], dtypes[number], shape, nbytes,
                          _device_name(kind, device), number, data))

    def _move_out(self):
        last = self._last()
        if last is not None:
            last.move_out()

    def cancel(self) -> None:
        """Stops reading; current and later calls of next() raise CancelledError. Thread-safe."""
        if self._handle:
            library.load_cancel(self._handle)

    def close(self) -> None:
        """Cancels what is left and waits for the reads in progress: afterwards no memory of the caller
        is written."""
        handle = self._handle
        is_ours = handle and os.getpid() == self._pid
        try:
            if is_ours:
                self._at_the_end = self._explain(handle), self._stats(handle)
        finally:  # whatever the interpreter has left of this when it ends
            self._handle = ctypes.c_void_p()
            self._ready.clear()
            self._tell()  # wakes a task that awaits the descriptor, which is closed now
            self._sleep_between_copies.stop()
            if is_ours:
                library.load_close(handle)
            self._destinations = {}

    def explain(self) -> List[str]:
        """What was chosen when the load started, and why: "NAME: VALUE: REASON", for humans."""
        return self._explain(self._handle) if self._handle else self._at_the_end[0]

    def stats(self) -> Dict[str, Any]:
        """What the load has counted so far, or when it was closed, by the names of all_stats(), with
        held_back_by and notes. Thread-safe."""
        return self._stats(self._handle) if self._handle else dict(self._at_the_end[1])

    @staticmethod
    def _explain(handle):
        return text_of(library.load_explain(handle)).splitlines()

    @staticmethod
    def _stats(handle):
        names = list(all_stats())
        values = (ctypes.c_uint64 * len(names))()
        library.load_get_all_stats(handle, values, len(names))
        found: Dict[str, Any] = dict(zip(names, values))
        stats = _native.LoadStats()
        library.load_get_stats(handle, ctypes.byref(stats))
        found["held_back_by"] = library.held_back_by_name(stats.held_back_by).decode()
        found["notes"] = text_of(stats.notes).splitlines()
        return found

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()


def _slice_of(tensor, wanted):
    """(dimension, start, stop), from the same, from a slice, or from slices by dimension."""
    if isinstance(wanted, slice):
        wanted = (wanted,)
    wanted = tuple(wanted)
    if len(wanted) == 3 and all(isinstance(number, int) for number in wanted):
        if min(wanted) < 0:
            raise InvalidArgumentError(f"the slice of {tensor.name!r} is {wanted}; (dimension, start, "
                                       "stop) count from the beginning: write slice(start, stop) to "
                                       "count from the end")
        return wanted
    cut = [(d, *one.indices(tensor.shape[d])) for d, one in enumerate(wanted)
           if d < len(tensor.shape) and one != slice(None)]
    if len(wanted) > len(tensor.shape) or len(cut) > 1 or any(step != 1 for *_, step in cut):
        raise InvalidArgumentError(
            f"the slice of {tensor.name!r} may cut one dimension, in steps of one")
    return cut[0][:3] if cut else (0, 0, tensor.shape[0] if tensor.shape else 1)


def _same_dtype(stored, other):
    return other == FRAMEWORK_NAMES.get(stored, stored.lower())
