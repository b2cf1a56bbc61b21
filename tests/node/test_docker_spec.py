"""Which container an instance gets: no engine is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Resources
from libs.common.yaml_files import Document, Problems, parse
from services.node.docker_settings import DockerSettings
from services.node.drivers.docker_gpus import GpuUse
from services.node.drivers.docker_spec import (
    Place,
    container_for,
    mounts_of,
    name_of,
    settings_digest,
    spec_from,
)
from services.node.ports import InstanceSpec

PLACE = Place(
    node="ams-1",
    root=Path("/app"),
    state_dir=Path("/state"),
    folder=Path("/state/nodes/ams-1/docker"),
    host="127.0.0.1",
    user="10001:10001",
    stop_seconds=10.0,
)
SPEC = InstanceSpec(
    id="ams-1/text_generation/0",
    model="@cf/demo/text-generation",
    served_as="text_generation",
    repository=Path("/app/models/text_generation"),
)
OWN = "/state/nodes/ams-1/docker/ams-1%2Ftext_generation%2F0"
MODEL = "/app/models/text_generation"


def made(spec: InstanceSpec = SPEC, use: GpuUse | None = None, **settings: Any) -> dict[str, Any]:
    chosen = DockerSettings(**settings)
    return container_for(spec, place=PLACE, settings=chosen, use=use or GpuUse())


def test_a_container_runs_a_triton_that_loads_the_one_model() -> None:
    container = made(docker_image="triton:1", docker_command="run 'a b'")

    assert container["Image"] == "triton:1"
    assert container["Entrypoint"] == ["run", "a b"]
    assert f"--model-repository={OWN}/repository" in container["Cmd"]
    assert "--load-model=text_generation" in container["Cmd"]
    assert "--exit-timeout-secs=10" in container["Cmd"]
    assert container["StopTimeout"] == 10


def test_a_container_may_do_little() -> None:
    container = made()
    host = container["HostConfig"]

    assert container["User"] == "10001:10001"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert all(each["ReadOnly"] for each in host["Mounts"])
    assert "RestartPolicy" not in host  # the agent alone starts it again: else there would be two


@pytest.mark.parametrize(
    ("settings", "need", "limits"),
    [
        ({}, Resources(), {"CpuShares": 1024}),
        ({}, Resources(cpus=0), {}),
        ({}, Resources(cpus=0.25), {"CpuShares": 256}),
        ({}, Resources(cpus=0.001), {"CpuShares": 2}),
        ({}, Resources(cpus=0, memory_mb=128), {"Memory": 2**29, "MemorySwap": 2**29}),
        (
            {"docker_memory_factor": 1.5},
            Resources(cpus=0, memory_mb=64),
            {"Memory": 96 * 2**20, "MemorySwap": 96 * 2**20},
        ),
        ({"docker_memory_mb": 256}, Resources(cpus=0), {"Memory": 2**28, "MemorySwap": 2**28}),
        (
            {"docker_memory_mb": 256},
            Resources(cpus=0, memory_mb=128),
            {"Memory": 2**29, "MemorySwap": 2**29},
        ),
    ],
    ids=[
        "one CPU",
        "no bounds",
        "a quarter",
        "least",
        "four times memory",
        "as set",
        "by default",
        "the model's own",
    ],
)
def test_needs_become_limits(
    settings: dict[str, Any], need: Resources, limits: dict[str, int]
) -> None:
    host = made(replace(SPEC, resources=need), **settings)["HostConfig"]

    found = {name: host[name] for name in ("CpuShares", "Memory", "MemorySwap") if name in host}
    assert found == limits


def test_shared_memory_and_a_root_that_is_read_only_are_settings() -> None:
    assert made()["HostConfig"]["ShmSize"] == 256 * 2**20
    assert made()["HostConfig"]["Tmpfs"] == {}

    host = made(docker_shm_mb=1024, docker_read_only=True, docker_user="triton")["HostConfig"]

    assert host["ShmSize"] == 2**30
    assert host["ReadonlyRootfs"]
    assert "exec" in host["Tmpfs"]["/tmp"]


def test_gpus_are_asked_for_by_number() -> None:
    assert "DeviceRequests" not in made()["HostConfig"]
    assert "--allow-gpu-metrics=false" in made()["Cmd"]

    container = made(use=GpuUse(gpus=(1, 3)))

    [request] = container["HostConfig"]["DeviceRequests"]
    assert request["DeviceIDs"] == ["1", "3"]
    assert request["Capabilities"] == [["gpu"]]
    assert "--allow-gpu-metrics=false" not in container["Cmd"]


def test_in_a_network_nothing_is_published() -> None:
    host = made(docker_network="ams")["HostConfig"]

    assert host["NetworkMode"] == "ams"
    assert "PortBindings" not in host


def test_without_a_network_ports_are_published_where_the_node_listens_alone() -> None:
    ports = made()["HostConfig"]["PortBindings"]

    assert {each["HostIp"] for bound in ports.values() for each in bound} == {"127.0.0.1"}
    assert set(ports) == {"8000/tcp", "8001/tcp"}


def bind(source: str, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}


def volume(source: str, target: str) -> dict[str, Any]:
    return {"Type": "volume", "Source": source, "Target": target, "ReadOnly": True}


@pytest.mark.parametrize(
    ("settings", "repository", "mounts"),
    [
        ({}, MODEL, [bind(MODEL, MODEL), bind(OWN, OWN)]),
        (
            {"docker_root": "bind:/srv/c", "docker_state": "bind:/var/c"},
            MODEL,
            [
                bind("/srv/c/models/text_generation", MODEL),
                bind(OWN.replace("/state", "/var/c"), OWN),
            ],
        ),
        (
            {"docker_root": "volume:m", "docker_state": "volume:s", "docker_shared": "demo"},
            MODEL,
            [volume("m", "/app"), volume("s", "/state")],
        ),
        ({"docker_root": "image", "docker_shared": "demo"}, MODEL, [bind(OWN, OWN)]),
        (
            {"docker_shared": "demo, weights/all"},
            MODEL,
            [
                bind(MODEL, MODEL),
                bind("/app/demo", "/app/demo"),
                bind("/app/weights/all", "/app/weights/all"),
                bind(OWN, OWN),
            ],
        ),
        (
            {"docker_root": "volume:m"},
            "/srv/models/mine",
            [bind("/srv/models/mine", "/srv/models/mine"), bind(OWN, OWN)],
        ),
    ],
    ids=["the same paths", "other paths", "volumes", "in the image", "shared", "outside the root"],
)
def test_what_is_mounted(
    settings: dict[str, Any], repository: str, mounts: list[dict[str, Any]]
) -> None:
    spec = replace(SPEC, repository=Path(repository))

    assert list(mounts_of(spec, place=PLACE, settings=DockerSettings(**settings))) == mounts


def test_labels_tell_a_later_agent_what_runs() -> None:
    use = GpuUse(gpus=(2,), memory_mb=6_000)
    spec = replace(SPEC, dedicated=True, adapters={"a": Path("a")}, resources=Resources(gpus=1))

    labels = made(spec, use=use, docker_labels="team=a,stage=b")["Labels"]

    found = spec_from(labels)
    assert found is not None
    assert not found[0].differs_from(spec)
    assert found[1] == use
    assert (labels["team"], labels["stage"]) == ("a", "b")
    assert labels["constellation.node"] == "ams-1"


def test_a_label_that_the_settings_give_does_not_hide_ours() -> None:
    labels = made(docker_labels="constellation.node=another")["Labels"]

    assert labels["constellation.node"] == "ams-1"


@pytest.mark.parametrize("broken", ["constellation.spec", "constellation.gpus"])
def test_labels_that_are_not_ours_tell_nothing(broken: str) -> None:
    labels = made()["Labels"]

    assert spec_from({**labels, broken: "[]"}) is None
    assert spec_from({name: text for name, text in labels.items() if name != broken}) is None


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"docker_image": "triton:2"}, True),
        ({"docker_network": "ams"}, True),
        ({"docker_shm_mb": 512}, True),
        ({"docker_host": "tcp://engine:2375"}, False),
        ({"docker_call_s": 5.0}, False),
    ],
    ids=["image", "network", "shared memory", "the way to the engine", "patience"],
)
def test_a_container_is_outdated_when_one_made_now_would_differ(
    change: dict[str, Any], differs: bool
) -> None:
    def digest(**settings: Any) -> str:
        return settings_digest(DockerSettings(**settings), host="127.0.0.1")

    assert (digest() != digest(**change)) == differs


@given(ids=st.lists(st.text(min_size=1, max_size=80), min_size=2, max_size=2, unique=True))
def test_a_name_is_one_of_dns_and_of_one_instance_alone(ids: list[str]) -> None:
    names = [name_of(each, prefix="p" * 24) for each in ids]

    assert names[0] != names[1]
    for name in names:
        assert len(name) <= 63
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert name[0].isalnum()
        assert name[-1].isalnum()


def test_a_name_can_be_read() -> None:
    name = name_of("ams-1/text_generation/0", prefix="constellation")

    assert name.startswith("constellation-ams-1-text-generation-0-")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("driver", "podman", "'process' or 'docker'"),
        ("docker_host", "/var/run/docker.sock", "expected unix:///path or tcp://host:port"),
        ("docker_image", "", "expected an image, such as name:tag"),
        ("docker_command", "  ", "expected a command, such as tritonserver"),
        ("docker_command", "run 'a", "cannot be split into words"),
        ("docker_network", "a b", "expected the name of a network, or nothing"),
        ("docker_root", "volume:", "expected bind, bind:/path, volume:name or image"),
        ("docker_root", "bind:relative", "expected bind, bind:/path, volume:name or image"),
        ("docker_state", "image", "expected bind, bind:/path or volume:name"),
        ("docker_prefix", "A_", "expected up to 24 of a-z, 0-9 and -"),
        ("docker_labels", "a", "expected name=value,name=value"),
        ("docker_user", "a b", "expected user or user:group, or nothing"),
        ("docker_shared", "../secrets", "expected folders below `root`"),
        ("docker_shared", "/etc", "expected folders below `root`"),
        ("docker_shm_mb", 0, "greater than or equal to 1"),
    ],
)
def test_a_bad_setting_is_named_with_what_would_be_right(
    field: str, value: Any, words: str
) -> None:
    document = Document(file="constellation.yaml", content={field: value}, lines={})

    with pytest.raises(Problems) as problems:
        parse(document, DockerSettings)

    assert field in str(problems.value)
    assert words in str(problems.value)
