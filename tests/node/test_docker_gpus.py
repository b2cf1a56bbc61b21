"""Which GPUs an instance gets, by tables and by chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Resources
from services.node.drivers.docker_gpus import GpuUse, choose
from services.node.ports import BootFailed

MEMORY_MB = 24_000


def whole(*gpus: int) -> GpuUse:
    return GpuUse(gpus=gpus)


def part(gpu: int, memory_mb: int) -> GpuUse:
    return GpuUse(gpus=(gpu,), memory_mb=memory_mb)


@pytest.mark.parametrize(
    ("need", "taken", "chosen"),
    [
        (Resources(), [whole(0)], GpuUse()),
        (Resources(gpus=1), [], whole(0)),
        (Resources(gpus=2), [whole(0)], whole(1, 2)),
        (Resources(gpus=2, gpu_memory_mb=20_000), [part(1, 1_000)], whole(0, 2)),
        (Resources(gpu_memory_mb=8_000), [], part(0, 8_000)),
        (Resources(gpu_memory_mb=8_000), [whole(0)], part(1, 8_000)),
        (Resources(gpu_memory_mb=8_000), [part(0, 8_000)], part(0, 8_000)),
        (Resources(gpu_memory_mb=8_000), [part(0, 18_000)], part(1, 8_000)),
        (Resources(gpu_memory_mb=4_000), [part(0, 8_000), part(1, 18_000)], part(1, 4_000)),
        (Resources(gpu_memory_mb=4_000), [part(0, 10_000), part(0, 8_000)], part(0, 4_000)),
    ],
    ids=[
        "none needed",
        "the first",
        "the first free ones",
        "a shared one is not free",
        "a part of the first",
        "not of one that another has whole",
        "one that is shared already",
        "a new one where the shared are full",
        "the fullest that has room",
        "what all have together counts",
    ],
)
def test_an_instance_gets(need: Resources, taken: list[GpuUse], chosen: GpuUse) -> None:
    assert choose(need, count=4, memory_mb=MEMORY_MB, taken=taken) == chosen


@pytest.mark.parametrize(
    ("need", "count", "taken", "words"),
    [
        (Resources(gpus=2), 2, [whole(1)], "it needs 2 GPUs, and 1 of 2 are free"),
        (Resources(gpus=1), 0, [], "it needs 1 GPUs, and 0 of 0 are free"),
        (Resources(gpu_memory_mb=25_000), 1, [], "it needs 25000 MB of a GPU; 1 have 24000 MB"),
        (Resources(gpu_memory_mb=8_000), 1, [part(0, 20_000)], "0 of them are untouched"),
        (Resources(gpu_memory_mb=8_000), 1, [whole(0)], "none that is shared has so much left"),
    ],
    ids=["too few free", "none at all", "larger than any", "all shared full", "all taken whole"],
)
def test_where_there_is_no_gpu_for_it_the_boot_fails(
    need: Resources, count: int, taken: list[GpuUse], words: str
) -> None:
    with pytest.raises(BootFailed, match=words):
        choose(need, count=count, memory_mb=MEMORY_MB, taken=taken)


NEEDS = st.one_of(
    st.builds(Resources, gpus=st.integers(1, 3)),
    st.builds(Resources, gpu_memory_mb=st.integers(1, 30_000)),
)


@given(needs=st.lists(NEEDS, max_size=12), count=st.integers(0, 6))
def test_nobody_gets_what_another_has(needs: list[Resources], count: int) -> None:
    taken: list[GpuUse] = []
    for need in needs:
        try:
            taken.append(choose(need, count=count, memory_mb=MEMORY_MB, taken=taken))
        except BootFailed:
            continue
    whole_ones = [gpu for use in taken if not use.memory_mb for gpu in use.gpus]
    parts = [use for use in taken if use.memory_mb]

    assert len(set(whole_ones)) == len(whole_ones)
    assert not {use.gpus[0] for use in parts} & set(whole_ones)
    assert {gpu for use in taken for gpu in use.gpus} <= set(range(count))
    for gpu in range(count):
        assert sum(use.memory_mb for use in parts if use.gpus == (gpu,)) <= MEMORY_MB
