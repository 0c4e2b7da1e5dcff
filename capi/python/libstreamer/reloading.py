# SPDX-License-Identifier: Apache-2.0
"""Weights that change: what of a checkpoint is different now, read again into the same memory."""
from typing import Any, List, NamedTuple

from .checkpoint import Checkpoint, TensorInfo
from .load import destination_of


class Reloaded(NamedTuple):
    """What reload() did."""

    checkpoint: Checkpoint  # as it is now: `since` of the next reload()
    names: List[str]  # of the tensors that were read again


def changed(new: Checkpoint, old: Checkpoint) -> List[TensorInfo]:
    """The tensors of new whose bytes may not be those of the same name in old: another object, another
    version of it, or another place, dtype or shape in it."""
    return [tensor for tensor in new.tensors
            if tensor.name not in old or _place(new, tensor) != _place(old, old[tensor.name])]


def _place(checkpoint, tensor):
    stored = checkpoint.objects[tensor.object]
    # A version that is not known is none that could be the same.
    version = stored.version or object()
    return (stored.uri, version, stored.bytes, tensor.object_offset, tensor.bytes, tensor.dtype,
            tensor.shape)


def reload_into(memory: Any, new: Checkpoint, old: Checkpoint, **options: Any) -> List[str]:
    """Reads what changed from old to new into memory, a mapping of names to writable buffers or torch
    tensors, and returns the names. A tensor's memory is written once all of its bytes are there, so if
    this fails, each tensor is whole: as it was, or as it is now."""
    from . import start  # which this module is a part of
    wanted = [tensor for tensor in changed(new, old) if tensor.name in memory]
    targets = {}
    for tensor in wanted:
        targets[tensor.name] = memory[tensor.name]
        # A wrong shape is an error before anything is written.
        destination_of(tensor, tensor.shape, memory[tensor.name])
    names = frozenset(targets)
    with start(new, select=lambda tensor: tensor.name in names, allow_empty=True,
               **options) as load:
        for name, tensor in load:
            target = targets[name]
            if hasattr(target, "copy_"):
                target.copy_(tensor.torch())
            elif tensor.nbytes != 0:  # a view of nothing cannot be cast
                memoryview(target).cast("B")[:] = tensor.memoryview()
            del tensor
    return [tensor.name for tensor in wanted]
