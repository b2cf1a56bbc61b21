"""Which GPUs of a node an instance gets: whole ones for itself, or a part of one.

The engine takes care of none of it: asked for two GPUs it gives the first two to everybody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from libs.common.catalog import Resources
from services.node.ports import BootFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What an instance has: these GPUs, or with `memory_mb`, so much of one."""

    gpus: tuple[int, ...] = ()
    memory_mb: int = 0


def choose(need: Resources, *, count: int, memory_mb: int, taken: Collection[GpuUse]) -> GpuUse:
    """Return what the instance gets of `count` GPUs of `memory_mb` each, or raise BootFailed."""
    if need.gpus:
        return _whole(need.gpus, count=count, taken=taken)
    if need.gpu_memory_mb:
        return _part(need.gpu_memory_mb, count=count, memory_mb=memory_mb, taken=taken)
    return GpuUse()


def _whole(wanted: int, *, count: int, taken: Collection[GpuUse]) -> GpuUse:
    free = _untouched(count, taken)
    if len(free) < wanted:
        raise BootFailed(f"it needs {wanted} GPUs, and {len(free)} of {count} are free")
    return GpuUse(gpus=tuple(free[:wanted]))


def _part(wanted: int, *, count: int, memory_mb: int, taken: Collection[GpuUse]) -> GpuUse:
    """Take the fullest one that has room, so that whole ones stay whole."""
    shared = {each.gpus[0] for each in taken if each.memory_mb}
    left = {gpu: memory_mb - _used(gpu, taken) for gpu in shared}
    fitting = [(room, gpu) for gpu, room in left.items() if room >= wanted]
    if fitting:
        return GpuUse(gpus=(min(fitting)[1],), memory_mb=wanted)
    free = _untouched(count, taken)
    if not free or memory_mb < wanted:
        raise BootFailed(
            f"it needs {wanted} MB of a GPU; {count} have {memory_mb} MB each,"
            f" {len(free)} of them are untouched, and none that is shared has so much left"
        )
    return GpuUse(gpus=(free[0],), memory_mb=wanted)


def _used(gpu: int, taken: Collection[GpuUse]) -> int:
    return sum(each.memory_mb for each in taken if gpu in each.gpus)


def _untouched(count: int, taken: Collection[GpuUse]) -> list[int]:
    touched = {gpu for each in taken for gpu in each.gpus}
    return [gpu for gpu in range(count) if gpu not in touched]
