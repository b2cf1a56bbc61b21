"""What fits on a node does so in whichever order it comes, and leaves nothing when it goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Resources
from libs.common.room import Room
from libs.common.world_map import Node

NODE = Node(name="n", colo="ams", cpus=4, memory_mb=100, gpus=3, gpu_memory_mb=10)
needs = st.builds(
    Resources,
    cpus=st.sampled_from([0.0, 0.25, 1.0]),
    memory_mb=st.integers(0, 60),
    gpus=st.integers(0, 2),
    gpu_memory_mb=st.integers(0, 11),
)


@given(st.lists(needs, max_size=6), st.randoms(use_true_random=False), needs)
def test_what_fits_does_not_depend_on_the_order(
    taken: list[Resources], rng: object, one: Resources
) -> None:
    first, second = Room(NODE), Room(NODE)
    for need in taken:
        first.take(need)
    rng.shuffle(taken)  # type: ignore[attr-defined]
    for need in taken:
        second.take(need)

    assert first.lacks(one) == second.lacks(one)
    assert first.fullness() == pytest.approx(second.fullness())


@given(st.lists(needs, max_size=6), needs)
def test_what_goes_gives_back_what_it_took(taken: list[Resources], one: Resources) -> None:
    room = Room(NODE)
    for need in taken:
        room.take(need, 2)
    before = room.lacks(one)

    room.take(one)
    room.give_back(one)

    assert room.lacks(one) == before
    for need in taken:
        room.give_back(need, 2)
    assert room.fullness() == pytest.approx(0)


@pytest.mark.parametrize(
    ("shares", "opened"),
    [([], 1), ([6], 0), ([7], 1), ([7, 6], 0)],
    ids=["none is touched", "one has room", "one has not", "the second has"],
)
def test_a_part_of_a_gpu_opens_another_only_if_it_must(shares: list[int], opened: int) -> None:
    room = Room(NODE)
    for share in shares:
        room.take(Resources(gpu_memory_mb=share))

    assert room.opens(Resources(gpu_memory_mb=4)) == opened


def test_parts_and_whole_gpus_do_not_share_one() -> None:
    room = Room(NODE)
    room.take(Resources(gpus=2))
    room.take(Resources(gpu_memory_mb=1))

    assert room.lacks(Resources(gpus=1)) == ("GPUs",)
    assert room.lacks(Resources(gpu_memory_mb=9)) == ()
    assert room.lacks(Resources(gpu_memory_mb=10)) == ("GPU memory",)
    assert room.lacks(Resources(cpus=1)) == ()
