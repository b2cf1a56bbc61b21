"""The command lines: what they take, and what they say to a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import capacity, gateway, slow_reader
from bench.peers import PEERS


def test_without_arguments_the_usual_peers_and_all_of_ours_are_measured() -> None:
    arguments = gateway.parser().parse_args([])

    assert arguments.peers == ["nginx", "haproxy", "envoy"]
    assert arguments.targets == ["fused", "split", "split_2_entries"]
    assert arguments.workloads == ["unary", "stream_coalesced", "stream_paced"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("all", list(PEERS)), ("none", []), ("envoy, nginx,envoy", ["envoy", "nginx"])],
)
def test_peers_are_named_once_each(text: str, expected: list[str]) -> None:
    assert gateway.parser().parse_args(["--peers", text]).peers == expected


def test_nothing_of_ours_may_be_wanted() -> None:
    assert gateway.parser().parse_args(["--targets", "none"]).targets == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--peers", "envoi"], "there is no envoi; there are: nginx"),
        (["--targets", "fusd"], "there is no fusd"),
        (["--workloads", "unary,batch"], "there is no batch"),
        (["--rounds", "0"], "expected a whole number above 0, got '0'"),
        (["--rounds", "three"], "expected a whole number"),
        (["--seconds", "-1"], "expected a number above 0"),
        (["--seconds", "nan"], "expected a number above 0"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        gateway.main(arguments)

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("bench", [capacity, slow_reader])
def test_the_other_benchmarks_know_the_same_targets(bench: object) -> None:
    arguments = bench.parser().parse_args(["--targets", "split,envoy"])  # type: ignore[attr-defined]

    assert arguments.targets == ["split", "envoy"]


def test_the_list_tells_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway.main(["--list"]) == 0

    text = capsys.readouterr().out
    assert all(name in text for name in gateway.TARGETS)


def test_every_configuration_of_a_peer_is_there() -> None:
    folder = Path(gateway.__file__).parent / "peers"

    assert [
        each for peer in PEERS.values() for each in peer.files if not (folder / each).exists()
    ] == []
