"""The profile `minimal` of docker-compose.yml, from `up` to `down`, called by official SDKs."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from cloudflare import Cloudflare
from openai import OpenAI

from tests.cluster.compose import Project, project
from tests.cluster.containers import Tell, docker
from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),  # the first test builds the images
    pytest.mark.usefixtures("images"),
]
SERVICES = {"scheduler", "analytics", "server", "node", "entry"}
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def minimal(images: dict[str, str]) -> Iterator[Project]:
    """One that is up; the last test takes it down."""
    with project("minimal") as made:
        made.up()
        yield made


@pytest.fixture
def openai(minimal: Project) -> Iterator[OpenAI]:
    base = f"http://127.0.0.1:{minimal.ports['HTTP_PORT']}/v1"
    with OpenAI(base_url=base, api_key=TOKEN) as made:
        yield made


def said(openai: OpenAI) -> str:
    answer = openai.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    return answer.choices[0].message.content or ""


def test_it_comes_up_healthy(minimal: Project, told: Tell) -> None:
    assert set(minimal.services()) == SERVICES
    assert {each: minimal[each].health for each in SERVICES} == dict.fromkeys(SERVICES, "healthy")
    sizes = [
        int(docker("image", "inspect", "-f", "{{.Size}}", minimal[each].facts["Image"])) / 1e6
        for each in ("entry", "node")
    ]
    told(
        f"compose minimal: healthy after {minimal.took:.0f} s,"
        f" of images of {sizes[0]:.0f} and {sizes[1]:.0f} MB"
    )


def test_openais_sdk_is_answered(minimal: Project, openai: OpenAI) -> None:
    assert "Paris" in said(openai)

    parts = openai.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": QUESTION}], temperature=0, stream=True
    )
    text = "".join(each.choices[0].delta.content or "" for each in parts if each.choices)
    assert "Paris" in text
    vectors = openai.embeddings.create(model=EMBED, input=["a cat", "a kitten"])
    assert [len(each.embedding) for each in vectors.data] == [384, 384]


def test_cloudflares_sdk_is_answered(minimal: Project) -> None:
    base = f"http://127.0.0.1:{minimal.ports['HTTP_PORT']}/client/v4"
    with Cloudflare(api_token=TOKEN, base_url=base) as client:
        answer = client.ai.run(CHAT, account_id=ACCOUNT, prompt=QUESTION, temperature=0)

    assert "Paris" in answer["response"]  # type: ignore[index]


def test_what_was_used_is_told(minimal: Project, openai: OpenAI) -> None:
    said(openai)

    until(
        lambda: CHAT in minimal["analytics"].execute("constellation", "usage"),
        seconds=30,
        what="its usage",
    )
    client = minimal.client()
    answer = client.http.get(f"{client.account}/ai/usage")
    client.close()
    assert answer.status_code == 200, answer.text
    assert CHAT in answer.text


def test_a_killed_triton_is_replaced(minimal: Project, openai: OpenAI, told: Tell) -> None:
    assert "Paris" in said(openai)
    boots = minimal.metric("node", "constellation_node_boots_total", model=CHAT, status="ready")

    minimal["node"].signal(signal.SIGKILL, "bin/tritonserver")

    def again() -> bool:
        name = "constellation_node_boots_total"
        return minimal.metric("node", name, model=CHAT, status="ready") > boots

    until(again, seconds=60, what="another boot")
    assert "Paris" in said(openai)
    assert minimal["node"].facts["RestartCount"] == 0


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_killed_container_starts_again(minimal: Project, openai: OpenAI, service: str) -> None:
    killed = minimal[service]
    killed.signal(signal.SIGKILL, f"constellation {service}")

    until(lambda: killed.facts["RestartCount"] >= 1, seconds=30, what="a restart")
    killed.wait_until("healthy", seconds=90)
    until(lambda: said(openai), seconds=60, what="an answer")


def test_none_is_root_or_may_write(minimal: Project) -> None:
    for service in SERVICES:
        facts = minimal[service].facts
        assert facts["Config"]["User"] == "10001:10001"
        assert facts["HostConfig"]["ReadonlyRootfs"]
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert facts["HostConfig"]["Memory"] > 0
        assert TOKEN not in str(facts["Config"]["Env"])


def test_down_leaves_nothing(minimal: Project, told: Tell) -> None:
    assert {*minimal.left()} == {"container", "network", "volume"}

    minimal.down()

    assert minimal.left() == {}
    told("compose minimal: down -v leaves no container, network or volume")
