"""`constellation certs`: what it makes, whom that lets in, and how it tells mistakes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from libs.common.errors import BadInput
from libs.common.hop_tls import HopTls
from libs.common.identities import Identity, identity, refusal
from services.certificates import Certificates, Wanted
from services.commands import _parser

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


async def certs(folder: Path, *arguments: str) -> None:
    parsed = _parser({}).parse_args(["certs", *arguments, "--dir", str(folder)])
    await parsed.run(parsed)


def pem(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


async def test_a_certificate_says_who_and_where(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "server", "--name", "a-1", "--host", "10.0.0.7")

    (found,) = Certificates(folder).all()
    assert found.identities == (Identity("server", "a-1"),)
    assert found.hosts == ("10.0.0.7",)
    assert found.left(NOW) > timedelta(days=89)
    (made,), (authority,) = pem(found.folder / "cert.pem"), pem(found.folder / "ca.pem")
    made.verify_directly_issued_by(authority)


async def test_an_edge_is_an_entry_and_a_server(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "edge", "--name", "e")

    (found,) = Certificates(folder).all()
    assert [each.role for each in found.identities] == ["entry", "server"]
    assert found.hosts == ("e", "localhost", "127.0.0.1")


async def test_all_is_its_owners_alone_and_no_key_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "node", "--name", "n")
    await certs(folder, "show")
    await certs(folder, "rotate", "--all")

    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert "PRIVATE" not in capsys.readouterr().out


async def test_what_is_there_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("issue", "--service", "entry", "--name", "e")
    await certs(folder, "init")
    await certs(folder, *asked)
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")}
    capsys.readouterr()

    await certs(folder, "init")
    await certs(folder, *asked)

    assert {path: path.read_bytes() for path in folder.rglob("*.pem")} == before
    made, issued = capsys.readouterr().out.splitlines()
    assert "there is an authority" in made
    assert issued.endswith("it is there")


async def test_another_host_makes_another_certificate(folder: Path) -> None:
    asked = ("issue", "--service", "entry", "--name", "e")
    await certs(folder, "init")
    await certs(folder, *asked)

    await certs(folder, *asked, "--host", "e.example.org")

    assert [each.hosts for each in Certificates(folder).all()] == [("e.example.org",)]


async def test_what_expires_soon_is_renewed_with_a_new_key(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "entry", "--name", "soon", "--days", "7")
    await certs(folder, "issue", "--service", "entry", "--name", "late")
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")}

    await certs(folder, "rotate")

    changed = {path.relative_to(folder) for path in before if path.read_bytes() != before[path]}
    assert changed == {Path("entry-soon/cert.pem"), Path("entry-soon/key.pem")}
    assert {each.days for each in Certificates(folder).all()} == {7, 90}


async def test_an_authority_is_changed_in_three_steps(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "entry", "--name", "e")
    (old,) = pem(folder / "entry-e/ca.pem")

    await certs(folder, "rotate", "--authority")

    new, before = pem(folder / "entry-e/ca.pem")
    assert before == old
    with pytest.raises(BadInput, match="entry-e: of the authority before"):
        await certs(folder, "rotate", "--drop-old")
    await certs(folder, "rotate", "--all")
    pem(folder / "entry-e/cert.pem")[0].verify_directly_issued_by(new)
    await certs(folder, "rotate", "--drop-old")
    assert pem(folder / "entry-e/ca.pem") == [new]


async def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    made, wanted = Certificates(folder), Wanted(identities=(), hosts=(), days=90)
    made.make_authority(days=10, now=NOW)

    who = Wanted(identities=(Identity("node", "n"),), hosts=("n",), days=90)
    found = made.issue("node-n", who, now=NOW)

    assert found.ends == made.authority().not_valid_after_utc
    with pytest.raises(BadInput, match="the authority expired on"):
        made.issue("node-n", wanted, now=NOW + timedelta(days=11))


def spoil(file: Path) -> None:
    """Cut a file off, as a full disk does."""
    file.write_bytes(file.read_bytes()[:100])


def swap_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes((folder.parent / "node-n/key.pem").read_bytes())


BROKEN = {
    "a certificate cut off": (lambda at: spoil(at / "cert.pem"), "cert.pem: no certificate in PEM"),
    "a key that is not there": (lambda at: (at / "key.pem").unlink(), "key.pem: No such file"),
    "a key cut off": (lambda at: spoil(at / "key.pem"), "key.pem: no key in PEM"),
    "another's key": (swap_key, "key.pem: not the key of cert.pem"),
    "no authority": (lambda at: (at / "ca.pem").unlink(), "ca.pem: No such file"),
    "another authority": (lambda at: (at / "ca.pem").write_text("x"), "ca.pem: not the auth"),
}


@pytest.mark.parametrize(("harm", "told"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_one_is_told_made_anew_and_blocks_no_other(
    folder: Path, harm: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("issue", "--service", "entry", "--name")
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "node", "--name", "n")
    await certs(folder, *asked, "e")
    harm(folder / "entry-e")

    await certs(folder, *asked, "other")
    await certs(folder, "show")
    assert told in capsys.readouterr().err
    await certs(folder, *asked, "e")

    printed = capsys.readouterr()
    assert told in printed.err
    assert "it is made anew" in printed.err
    good, bad = Certificates(folder).look()
    assert [each.folder.name for each in good] == ["entry-e", "entry-other", "node-n"]
    assert (bad, [each.trouble for each in good]) == ({}, ["", "", ""])
    HopTls(
        **{name: folder / f"entry-e/{name}.pem" for name in ("cert", "key", "ca")}
    ).server_context()


@pytest.mark.parametrize(("harm", "told"), list(BROKEN.values())[1:], ids=list(BROKEN)[1:])
async def test_rotate_makes_anew_whose_names_it_can_read(
    folder: Path, harm: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "node", "--name", "n")
    await certs(folder, "issue", "--service", "entry", "--name", "e", "--host", "e.example.org")
    harm(folder / "entry-e")

    await certs(folder, "rotate")

    assert told in capsys.readouterr().err
    (found, _) = Certificates(folder).all()
    assert (found.hosts, found.trouble) == (("e.example.org",), "")


async def test_rotate_renews_the_others_and_tells_what_it_cannot_read(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "entry", "--name", "e")
    await certs(folder, "issue", "--service", "node", "--name", "n", "--days", "7")
    spoil(folder / "entry-e/cert.pem")
    before = (folder / "node-n/cert.pem").read_bytes()

    with pytest.raises(BadInput, match=r"entry-e/cert\.pem: .*`constellation certs issue`"):
        await certs(folder, "rotate")

    assert (folder / "node-n/cert.pem").read_bytes() != before


async def test_an_authoritys_key_must_be_its_own(folder: Path) -> None:
    await certs(folder, "init")
    await certs(folder, "issue", "--service", "node", "--name", "n")
    (folder / "authority/key.pem").write_bytes((folder / "node-n/key.pem").read_bytes())

    with pytest.raises(BadInput, match=r"authority/key\.pem: not the key of cert\.pem"):
        await certs(folder, "issue", "--service", "entry", "--name", "e")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("issue", "--service", "entry", "--name", "e"), "no authority there"),
        (("show",), "no authority there"),
        (("rotate", "--authority"), "no authority there"),
    ],
)
async def test_a_missing_authority_is_told(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        await certs(folder, *arguments)


async def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    await certs(folder, "init")
    with pytest.raises(BadInput, match="no certificate there"):
        await certs(folder, "rotate", "nobody")


@pytest.mark.parametrize(
    "bad",
    [
        ("--service", "king", "--name", "k"),
        ("--service", "entry", "--name", "../k"),
        ("--service", "entry", "--name", "k", "--host", "k:80"),
        ("--service", "entry", "--name", "k", "--host", "http://k"),
        ("--service", "entry", "--name", "k", "--days", "0"),
    ],
)
def test_what_no_certificate_can_say_is_refused(
    bad: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        asyncio.run(certs(Path("nowhere"), "issue", *bad))

    assert "expected " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("constellation://server/a-1", Identity("server", "a-1")),
        ("constellation://server/", None),
        ("constellation://king/a", None),
        ("spiffe://server/a", None),
        ("constellation://[/a", None),
    ],
)
def test_who_a_uri_names(uri: str, found: Identity | None) -> None:
    assert identity(uri) == found


def test_a_refusal_says_who_it_was_and_who_it_should_be() -> None:
    told = refusal(["constellation://node/n"], {"operator"}, "call Put")

    assert told == (
        "constellation://node/n may not call Put: expected a certificate of the role operator"
    )
    assert refusal(["constellation://operator/o"], {"operator"}, "call Put") == ""
    assert "without a role" in refusal([], {"operator"}, "call Put")
