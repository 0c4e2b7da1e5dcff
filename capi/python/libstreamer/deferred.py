# SPDX-License-Identifier: Apache-2.0
"""Tensors that are read when it is known where they go.

An engine's model code takes (name, tensor) from an iterator and copies each tensor, or a slice of it,
into its parameters. It gets tensors without bytes here: a copy from one is noted, and carried out when
the iterator ends, by one load that reads straight into the parameter wherever that is a plain copy.
What is copied nowhere is never read. Whatever else happens to such a tensor, or to memory that a noted
copy is to fill, first brings the bytes; so the result is that of an iterator of real tensors.
"""
import contextlib
from typing import (Any, Callable, ContextManager, Dict, Iterable, Iterator, List, NamedTuple,
                    Optional, Tuple)

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .checkpoint import Checkpoint, TensorInfo
from .errors import DeviceError, UnsupportedError
from .load import Load
from .tensor import torch_dtype

_aten = torch.ops.aten
# They look at the shape only.
_VIEWS = frozenset((
    _aten.alias.default, _aten.as_strided.default, _aten.detach.default, _aten.expand.default,
    _aten.permute.default, _aten.select.int, _aten.slice.Tensor, _aten.split.Tensor,
    _aten.split_with_sizes.default, _aten.squeeze.default, _aten.squeeze.dim, _aten.t.default,
    _aten.transpose.int, _aten.unbind.int, _aten.unsqueeze.default, _aten.view.default,
    _aten._unsafe_view.default))


class _Copy(NamedTuple):
    target: torch.Tensor
    geometry: Tuple[tuple, tuple, int]  # of the source: size, stride, storage offset


class _Pending:
    """One tensor of the checkpoint that model code was given."""

    def __init__(self, info: TensorInfo, mode: "DirectMode"):
        self.info, self.mode = info, mode
        self.copies: List[_Copy] = []
        self.bytes: Optional[torch.Tensor] = None  # once somebody needed them


class DeferredTensor(torch.Tensor):
    """A tensor of the checkpoint, or a view of one, without its bytes."""

    @staticmethod
    def __new__(cls, pending: _Pending, twin: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(
            cls, twin.size(), strides=twin.stride(), storage_offset=twin.storage_offset(),
            dtype=twin.dtype, device="cpu", requires_grad=False)
        made._pending, made._twin = pending, twin
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        # Outside the mode: after the load, or on another thread.
        return func(*_real(args), **_real(kwargs or {}))

    def real(self) -> torch.Tensor:
        """A view of the bytes, which are read now if they were not."""
        pending = self._pending
        if pending.bytes is None:
            pending.mode.fetch(pending)
        return pending.bytes.as_strided(*_geometry(self._twin))

    def __repr__(self, **_: Any) -> str:
        return f"<DeferredTensor {self._pending.info.name} {list(self.shape)}>"


def _geometry(tensor):
    return tuple(tensor.size()), tuple(tensor.stride()), tensor.storage_offset()


def _real(tree):
    return pytree.tree_map(lambda one: one.real() if isinstance(one, DeferredTensor) else one, tree)


def _span(tensor) -> Tuple[torch.device, int, int]:
    """Device, and the addresses between which the elements are."""
    begin = tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(tensor.size(), tensor.stride()))
    return tensor.device, begin, begin + (last + 1) * tensor.element_size()


def _storage(tensor) -> int:
    return getattr(tensor, "untyped_storage", tensor.storage)().data_ptr()  # torch 2 warns of storage()


class _Spans:
    """Which memory noted copies are to fill."""

    def __init__(self):
        self._by_storage: Dict[Tuple[torch.device, int], List[Tuple[int, int]]] = {}

    def add(self, tensor):
        device, begin, end = _span(tensor)
        key = device, _storage(tensor)
        self._by_storage.setdefault(key, []).append((begin, end))

    def meets(self, tensor) -> bool:
        if not self._by_storage or tensor.device.type == "meta" or tensor.numel() == 0:
            return False
        found = self._by_storage.get((tensor.device, _storage(tensor)))
        if not found:
            return False
        _, begin, end = _span(tensor)
        return any(begin < other_end and other_begin < end for other_begin, other_end in found)

    def clear(self):
        self._by_storage.clear()


class Counts:
    """What became of the tensors of a load."""

    def __init__(self) -> None:
        self.landed = self.copied = self.left_out = self.early = 0


class DirectMode(TorchDispatchMode):
    """Active while model code takes tensors from weights(). start: a context with a Load of select=,
    slices= and into=; the last load, which all ranks start together, has is_last=True."""

    def __init__(self, checkpoint: Checkpoint, start: Callable[..., ContextManager[Load]],
                 step: Callable[[int], None] = lambda count: None):
        super().__init__()
        self._checkpoint, self._start, self._step = checkpoint, start, step
        self._pending: List[_Pending] = []  # with copies, in the order of the checkpoint
        self._spans = _Spans()
        self._is_reading = self._is_finished = False
        self._given = 0
        self.counts = Counts()

    def weights(self, tensors: Iterable[TensorInfo]) -> Iterator[Tuple[str, torch.Tensor]]:
        """Model code takes these; when it has taken the last one, all copies are carried out."""
        for info in tensors:
            pending = _Pending(info, self)
            self._given += 1
            shape = info.shape
            if info.dtype == "F4":  # two in one element of torch
                shape = (*shape[:-1], shape[-1] // 2)
            twin = torch.empty(shape, dtype=torch_dtype(info.dtype), device="meta")
            yield info.name, DeferredTensor(pending, twin)
        self.finish()

    def finish(self) -> None:
        """Carries out all copies, if that was not done: model code may stop before the last tensor."""
        if self._is_finished:
            return
        self._is_finished = True
        self._carry_out(is_last=True)
        used = self.counts.landed + self.counts.copied
        self.counts.left_out = self._given - used - self.counts.early

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self._is_reading:
            return func(*args, **kwargs)
        if func is _aten.copy_.default and self._note(*args[:2]):
            return args[0]
        if func in _VIEWS:
            if not isinstance(args[0], DeferredTensor):
                return func(*args, **kwargs)
            if args[0]._pending.bytes is None:
                made = func(args[0]._twin, *args[1:], **kwargs)
                return pytree.tree_map(lambda twin: DeferredTensor(args[0]._pending, twin), made)
        tensors = [one for one in pytree.tree_flatten((args, kwargs))[0]
                   if isinstance(one, torch.Tensor) and not isinstance(one, DeferredTensor)]
        if any(self._spans.meets(tensor) for tensor in tensors):
            self._carry_out()
        return func(*_real(args), **_real(kwargs))

    def _note(self, target, source) -> bool:
        """Whether the copy can wait."""
        if not isinstance(source, DeferredTensor) or isinstance(target, DeferredTensor) or \
                type(target).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__ or \
                target.device.type == "meta" or source._pending.bytes is not None or \
                torch.broadcast_shapes(target.shape, source.shape) != target.shape:
            return False
        if self._spans.meets(target):
            self._carry_out()
        if not source._pending.copies:
            self._pending.append(source._pending)
        source._pending.copies.append(_Copy(target.detach(), _geometry(source._twin)))
        if target.numel():
            self._spans.add(target)
        return True

    def fetch(self, pending: _Pending) -> None:
        """Reads the whole of one tensor now, and carries out what was noted of it."""
        was_reading, self._is_reading = self._is_reading, True
        try:
            number = pending.info.number
            with self._start(select=lambda info: info.number == number) as load:
                for _, tensor in load:
                    pending.bytes = tensor.torch()
            for copy in pending.copies:
                _carry_out(copy, pending.bytes)
            self.counts.early += 1
        finally:
            self._is_reading = was_reading
        if pending.copies:
            pending.copies.clear()
            self._pending.remove(pending)
        self._step(1)

    def _carry_out(self, is_last=False) -> None:
        pending, self._pending = self._pending, []
        self._spans.clear()
        if not pending and not is_last:
            return
        self._is_reading = True
        try:
            self._read({one.info.number: one for one in pending}, is_last)
        finally:
            self._is_reading = False

    def _read(self, wanted: Dict[int, _Pending], is_last):
        parts = {number: _part(one) for number, one in wanted.items()}
        into = {one.info.name: one.copies[0].target for number, one in wanted.items()
                if parts[number] is not None and _is_plain(one)}
        with contextlib.ExitStack() as ends:
            try:
                load = ends.enter_context(self._begin(wanted, parts, into, is_last))
            except (UnsupportedError, DeviceError):
                # This build cannot reach that device: torch copies to it.
                if all(target.device.type == "cpu" for target in into.values()):
                    raise
                into = {name: one for name, one in into.items() if one.device.type == "cpu"}
                load = ends.enter_context(self._begin(wanted, parts, into, is_last))
            for name, tensor in load:
                one = wanted[tensor.number]
                if name in into:
                    self.counts.landed += 1
                else:
                    self._copy(one, tensor.torch(), parts[tensor.number])
                    self.counts.copied += 1
                one.copies.clear()
                del tensor
                self._step(1)

    def _begin(self, wanted, parts, into, is_last):
        slices = {one.info.name: parts[number] for number, one in wanted.items() if parts[number]}
        return self._start(select=lambda info: info.number in wanted, slices=slices, into=into,
                           is_last=is_last, allow_empty=True)

    @staticmethod
    def _copy(one, source, part):
        for copy in one.copies:
            if part:
                copy.target.copy_(source)
            else:
                _carry_out(copy, source)


def _carry_out(copy, source):
    copy.target.copy_(source.as_strided(*copy.geometry))


def _part(one: _Pending) -> Optional[Tuple[int, ...]]:
    """What all copies of a tensor take of it: () for the whole, a slice as (dimension, start, stop),
    None for anything else."""
    copies, shape = one.copies, one.info.shape
    if len({copy.geometry for copy in copies}) != 1 or one.info.dtype == "F4":
        return None
    size, stride, offset = copies[0].geometry
    whole = torch.empty(shape, device="meta").stride()
    cut = [d for d in range(len(shape)) if len(size) == len(shape) and size[d] != shape[d]]
    if len(size) != len(shape) or len(cut) > 1 or 0 in shape or 0 in size:
        return () if one.info.bytes == 0 and not cut and len(size) == len(shape) else None
    if any(stride[d] != whole[d] for d in range(len(shape)) if shape[d] != 1):
        return None
    if not cut:
        return () if offset == 0 else None
    start, rest = divmod(offset, whole[cut[0]])
    stop = start + size[cut[0]]
    return (cut[0], start, stop) if rest == 0 and stop <= shape[cut[0]] else None


def _is_plain(one: _Pending) -> bool:
    """Whether the bytes of the file are those of the target."""
    if len(one.copies) != 1:
        return False
    target, (size, _, _) = one.copies[0]
    return target.is_contiguous() and target.dtype == torch_dtype(one.info.dtype) and \
        tuple(target.shape) == size and target.device.type in ("cpu", "cuda") and \
        not target.is_conj() and not target.is_neg()
