"""The Dockerfile can be built by any builder, and names nobody's machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    "words", ["# syntax", "RUN --mount", "COPY --link", "COPY --chmod", "<<", "\nADD "]
)
def test_it_has_nothing_that_only_some_builders_know(words: str) -> None:
    assert words not in DOCKERFILE


def test_all_bases_are_the_one_that_is_pinned() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.M)
    names = {name for _, name in stages}

    assert {base for base, _ in stages} - names == {"${PYTHON_IMAGE}"}
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.M)


def test_all_addresses_in_it_are_of_the_container_itself() -> None:
    assert set(re.findall(r"https?://([^:/\s]+)", DOCKERFILE)) == {"127.0.0.1"}


def test_it_ends_as_nobody_that_is_root() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["10001:10001"]


def test_what_is_copied_is_what_the_context_has() -> None:
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
        for source in line.split()
    }

    assert IGNORED[next(n for n, line in enumerate(IGNORED) if line[:1] not in ("#", ""))] == "*"
    for source in copied:
        assert any(source == each or source.startswith(each + "/") for each in allowed), source
        assert (ROOT / source).exists(), source
    for each in allowed:
        assert any(source == each or source.startswith(each + "/") for source in copied), each
