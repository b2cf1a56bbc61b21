"""Every resource survives the wire and the store unchanged, and bad ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.catalog import AccountShare, Bounds, Model, Permits, Scaling, Schedule
from libs.common.messages import (
    SnapshotOnDisk,
    report_from_pb,
    report_to_pb,
    resource_from_json,
    resource_from_pb,
    resource_to_json,
    resource_to_pb,
    update_from_pb,
    update_to_pb,
)
from libs.common.pb import control_pb2 as pb
from libs.common.world_map import (
    KIND_OF,
    KINDS,
    Account,
    Assignment,
    EndpointLoad,
    EntryLoad,
    Instance,
    Node,
    Override,
    Ref,
    Report,
    Resource,
    Shard,
    ShardLoad,
    Token,
    Update,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
uint = st.integers(0, 2**32 - 1)
long = st.integers(0, 2**64 - 1)
number = st.floats(0, 1e9)
counters = st.dictionaries(text, long, max_size=3)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
models = st.builds(
    Model,
    name=name,
    task=st.sampled_from(["text-generation", "dumb-pipe"]),
    description=text,
    aliases=st.lists(text, max_size=3).map(tuple),
    permits=st.builds(
        Permits,
        per_instance=st.integers(1, 100),
        queue=uint,
        adaptive=st.booleans(),
        accounts=st.dictionaries(
            text, st.builds(AccountShare, guaranteed=uint, maximum=uint), max_size=2
        ),
    ),
    schema=st.dictionaries(text, json_value, max_size=3),
    scaling=st.builds(
        Scaling,
        min=uint,
        max=st.integers(1, 2**32 - 1),
        region=st.dictionaries(
            text, st.builds(Bounds, min=st.none() | uint, max=st.none() | uint), max_size=2
        ),
        schedules=st.lists(
            st.builds(Schedule, cron=name, minutes=st.integers(1, 99), min=uint), max_size=2
        ).map(tuple),
    ),
)
endpoints = st.builds(
    EndpointLoad,
    instance=text,
    address=text,
    state=st.sampled_from(["healthy", "backoff", "draining"]),
    in_flight=uint,
    adapters=st.lists(text, max_size=3).map(tuple),
)
loads = st.builds(
    ShardLoad,
    model=text,
    colo=text,
    index=uint,
    server=text,
    boot_epoch=long,
    queued=uint,
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
    service_s=number,
    rejected=counters,
    forwarded=counters,
)
resources: st.SearchStrategy[Resource] = st.one_of(
    models,
    loads,
    st.builds(Account, id=text, name=text, blocked=st.booleans()),
    st.builds(Token, hash=text, account=text, max_priority=uint, expires_at_ms=long),
    st.builds(Shard, model=text, colo=text, index=uint, owner=text, epoch=long),
    st.builds(EntryLoad, name=text, colo=text, refused=counters),
    st.builds(
        Instance,
        id=text,
        model=text,
        colo=text,
        state=st.sampled_from(["booting", "ready", "draining", "failed"]),
        external=st.booleans(),
        boot_s=number,
        since_ms=long,
    ),
    st.builds(Node, name=text, colo=text, cpus=number, weights=st.lists(text).map(tuple)),
    st.builds(Assignment, node=text, model=text, instances=uint),
    st.builds(Override, model=text, region=text, min=st.none() | uint, max=st.none() | uint),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(resources)
def test_a_resource_survives_the_wire_and_the_store(resource: Resource) -> None:
    wire = pb.Resource.FromString(resource_to_pb(resource).SerializeToString())

    assert resource_from_pb(wire) == resource
    assert resource_from_json(KIND_OF[type(resource)], resource_to_json(resource)) == resource


def test_messages_and_dataclasses_have_the_same_kinds_and_fields() -> None:
    fields = pb.Resource.DESCRIPTOR.fields_by_name

    assert set(fields.keys()) == set(KINDS)
    for kind, cls in KINDS.items():
        ours = set(cls.__dataclass_fields__)
        assert {each.name for each in fields[kind].message_type.fields} == ours


def test_updates_and_reports_survive_the_wire() -> None:
    update = Update(
        version=2**63, complete=True, puts=(Account(id="a"),), deletes=(Ref("node", "n"),)
    )
    report = Report(kind="node", name="n", colo="ams", resources=(Node(name="n", colo="ams"),))

    assert update_from_pb(update_to_pb(update)) == update
    assert report_from_pb(report_to_pb(report)) == report


def test_what_a_newer_control_says_is_left_out_where_it_is_not_known() -> None:
    message = pb.WatchResponse(version=3, puts=[pb.Resource()])
    message.puts.append(resource_to_pb(Account(id="a")))
    message.deletes.append(pb.ResourceRef(kind="novelty", key="x"))

    assert update_from_pb(message) == Update(version=3, puts=(Account(id="a"),))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (pb.Resource(), "does not know"),
        (pb.Resource(model=pb.Model(name="m", task="nonsense")), "task"),
        (pb.Resource(instance=pb.Instance(state="sleeping")), "state"),
        (pb.Resource(colo=pb.Colo(name="")), "name"),
    ],
    ids=["empty", "task", "state", "name"],
)
def test_what_does_not_stand_is_a_value_error(message: pb.Resource, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resource_from_pb(message)


def test_a_reporter_of_a_kind_that_there_is_not() -> None:
    with pytest.raises(ValidationError):
        report_from_pb(pb.ReportRequest(kind="nonsense", name="n"))


def test_the_snapshot_on_disk_is_the_last_one_or_nothing(tmp_path: Path) -> None:
    disk = SnapshotOnDisk(tmp_path / "state" / "snapshot.pb")
    first = Update(version=1, complete=True, puts=(Account(id="a"),))

    assert disk.load() is None
    disk.save(first)
    disk.save(Update(version=2, complete=True))
    assert disk.load() == Update(version=2, complete=True)
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["snapshot.pb"]
    (tmp_path / "state" / "snapshot.pb").write_bytes(b"\xff\xff")
    assert disk.load() is None
