"""A backup as a file: what goes in comes out, and whatever is wrong with it is told."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.backup import archive, manifest
from services.backup.manifest import CannotBackUp

FILES = {"state/token": b"secret", "state/assets/ab": bytes(3_000_000), "config/a.yaml": b"a: 1\n"}


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    archive.write(tmp_path / "parts", tmp_path / "b.tar.gz", left_out=("events in kafka",))
    return tmp_path / "b.tar.gz"


def extracted(path: Path, to: Path) -> dict[str, bytes]:
    with archive.opened(path) as reader:
        reader.extract(to)
    return {
        each.relative_to(to).as_posix(): each.read_bytes()
        for each in to.rglob("*")
        if each.is_file()
    }


def made_anew(path: Path, change: Callable[[list[tuple[str, bytes]]], Any]) -> None:
    """Write the archive once more, with other members."""
    with tarfile.open(path) as tar:
        members = [(each.name, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            told = tarfile.TarInfo(name)
            told.size = len(content)
            tar.addfile(told, io.BytesIO(content))


def with_manifest(**changes: Any) -> Callable[[list[tuple[str, bytes]]], Any]:
    def change(members: list[tuple[str, bytes]]) -> None:
        told = json.loads(members[0][1]) | changes
        members[0] = (manifest.NAME, json.dumps(told).encode())

    return change


def test_what_goes_in_comes_out(backup: Path, tmp_path: Path) -> None:
    assert extracted(backup, tmp_path / "out") == FILES
    with archive.opened(backup) as reader:
        assert reader.manifest.left_out == ("events in kafka",)
        assert reader.manifest.version == manifest.ours()


def test_it_is_for_its_owner_alone_and_replaces_nothing(backup: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600

    before = backup.read_bytes()
    with pytest.raises(FileExistsError):
        archive.write(tmp_path / "parts", backup, left_out=())
    assert backup.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tar.gz", "parts"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_half_of_one_is_no_backup(backup: Path, tmp_path: Path, share: float) -> None:
    content = backup.read_bytes()
    backup.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(CannotBackUp, match=r"b\.tar\.gz"):
        extracted(backup, tmp_path / "out")


def test_a_byte_that_is_another_is_found(backup: Path, tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(backup.read_bytes()))
    content[content.index(b"secret")] ^= 1
    backup.write_bytes(gzip.compress(bytes(content)))

    with pytest.raises(CannotBackUp, match="state/token is not what was saved"):
        extracted(backup, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: members.pop(), "1 of its files are missing"),
        (lambda members: members.append(("state/evil", b"x")), "has 'state/evil'"),
        (lambda members: members.append(("../evil", b"x")), r"has '\.\./evil'"),
        (lambda members: members.append(members[1]), "of which manifest.json says nothing"),
        (lambda members: members.pop(0), "does not begin with manifest.json"),
        (lambda members: members.clear(), "it is no backup"),
        (with_manifest(format=2), "made by a newer version"),
        (with_manifest(version="99.0.0"), "made by a newer version"),
        (with_manifest(parts="none"), "cannot be read"),
        (with_manifest(parts=[{"name": "../evil", "size": 0, "sha256": ""}]), "expected a path"),
        (with_manifest(parts=[{"name": "/etc/evil", "size": 0, "sha256": ""}]), "expected a path"),
        (with_manifest(parts=[{"name": "state", "size": 0, "sha256": ""}]), "expected a path"),
        (
            with_manifest(parts=[{"name": "state/a/../../../b", "size": 0, "sha256": ""}]),
            "expected a path",
        ),
        (with_manifest(parts=[{"name": "state/a", "size": 0, "sha256": ""}] * 2), "twice"),
    ],
)
def test_another_archive_is_refused(
    backup: Path, tmp_path: Path, change: Callable[[Any], Any], why: str
) -> None:
    made_anew(backup, change)

    with pytest.raises(CannotBackUp, match=why):
        extracted(backup, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("something else")

    with pytest.raises(CannotBackUp, match="is no whole backup: not a gzip file"):
        extracted(tmp_path / "b", tmp_path / "out")
    with pytest.raises(CannotBackUp, match="c cannot be read: No such file"):
        extracted(tmp_path / "c", tmp_path / "out")
