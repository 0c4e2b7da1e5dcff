# SPDX-License-Identifier: Apache-2.0
"""The weights of a model for an inference engine: what vllm.py and sglang.py share."""
import contextlib
import json
import logging
import os
import re
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch

import libstreamer

from .checkpoint import Checkpoint, TensorInfo
from .deferred import Counts, DirectMode
from .errors import CorruptError, InvalidArgumentError, StreamerError
from .load import Load, told_to
from .ranks import RankGroup, as_ranks
from .settings import NativeSettings

LOAD_FORMAT = "libstreamer"
DEFAULT_PATTERN = "model-rank-{rank}-part-{part}.safetensors"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_uri(path: Any) -> bool:
    """Whether it is not a local path or the name of a repository."""
    return isinstance(path, str) and _URI.match(path) is not None


class Options(NamedTuple):
    """--model-loader-extra-config: five keys of our own, prefixes, and any setting of libstreamer."""

    source: Optional[str]  # where the weights are, if not where the configuration is
    distributed: Optional[bool]  # whether ranks share one read; None: from stores, but not from disk
    direct: bool  # whether bytes go straight to where model code would copy them
    pattern: Optional[str]  # of the files of a sharded state
    prefixes: Dict[str, Dict[str, Any]]  # settings by the beginning of a URI
    settings: Dict[str, Any]

    @classmethod
    def of(cls, given: Any) -> "Options":
        """From the engine's value: a mapping, JSON, or nothing. Checks all of it."""
        if isinstance(given, str):
            given = json.loads(given or "{}")
        rest = dict(given or {})
        found = cls(source=_text(rest, "source"), distributed=_flag(rest, "distributed", None),
                    direct=_flag(rest, "direct", True), pattern=_pattern(rest),
                    prefixes=rest.pop("prefixes", None) or {}, settings=rest)
        NativeSettings(found.settings, found.prefixes)
        return found

    def open(self, uri: str, rank: Optional[int] = None) -> Checkpoint:
        """All of a model, which must be complete; or of a sharded state the parts of a rank."""
        if self.pattern is not None:
            return libstreamer.open_rank(uri, rank or 0, self.pattern, self.settings,
                                         prefixes=self.prefixes)
        return libstreamer.open(uri, self.settings, prefixes=self.prefixes)


def _text(given, key):
    value = given.pop(key, None)
    if value is not None and not isinstance(value, str):
        raise InvalidArgumentError(f"{key} is {value!r}; it is a text")
    return value


def _flag(given, key, otherwise):
    value = given.pop(key, otherwise)
    if value is not otherwise and not isinstance(value, bool):
        raise InvalidArgumentError(f"{key} is {value!r}; it is true or false")
    return value


def _pattern(given):
    is_sharded, pattern = _flag(given, "sharded", None), _text(given, "pattern")
    if pattern is not None and is_sharded is False:
        raise InvalidArgumentError("pattern is given, but sharded is false")
    return DEFAULT_PATTERN if is_sharded and pattern is None else pattern


class Prepared(NamedTuple):
    """A model whose weights are somewhere else than its small files."""

    folder: str  # of the configuration and the tokenizer
    extra: Dict[str, Any]  # the engine's extra configuration, with the source

    def json(self) -> str:
        """The extra configuration as on a command line."""
        return json.dumps(self.extra)


def prepare(model: str, extra: Any, ranks: int = 1) -> Optional[Prepared]:
    """Before the engine looks at a model: gets the small files of one in a store, and opens the
    checkpoint once, so that what is missing or broken is an error here and not in a worker. None: the
    model stays what it is."""
    options = Options.of(extra)
    source = options.source or model
    if is_uri(source) or os.path.isdir(source):
        for rank in range(ranks if options.pattern is not None else 1):
            options.open(source, rank)
    if not is_uri(model):
        return None
    folder = snapshot(model, options)
    given = json.loads(extra or "{}") if isinstance(extra, str) else dict(extra or {})
    return Prepared(folder, {**given, "source": source})


def snapshot(uri: str, options: Options) -> str:
    """A local folder with the small files of a model in a store."""
    return libstreamer.snapshot(uri, settings=options.settings, prefixes=options.prefixes)


def sharing_group(options: Options, uri: str, world_group: Callable[[], Any]) -> Any:
    """The ranks that share one read: all of them, of whom the engine knows the group; or None."""
    dist = torch.distributed
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    is_shared = is_uri(uri) if options.distributed is None else options.distributed
    return world_group() if is_shared else None


class Report(NamedTuple):
    """What a load did, for the engine's log."""

    uri: str
    objects: int
    tensors: int
    bytes: int  # that were wanted
    seconds: float
    held_back_by: str
    notes: List[str]
    counts: Optional[Counts]

    def line(self) -> str:
        rate = self.bytes / max(self.seconds, 1e-9) / 1e9
        ways = ""
        if self.counts is not None:
            ways = (f"; {self.counts.landed} tensors landed in their parameters, "
                    f"{self.counts.copied + self.counts.early} were copied, "
                    f"{self.counts.left_out} not needed")
        return (f"libstreamer: {self.tensors} tensors, {self.bytes / 1e9:.3f} GB, from {self.objects} "
                f"objects of {self.uri} in {self.seconds:.2f} s, {rate:.2f} GB/s, held back by "
                f"{self.held_back_by}{ways}")


class Weights:
    """One load of a model's weights. group: the ranks that share it. bar: makes a progress bar of a
    number of tensors; it has update(count) and close()."""

    @classmethod
    def open(cls, uri: str, options: Options, *, rank: Optional[int] = None, group: Any = None,
             **how: Any) -> "Weights":
        """group: of torch, or None."""
        ranks = as_ranks(group, options.settings)
        # One rank that cannot open them would leave the others waiting.
        with told_to(ranks):
            checkpoint = options.open(uri, rank)
        return cls(checkpoint, uri, options, group=ranks, **how)

    def __init__(self, checkpoint: Checkpoint, uri: str, options: Options, *,
                 group: Optional[RankGroup] = None, logger: logging.Logger, bar: Callable[[int], Any]):
        self.checkpoint, self.uri, self.options = checkpoint, uri, options
        self._ranks, self._logger, self._make_bar = group, logger, bar
        self._ranks_have_begun = False
        self._bytes, self._seconds, self._tensors = 0, 0.0, 0
        self._held_back_by, self._notes = "nothing", []
        for note in checkpoint.notes:
            logger.info("libstreamer: %s", note)

    def stream(self, wanted: Optional[Callable[[TensorInfo], bool]] = None
               ) -> Iterator[Tuple[str, torch.Tensor]]:
        """Yields each tensor as soon as it is there. Its bytes do not change while it is referenced."""
        bar = None
        try:
            with self._start(select=wanted, is_last=True, allow_empty=wanted is not None) as load:
                bar = self._make_bar(load.total)
                for name, tensor in load:
                    converted = tensor.torch()
                    # An engine holds a tensor while it asks for the next one. With a limit, both may
                    # not fit.
                    if load.is_limited:
                        converted = converted.clone()
                    del tensor
                    yield name, converted
                    del converted
                    bar.update(1)
                self._add(load)
        finally:
            if bar is not None:
                bar.close()
        self._log(None)

    def direct(self, consume: Callable[[Iterator[Tuple[str, torch.Tensor]]], Any]) -> Any:
        """Gives consume tensors without bytes, which land where it copies them; see deferred.py."""
        bar = self._make_bar(len(self.checkpoint.tensors))
        mode = DirectMode(self.checkpoint, self._started, bar.update)
        try:
            # As dispatch modes go, this one ends when model code is done with all tensors.
            with mode:
                made = consume(mode.weights(self.checkpoint.tensors))
                mode.finish()
        except Exception as error:
            # Model code failed here, and the other ranks are on their way to the last load.
            if self._ranks is not None and not self._ranks_have_begun:
                self._ranks.tell(error)
            raise
        finally:
            bar.close()
        self._log(mode.counts)
        return made

    def lack_of(self, names: List[str]) -> CorruptError:
        """An error: the model has parameters of these names, and the checkpoint nothing for them."""
        text = (f"{self.uri}: the model has {len(names)} parameters that are in none of the "
                f"checkpoint's {len(self.checkpoint.objects)} objects: {', '.join(names[:3])}"
                f"{', ...' if len(names) > 3 else ''}")
        others = self._unlisted()
        if others:
            return CorruptError(f"{text}; the index does not name {', '.join(others[:3])}, which is "
                                "there: write the index again")
        return CorruptError(f"{text}; check that the configuration is this checkpoint's, and that all "
                            "of it was stored")

    def _unlisted(self):
        """Names of files of weights beside those of the checkpoint."""
        known = {os.path.basename(one.uri) for one in self.checkpoint.objects}
        try:
            found = libstreamer.list(self.uri, settings=self.options.settings,
                                     prefixes=self.options.prefixes)
        except StreamerError:
            return []
        names = (os.path.basename(one.uri) for one in found if not one.is_folder)
        return [name for name in names if name.endswith(".safetensors") and name not in known]

    def _start(self, is_last=False, **options) -> Load:
        if not is_last:
            return libstreamer.start(self.checkpoint, **options)
        self._ranks_have_begun = True
        return libstreamer.start(self.checkpoint, group=self._ranks, **options)

    @contextlib.contextmanager
    def _started(self, **options) -> Iterator[Load]:
        with self._start(**options) as load:
            yield load
            self._add(load)

    def _add(self, load):
        stats = load.stats()
        if not stats:
            return
        self._bytes += stats["bytes_ready"]
        self._seconds += stats["elapsed_ns"] / 1e9
        self._tensors += stats["items_ready"]
        self._held_back_by = stats["held_back_by"]
        self._notes += [note for note in stats["notes"] if note not in self._notes]

    def _log(self, counts):
        report = Report(self.uri, len(self.checkpoint.objects), self._tensors, self._bytes,
                        self._seconds, self._held_back_by, self._notes, counts)
        self._logger.info("%s", report.line())
        for note in report.notes:
            self._logger.info("libstreamer: %s", note)


def block_of(name: str) -> str:
    """The block of a model that a tensor belongs to: its name up to the first number, or all but its
    last part. Engines make one parameter of several tensors, but never across blocks."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:index + 1])
    return ".".join(parts[:-1])


def changed_blocks(new: Checkpoint, old: Checkpoint) -> Callable[[TensorInfo], bool]:
    """Whether a tensor is in a block that has a tensor whose bytes may have changed."""
    blocks = {block_of(tensor.name) for tensor in libstreamer.changed(new, old)}
    return lambda tensor: block_of(tensor.name) in blocks


__all__ = ["LOAD_FORMAT", "Options", "Prepared", "Weights", "changed_blocks", "is_uri", "prepare",
           "sharing_group"]
