"""Every shard has one owner, moves no more than it must, and its epoch only grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Model
from libs.common.world_map import Colo, Server, Shard
from services.control.ownership import judge, wanted_shards

COLOS = [Colo(name="ams"), Colo(name="lhr")]
MODELS = [Model(name=f"m{i}", task="text-generation", shards=1 + i % 3) for i in range(6)]
WANTED = wanted_shards(MODELS, COLOS)
Servers = dict[str, Server]


def server(name: str, *, draining: bool = False) -> Server:
    return Server(name=name, colo=name[:3], address="x", draining=draining)


def after(present: dict[str, Shard], servers: Servers) -> dict[str, Shard]:
    return present | {each.key: each for each in judge(WANTED, present, servers.values())}


def named(*names: str) -> Servers:
    return {name: server(name) for name in names}


names = st.sampled_from([f"{colo}-{i}" for colo in ("ams", "lhr") for i in range(4)])
steps = st.lists(st.tuples(st.sampled_from(["join", "leave", "drain"]), names), max_size=20)


@given(steps)
def test_owners_are_live_moves_are_needed_and_epochs_grow(steps: list[tuple[str, str]]) -> None:
    servers: Servers = {}
    shards = after({}, servers)
    for what, name in steps:
        if what == "leave":
            servers.pop(name, None)
        elif what == "join" or name in servers:
            servers[name] = server(name, draining=what == "drain")
        before, shards = shards, after(shards, servers)

        assert shards.keys() == WANTED.keys()
        for key, shard in shards.items():
            old = before[key]
            able = [s.name for s in servers.values() if s.colo == shard.colo and not s.draining]
            assert shard.owner in (able or ["", old.owner])
            if shard.owner == old.owner:
                assert shard == old
            else:
                assert shard.epoch == old.epoch + 1
                assert name in (shard.owner, old.owner)  # nobody moves between bystanders
        assert judge(WANTED, shards, servers.values()) == []


def test_a_newcomer_takes_its_part_and_gives_it_back_when_it_leaves() -> None:
    alone = after({}, named("ams-0"))

    both = after(alone, named("ams-0", "ams-1"))
    back = after(both, named("ams-0"))

    owners = [each.owner for each in both.values() if each.colo == "ams"]
    assert {"ams-0", "ams-1"} == set(owners)
    assert {key: each.owner for key, each in back.items()} == {
        key: each.owner for key, each in alone.items()
    }


def test_a_last_server_that_drains_keeps_its_shards_until_it_is_gone() -> None:
    owned = after({}, named("ams-0"))

    draining = after(owned, {"ams-0": server("ams-0", draining=True)})
    gone = after(draining, {})

    assert draining == owned
    assert {each.owner for each in gone.values()} == {""}


def test_a_model_that_goes_and_comes_back_has_a_higher_epoch() -> None:
    servers = named("ams-0")
    wanted = wanted_shards(MODELS[:1], COLOS[:1])
    first = {each.key: each for each in judge(wanted, {}, servers.values())}

    gone = {each.key: each for each in judge({}, first, servers.values())}
    back = judge(wanted, gone, servers.values())

    assert [each.owner for each in gone.values()] == [""]
    assert [(each.owner, each.epoch) for each in back] == [("ams-0", 3)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_are_spread(count: int) -> None:
    models = [Model(name=f"m{i}", task="text-generation") for i in range(300)]
    servers = named(*(f"ams-{i}" for i in range(count)))

    shards = judge(wanted_shards(models, COLOS[:1]), {}, servers.values())

    each = [sum(shard.owner == name for shard in shards) for name in servers]
    assert min(each) > 0.6 * 300 / count
