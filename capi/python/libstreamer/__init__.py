# SPDX-License-Identifier: Apache-2.0
"""libstreamer: model weights from storage to memory.

    import libstreamer

    checkpoint = libstreamer.open("s3://models/llama")     # names to dtype, shape, size
    for name, tensor in libstreamer.load(checkpoint, framework="torch"):
        ...

Waiting releases the interpreter's lock; Ctrl-C ends a load at once; failures are StreamerError. A
shared library of libstreamer must be beside this package, named by STREAMER_LIBRARY, or where the
loader looks.
"""
import contextlib as _contextlib
import ctypes as _ctypes
import difflib as _difflib
import importlib.util as _import_util
import inspect as _inspect
import os as _os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence
from typing import Tuple, Union

from . import _native
from ._native import library as _library
from .checkpoint import Checkpoint, ObjectInfo, Ranges, RankParts, TensorInfo, Uri
from .errors import (AccessError, CancelledError, CorruptError, DeviceError, InvalidArgumentError,
                     MemoryLimitError, NotFoundError, ObjectChangedError, OutOfMemoryError,
                     ReadError, StreamerError, UnsupportedError)
from .errors import call as _call
from .load import Load, Select, all_stats
from .load import told_to as _told_to
from .ranks import RankGroup
from .ranks import TorchRanks
from .ranks import as_ranks as _as_ranks
from .reloading import Reloaded, changed
from .reloading import reload_into as _reload_into
from .settings import NativeSettings as _NativeSettings
from .settings import explained_by as _explained_by
from .settings import all_settings
from .tensor import Tensor
from .waiting import Operation, Progress, call_async
from .waiting import call_for_handle as _call_for_handle
from .waiting import operation_of as _operation_of

__version__ = _native.VERSION
__all__ = [
    "AccessError", "CancelledError", "Checkpoint", "CorruptError", "DeviceError", "Entry",
    "InvalidArgumentError", "Load", "MemoryLimitError", "ModelListing", "NotFoundError",
    "ObjectChangedError", "ObjectInfo", "Operation", "OutOfMemoryError", "ProcessUse", "Progress",
    "PulledFile",
    "Ranges", "RankGroup", "RankParts", "ReadError", "Reloaded", "Step", "StreamerError", "Tensor",
    "TensorInfo", "TorchRanks", "UnsupportedError", "all_settings", "all_stats", "build_info",
    "call_async", "changed", "configure_process", "diagnose",
    "library_version", "list", "list_model", "load", "load_into", "open", "open_rank",
    "process_use", "pull", "reload", "snapshot", "start", "trim",
]


class Entry(NamedTuple):
    """A file or folder under a URI."""

    uri: str
    bytes: int  # 0 for a folder
    is_folder: bool
    etag: str = ""  # as the store writes it; empty for folders and files, or if it sends none


class PulledFile(NamedTuple):
    """A local file of a pull."""

    path: str
    bytes: int
    etag: str = ""  # of the object, as the store writes it; empty if it sends none
    was_there: bool = False  # the file already had the same bytes and was not copied


class ModelListing(NamedTuple):
    """The objects of a model."""

    folder: str  # of the objects
    objects: List[Entry]  # empty: the folder holds no model
    notes: List[str]  # what was left out, or why there is nothing


class Step(NamedTuple):
    """One step on the way to a URI's bytes."""

    name: str  # "endpoint", "credentials", "list"
    detail: str  # what was found, or what failed and what to do
    seconds: float
    failed: bool


def library_version() -> str:
    """The version of the shared library: "MAJOR.MINOR.PATCH"."""
    return _library.version_string().decode()


def build_info() -> Dict[str, str]:
    """What is in the shared library, for humans: of curl, TLS, io_uring, GPU and MPI."""
    lines = _library.build_info().decode().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def open(uris: Union[Uri, Sequence[Uri]],
         settings: Optional[Mapping[str, Any]] = None, *,
         prefixes: Optional[Mapping[str, Mapping[str, Any]]] = None,
         credentials: Optional[Callable[[], Mapping[str, Any]]] = None,
         timeout: Optional[float] = None, operation: Optional[Operation] = None) -> Checkpoint:
    """Opens safetensors files, shard indexes, or one whole model from each folder; reads and checks
    headers. The checkpoint's notes say which files of a folder were left out.

    settings: maps names of all_settings() to values; prefixes: maps prefixes of URIs to such settings.
    credentials: called when a store of s3://, gs:// or az:// needs credentials (hf:// and https:// take
    the settings hf_token and https_bearer_token); returns a mapping with access_key_id,
    secret_access_key, session_token, expires_unix_s or bearer_token. timeout: seconds that opening
    may take in all; operation: an Operation that can cancel it.
    """
    return Checkpoint(uris, settings, prefixes=prefixes, credentials=credentials, timeout=timeout,
                      operation=operation)


def open_rank(folder: Uri, rank: int, pattern: Optional[str] = None,
              settings: Optional[Mapping[str, Any]] = None, **options: Any) -> Checkpoint:
    """Opens rank's parts of a sharded state. pattern: a file name with {rank} and {part};
    None: "model-rank-{rank}-part-{part}.safetensors". Other arguments: as for open()."""
    return RankParts(folder, rank, pattern, settings, **options)


def start(source: Union[Checkpoint, Uri, Sequence[Uri]], *, device: Any = "cpu",
          select: Select = None, slices: Optional[Mapping[str, Any]] = None,
          into: Optional[Mapping[str, Any]] = None, memory_limit: Union[None, int, str] = None,
          order: Optional[str] = None, read_order: str = "storage", stream: int = 0,
          settings: Optional[Mapping[str, Any]] = None, prefixes=None, credentials=None,
          group: Any = None, allow_empty: bool = False,
          first: Sequence[str] = ()) -> Load:
    """Starts a load and returns it: an iterator of (name, Tensor). See load()."""
    group = _as_ranks(group, settings, device)
    with _told_to(group):
        values = dict(settings or {})
        if memory_limit is not None:
            values["memory_limit"] = memory_limit
        if not isinstance(source, Checkpoint):
            source = Checkpoint(source, values, prefixes=prefixes, credentials=credentials)
            values, prefixes, credentials = {}, None, None  # the load inherits them
    return Load(source, device=device, select=select, slices=slices, into=into, order=order,
                read_order=read_order, stream=stream, settings=values, prefixes=prefixes,
                credentials=credentials, group=group, allow_empty=allow_empty, first=first)


def load(source: Union[Checkpoint, Uri, Sequence[Uri]], *, framework: Optional[str] = None,
         progress: Union[bool, Callable[[int, int], None]] = False, **options: Any
         ) -> Iterator[Tuple[str, Any]]:
    """Yields (name, tensor) as soon as each tensor's last byte has arrived.

    source: a Checkpoint, or anything that open() accepts. framework: "torch", "numpy", "jax", or None
    for Tensor. device: "cpu" or "cuda:0". select: a name, fnmatch patterns, each of which must match
    some name unless allow_empty is set, or a predicate of TensorInfo. slices: maps names to (dimension,
    start, stop), or to a slice for each dimension. into: maps names to memory of the caller (writable
    buffers, torch tensors); without select, only these names are selected.
    memory_limit: bytes, "auto", "unlimited" or "minimum"; a tensor that is still referenced counts.
    "minimum" is the largest tensor: a tensor that the loop still holds when it asks for the next one
    is copied to its own memory, and tensors of frameworks are copies from the start.
    progress: True for a tqdm bar, if tqdm is installed, or a function of (bytes done, bytes in all).
    order: "completion", "plan" (as memory is used), or None: "completion" if memory_limit is given as
    "unlimited", otherwise "plan", because the loop holds one tensor while the next one arrives.
    group: the ranks that share the load, so that each byte is read once between them: True for torch's
    default process group, another torch group (gloo for the host, nccl for GPUs), or a RankGroup;
    every rank must then call this, and each gets what it asks for. first: patterns of names; tensors
    that match the first pattern are read first, then those that match the second, and so on, then all
    others. Other arguments: read_order, stream, settings, prefixes, credentials. A load of a Checkpoint
    inherits the settings it was opened with, and accepts load settings only: others belong to open().
    """
    with _told_to_ranks(options):
        convert = _converter(framework)
        _check_options("load", options)
    return _yield_all(source, framework, convert, progress, options)


def _yield_all(source, framework, convert, progress, options):
    with start(source, **options) as running:
        if framework is None and not progress:
            yield from running
            return
        advance, finish = _progress(progress, running.total_bytes)
        try:
            for name, tensor in running:
                advance(tensor.nbytes)
                converted = convert(tensor)
                if running.moves_out and framework is not None:
                    converted = converted.clone() if framework == "torch" else converted.copy()
                # Only the yielded object may keep the memory alive.
                del tensor
                yield name, converted
                del converted
        finally:
            finish()


def _check_options(function, options, others=("framework", "progress"), without=()):
    """others: arguments that the function names itself; without: those of start() that it has not."""
    known = [name for name, one in _inspect.signature(start).parameters.items()
             if one.kind is one.KEYWORD_ONLY and name not in without]
    for name in options:
        if name not in known:
            like = _difflib.get_close_matches(name, [*known, *others], 1)
            hint = f"; did you mean {like[0]}?" if like else ""
            raise TypeError(f"{function}() has no argument {name!r}{hint}")


def load_into(target: Any, source: Union[Checkpoint, Uri, Sequence[Uri]], *, strict: bool = True,
              **options: Any) -> List[str]:
    """Loads straight into existing memory: a mapping of names to writable buffers or torch tensors, or
    a module (its state_dict()). Returns the names that were loaded. strict: names that only one side
    has are an error; otherwise they are ignored. A name of the target that shares the memory of another
    loaded name, as tied weights do, is not missing. Other arguments: as for load().
    """
    with _told_to_ranks(options):
        _check_options("load_into", options, ["framework", "progress", "strict"])
        memory = _memory_of(target)
        checkpoint = source if isinstance(source, Checkpoint) else open(
            source, options.get("settings"), prefixes=options.get("prefixes"),
            credentials=options.get("credentials"))
        (_check_same_names if strict else _check_some_name)(memory, checkpoint)
    if checkpoint is not source:
        for inherited in ("settings", "prefixes", "credentials"):
            options.pop(inherited, None)
    both = {name: memory[name] for name in memory if name in checkpoint}
    return [name for name, _ in load(checkpoint, into=both, **options)]


def reload(target: Any, source: Union[Checkpoint, Uri, Sequence[Uri]], since: Checkpoint, *,
           strict: bool = True, **options: Any) -> Reloaded:
    """load_into() for a target that holds `since`, a checkpoint that was opened and loaded before:
    reads only the tensors whose bytes may be others now, by the versions of the objects and the places
    in them. Each tensor's memory is written once all of its bytes are there: after an error it is
    whole, as it was or as it is now. The result's checkpoint is `since` of the next reload(). Other
    arguments: device, order, read_order, stream, memory_limit, settings, prefixes, credentials, group,
    first, as for load()."""
    with _told_to_ranks(options):
        _check_options("reload", options, ["strict"], ["select", "slices", "into", "allow_empty"])
        if not isinstance(since, Checkpoint):
            raise TypeError(f"since is of type {type(since).__name__}; it is the Checkpoint that the "
                            "target was loaded from")
        memory = _memory_of(target)
        checkpoint = source if isinstance(source, Checkpoint) else open(
            source, options.pop("settings", None), prefixes=options.pop("prefixes", None),
            credentials=options.pop("credentials", None))
        (_check_same_names if strict else _check_some_name)(memory, checkpoint)
    return Reloaded(checkpoint, _reload_into(memory, checkpoint, since, **options))


@_contextlib.contextmanager
def _told_to_ranks(options):
    """What fails in it fails on the other ranks of options["group"], too, which would wait for this
    one."""
    group = _as_ranks(options.get("group"), options.get("settings"), options.get("device", "cpu"))
    if group is not None:
        options["group"] = group
    with _told_to(group):
        yield


def _memory_of(target: Any) -> Mapping[str, Any]:
    memory = target.state_dict() if hasattr(target, "state_dict") else target
    if isinstance(memory, Mapping):
        return memory
    raise TypeError(f"the target is of type {type(target).__name__}; it may be a mapping of names to "
                    "writable buffers or torch tensors, or a module")


def _check_some_name(memory, checkpoint):
    """Whoever allows some names to differ still does not mean all of them."""
    if memory and len(checkpoint) and not any(name in checkpoint for name in memory):
        raise InvalidArgumentError(
            f"no name of the target is in the checkpoint, which has {next(iter(checkpoint))!r} where "
            f"the target has {next(iter(memory))!r}")


def _check_same_names(memory, checkpoint):
    if set(memory) == set(checkpoint):
        return
    unexpected = sorted(set(checkpoint) - set(memory))
    missing = set(memory) - set(checkpoint)
    missing = sorted(missing - _tied(memory, missing))
    if missing or unexpected:
        raise InvalidArgumentError(
            f"names differ: not in the checkpoint {_some_of(missing)}, not in the target "
            f"{_some_of(unexpected)}; strict=False ignores them")


def _some_of(names):
    return f"{names[:5]}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _tied(memory, names):
    """The names whose memory lies within that of other names, so that they need no bytes of their
    own."""
    def span(tensor):
        if not hasattr(tensor, "data_ptr") or tensor.numel() == 0:
            return None
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
        begin = tensor.data_ptr()
        return str(tensor.device), begin, begin + (last + 1) * tensor.element_size()

    spans = [span(tensor) for name, tensor in memory.items() if name not in names]
    spans = sorted(one for one in spans if one is not None)
    found = set()
    for name in names:
        own = span(memory[name])
        if own is not None and any(other[0] == own[0] and other[1] <= own[1] and own[2] <= other[2]
                                   for other in spans):
            found.add(name)
    return found


def list(uri: Uri, *, recursive: bool = False,
         settings: Optional[Mapping[str, Any]] = None, prefixes=None, credentials=None,
         timeout: Optional[float] = None, operation: Optional[Operation] = None) -> List[Entry]:
    """Lists what is directly under a URI or, if recursive, everything below it, without folders;
    sorted. timeout and operation: as for open()."""
    native = _NativeSettings(settings, prefixes, credentials)
    function = _library.listing_open_all if recursive else _library.listing_open
    return _take_listing(_listing_of(function, _os.fsencode(uri), native.handle, keep=(native,),
                                     operation=_operation_of(timeout, operation))).objects


def list_model(uri: Uri, *, settings: Optional[Mapping[str, Any]] = None, prefixes=None,
               credentials=None, timeout: Optional[float] = None,
               operation: Optional[Operation] = None) -> ModelListing:
    """Lists the objects that open() would open for a model's folder, its index or one file, without
    reading their headers. An incomplete model is an error here too. timeout and operation: as for
    open()."""
    native = _NativeSettings(settings, prefixes, credentials)
    return _take_listing(_listing_of(_library.listing_open_model, _os.fsencode(uri), native.handle,
                                     keep=(native,), operation=_operation_of(timeout, operation)))


def pull(uri: Uri, folder: Uri, *, allow: Union[str, Sequence[str]] = (),
         ignore: Union[str, Sequence[str]] = (), settings: Optional[Mapping[str, Any]] = None,
         prefixes=None, credentials=None, timeout: Optional[float] = None,
         operation: Optional[Operation] = None,
         progress: Union[bool, Callable[[int, int], None]] = False) -> List[PulledFile]:
    """Copies the objects below uri to folder, each whole or not at all; returns the files. An existing
    file that has the object's bytes is left alone (PulledFile.was_there). An error that concerns one
    object only, such as a name that cannot be a path, is raised at the end, once all others are there.
    Patterns are those of fnmatch, matched against the key and against the path below uri. progress: as
    for load(); timeout and operation: as for open()."""
    native = _NativeSettings(settings, prefixes, credentials)
    options = _pull_options(allow, ignore)
    operation = _operation_of(timeout, operation)
    tick, finish = _tick_of(progress, operation)
    try:
        return _take_files(_handle_of(
            _library.pull, _os.fsencode(uri), _os.fsencode(folder), _ctypes.byref(options),
            native.handle, keep=(native, options), free=_library.files_close, operation=operation,
            tick=tick))[1]
    finally:
        finish()


def snapshot(uri: Uri, *, allow: Union[str, Sequence[str]] = (), ignore: Union[str, Sequence[str]] = (),
             cache: Optional[Uri] = None, settings: Optional[Mapping[str, Any]] = None,
             prefixes=None, credentials=None, timeout: Optional[float] = None,
             operation: Optional[Operation] = None) -> str:
    """Returns the path of a local folder with one version of a model's small files (configuration,
    tokenizer, index): for programs that need files, while load() streams the weights from the URI
    itself.

    The first process pulls them, whole, below cache (None: the setting cache_folder); other
    processes wait for that or find them there; a folder never changes again. Without patterns
    everything is pulled except files named like weights. A local folder is its own snapshot. timeout
    and operation: as for open().
    """
    values = dict(settings or {})
    if cache is not None:
        values["cache_folder"] = _os.fspath(cache)
    native = _NativeSettings(values, prefixes, credentials)
    options = _pull_options(allow, ignore)
    return _take_files(_handle_of(_library.snapshot, _os.fsencode(uri), _ctypes.byref(options),
                                  native.handle, keep=(native, options),
                                  free=_library.files_close,
                                  operation=_operation_of(timeout, operation)))[0]


def diagnose(uri: Uri, *, settings: Optional[Mapping[str, Any]] = None, prefixes=None,
             credentials=None, timeout: Optional[float] = None,
             operation: Optional[Operation] = None) -> List[Step]:
    """Tries each step on the way to the bytes of uri, one after the other, and returns the steps. A
    failed step, usually the last, says what to do; only cancelling raises an exception."""
    native = _NativeSettings(settings, prefixes, credentials)
    operation = _operation_of(timeout, operation)
    steps: List[Step] = []

    def report(info, _user):
        step = info.contents
        steps.append(Step(step.name.decode(), step.detail.decode("utf-8", "replace"),
                          step.elapsed_ns / 1e9, step.status != _native.OK))

    callback = _native.StepCallback(report)

    # The handle's place is passed as the callback's `user`, which the callback ignores.
    try:
        _call_for_handle(_library.diagnose, _os.fsencode(uri), native.handle, operation.handle,
                         callback, keep=(native, callback), free=lambda handle: None,
                         operation=operation)
    except StreamerError as error:
        if error.kind == "cancelled" or not steps or not steps[-1].failed:
            raise
    return steps


class ProcessUse(NamedTuple):
    """What the loads of this process use of what they share."""

    memory_bytes: int  # host memory that they hold between storage and release
    memory_limit_bytes: int  # for all loads with memory_limit=auto; 0: none started yet
    loads: int  # not closed yet, or with tensors not released yet
    network_loads: int  # of these, the ones that are reading over a network


def configure_process(settings: Optional[Mapping[str, object]] = None) -> None:
    """Sets how much memory, bandwidth and connections the loads of this process share, by the
    settings named process_*; those not given come from the environment. Applies to running loads
    too."""
    native = _NativeSettings(settings)
    _call(_library.process_configure, native.handle)


def process_use() -> ProcessUse:
    """What loads use now."""
    use = _native.ProcessUse()
    _library.process_get_use(_ctypes.byref(use))
    return ProcessUse(use.memory_bytes, use.memory_limit_bytes, use.loads, use.network_loads)


def trim() -> int:
    """Returns to the system the memory that loads keep for the next one, pinned or not; returns the
    number of bytes."""
    return _library.trim()


def _pull_options(allow, ignore):
    # One pattern is one, not its letters.
    allow, ignore = ((one,) if isinstance(one, str) else tuple(one) for one in (allow, ignore))

    def texts(patterns):
        return (_ctypes.c_char_p * (len(patterns) + 1))(*(text.encode() for text in patterns))

    return _native.PullOptions(allow=texts(allow), allow_count=len(allow), ignore=texts(ignore),
                               ignore_count=len(ignore))


def _handle_of(function, *arguments, keep, free, operation, tick=None):
    with _explained_by(*keep):
        return _call_for_handle(function, *arguments, operation.handle, keep=keep, free=free,
                                operation=operation, tick=tick)


def _listing_of(function, *arguments, keep, operation):
    return _handle_of(function, *arguments, keep=keep, free=_library.listing_close,
                      operation=operation)


def _take_files(files):
    """The folder and its files."""
    try:
        found = []
        info = _native.FileInfo()
        for index in range(_library.files_count(files)):
            _call(_library.files_get_info, files, index, _ctypes.byref(info))
            found.append(PulledFile(_os.fsdecode(info.path), info.bytes, info.etag.decode(),
                                    bool(info.was_there)))
        return _os.fsdecode(_library.files_folder(files)), found
    finally:
        _library.files_close(files)


def _tick_of(progress, operation):
    """A function to call while a pull runs, and one that ends the display."""
    if not progress:
        return None, lambda: None
    shown, bar = [0], []  # made once it is known how much there is

    def tick():
        now = operation.progress()
        if callable(progress):
            progress(now.bytes_done, now.bytes_total)
            return
        if not bar and now.bytes_total:
            bar.extend(_progress(progress, now.bytes_total))
        if bar:
            bar[0](now.bytes_done - shown[0])
            shown[0] = now.bytes_done

    return tick, lambda: bar[1]() if bar else None


def _take_listing(listing) -> ModelListing:
    try:
        found = []
        info = _native.EntryInfo()
        for index in range(_library.listing_count(listing)):
            _call(_library.listing_get_info, listing, index, _ctypes.byref(info))
            found.append(Entry(_os.fsdecode(info.uri), info.bytes, bool(info.is_folder),
                               info.etag.decode()))
        return ModelListing(_os.fsdecode(_library.listing_root(listing)), found,
                            _os.fsdecode(_library.listing_notes(listing)).splitlines())
    finally:
        _library.listing_close(listing)


def _converter(framework):
    if framework is None:
        return lambda tensor: tensor
    if framework not in ("torch", "numpy", "jax"):
        raise InvalidArgumentError(f"framework is {framework!r}; it may be torch, numpy, jax or None")
    if _import_util.find_spec(framework) is None:  # before anything is read
        raise ModuleNotFoundError(f"framework={framework!r} needs the package {framework}, which is "
                                  "not installed", name=framework)
    return getattr(Tensor, framework)


def _progress(progress, total):
    if callable(progress):
        done = [0]

        def advance(amount):
            done[0] += amount
            progress(done[0], total)

        return advance, lambda: None
    if progress:
        try:
            import tqdm
        except ImportError:
            return (lambda amount: None), (lambda: None)
        bar = tqdm.tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024)
        return bar.update, bar.close
    return (lambda amount: None), (lambda: None)
