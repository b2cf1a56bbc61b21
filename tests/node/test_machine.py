"""What a node says that it has, and whose weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from libs.common.catalog import Backend, Model
from libs.common.clock import ManualClock
from libs.common.world import World
from libs.common.world_map import Update
from services.node.app import Config, describe
from services.node.machine import Gpus, gpus, memory_mb, read_gpus
from services.node.weights import LOOK_S, Weights


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("NVIDIA L4, 23034\nNVIDIA L4, 23034\n", Gpus(2, 23034, "NVIDIA L4")),
        ("A, B, 9\nC, 8\n", Gpus(2, 8, "A, B")),
        ("", Gpus()),
        ("No devices were found\n", Gpus()),
        ("NVIDIA H100, [N/A]\n", Gpus()),
    ],
    ids=["two alike", "the smaller counts", "nothing", "a message", "no number"],
)
def test_gpus_are_read_from_what_the_driver_tells(told: str, found: Gpus) -> None:
    assert read_gpus(told) == found


def test_a_machine_without_the_driver_has_no_gpus() -> None:
    assert gpus(["/nowhere/nvidia-smi"]) == Gpus()
    assert gpus([sys.executable, "-c", "raise SystemExit(9)"]) == Gpus()
    assert gpus([sys.executable, "-c", "print('G, 7')"]) == Gpus(1, 7, "G")


def test_settings_stand_over_what_is_found(tmp_path: Path) -> None:
    config = Config(name="n", colo="ams", state_dir=tmp_path, root=tmp_path, environment=tmp_path)
    given = {"cpus": 1.5, "memory_mb": 0, "gpus": 4, "gpu_memory_mb": 9, "gpu_model": "G"}
    settled = Config(
        **({name: getattr(config, name) for name in ("name", "colo", "state_dir", "root")} | given),
        environment=tmp_path,
    )

    assert describe(config).memory_mb == memory_mb()
    assert {name: getattr(describe(settled), name) for name in given} == given


def test_weights_are_those_of_models_whose_folder_is_here(tmp_path: Path) -> None:
    world, clock = World(), ManualClock()
    models = [
        Model(name=name, task="text-generation", backend=Backend(repository=repository))
        for name, repository in [("b", "models/b"), ("a", "models/a"), ("theirs", "")]
    ]
    world.apply(Update(version=1, complete=True, puts=tuple(models)))
    weights = Weights(world=world, root=tmp_path, clock=clock)
    (tmp_path / "models/b").mkdir(parents=True)

    assert weights.here() == ("b",)
    (tmp_path / "models/a").mkdir()
    assert weights.here() == ("b",)
    clock.advance(LOOK_S)
    assert weights.here() == ("a", "b")
