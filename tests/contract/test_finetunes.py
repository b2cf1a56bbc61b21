"""Control's finetunes: the object itself, and a client over gRPC."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.catalog import Finetune
from libs.common.clients.control import ControlClient
from libs.common.errors import (
    AssetExists,
    BadAdapter,
    BadInput,
    FinetuneExists,
    LoraUnsupported,
    NoRoom,
    RequestError,
    TooLarge,
    TooManyFinetunes,
    TooManyUploads,
    Unavailable,
    UnknownFinetune,
    UnknownModel,
)
from libs.common.finetunes import UploadHead
from libs.common.incoming import Incoming
from libs.common.world_map import Account, Ref
from tests.adapters import CONFIG, WEIGHTS, chunked, config, header, tensors, weights
from tests.contract.planes import SMALL, Planes, starting
from tests.waiting import until


@pytest.fixture(params=["itself", "grpc"])
def planes(request: pytest.FixtureRequest, folder: Path) -> Planes:
    return starting(request.param, folder)


async def test_a_finetune_is_made_given_its_files_and_stays_over_a_restart(
    planes: Planes,
) -> None:
    async with planes() as plane:
        made = await plane.create(description="Talks.", model="talk")
        assert (made.name, made.model, made.description) == ("pirate", "chat", "Talks.")
        assert not made.is_complete
        half = await plane.upload(config(), CONFIG, name=made.id)
        assert not half.is_complete
        whole = await plane.upload(weights(), WEIGHTS, name="pirate")

    async with planes() as plane:
        assert plane.world.finetune("pirate", account="a") == whole
        assert whole.is_complete
        assert whole.modified_at_ms >= whole.created_at_ms > 0
        files = {each.file: await plane.fetched(each.sha256) for each in whole.assets}
        assert files == {CONFIG: config(), WEIGHTS: weights()}


async def test_either_file_may_come_first_and_both_must_be_of_one_adapter(planes: Planes) -> None:
    async with planes() as plane:
        await plane.create()
        await plane.upload(weights(rank=4), WEIGHTS)
        with pytest.raises(BadAdapter, match=r"r is 8 .* and 4"):
            await plane.upload(config(r=8), CONFIG)
        whole = await plane.upload(config(r=4), CONFIG)

        await plane.create("other")
        await plane.upload(config(r=8), CONFIG, "other")
        with pytest.raises(BadAdapter, match=r"r is 8 .* and 4"):
            await plane.upload(weights(rank=4), WEIGHTS, "other")

    assert whole.is_complete


@pytest.mark.parametrize(
    ("new", "error", "words"),
    [
        ({"model": "nothing"}, UnknownModel, "No such model nothing"),
        ({"model": "plain"}, LoraUnsupported, "plain takes no LoRA"),
        ({"model": "theirs"}, LoraUnsupported, "its operator has put there"),
        ({"model": "trt"}, LoraUnsupported, "its operator has put there"),
        ({"name": ""}, BadInput, "expected a name"),
        ({"name": "a/b"}, BadInput, "expected a name"),
        ({"name": " a"}, BadInput, "expected a name"),
        ({"name": "a\nb"}, BadInput, "printable"),
        ({"name": "x" * 129}, BadInput, "up to 128"),
        ({"name": "cf-public-a"}, BadInput, "cf-public- are reserved"),
        ({"description": "x" * 1025}, BadInput, "up to 1024"),
        ({"name": "mine"}, FinetuneExists, "'mine' already"),
        ({"name": "style", "public": True}, FinetuneExists, "a public finetune 'style'"),
        ({"name": "shown", "public": True, "account": "b"}, FinetuneExists, "'shown' already"),
    ],
)
async def test_what_may_not_be_made_is_refused(
    planes: Planes, new: dict[str, Any], error: type[RequestError], words: str
) -> None:
    async with planes() as plane:
        await plane.create("mine")
        await plane.create("shown", public=True)
        with pytest.raises(error, match=words):
            await plane.create(**new)
        assert len(plane.world.table(Finetune)) == 3


async def test_an_account_has_so_many_and_others_have_their_own(planes: Planes) -> None:
    async with planes(finetunes_per_account=2) as plane:
        await plane.create("one")
        await plane.create("two")
        with pytest.raises(TooManyFinetunes, match="has 2 finetunes"):
            await plane.create("three")
        await plane.create("one", account="b")

        await plane.finetunes.delete("a", "one")
        await plane.create("three")


async def test_two_at_once_of_one_name_make_one(planes: Planes) -> None:
    async with planes() as plane:
        made = await asyncio.gather(*(plane.create() for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(each, Finetune) for each in made) == 1
    assert sum(isinstance(each, FinetuneExists) for each in made) == 4


LONG = header(tensors(width=1000))


@pytest.mark.parametrize(
    ("file", "raw", "error", "words"),
    [
        ("weights.bin", b"", BadInput, "expected adapter_config.json or"),
        ("../" + CONFIG, config(), BadInput, "expected adapter_config.json or"),
        (CONFIG, config(r=64), BadAdapter, "expected a rank of 1 to 32"),
        (WEIGHTS, b"", BadAdapter, "does not begin as safetensors"),
        (WEIGHTS, config(), BadAdapter, "does not begin as safetensors"),
        (WEIGHTS, weights()[:20], BadAdapter, "not valid JSON"),
        (WEIGHTS, weights()[:-1], BadAdapter, "cut short"),
        (WEIGHTS, weights() + b"x", BadAdapter, "goes on after its last tensor"),
        (WEIGHTS, LONG, TooLarge, f"and {SMALL} are allowed"),
    ],
)
async def test_a_file_that_does_not_fit_is_refused_and_leaves_nothing(
    planes: Planes, file: str, raw: bytes, error: type[RequestError], words: str
) -> None:
    async with planes() as plane:
        made = await plane.create()
        with pytest.raises(error, match=words):
            await plane.upload(raw, file)

        assert plane.world.finetune("pirate", account="a") == made
        await until(lambda: not plane.unfinished)
        assert not plane.files


async def test_the_header_alone_is_enough_to_refuse(planes: Planes) -> None:
    async def begin() -> AsyncIterator[bytes]:
        yield LONG
        await asyncio.sleep(60)  # the rest does not come, and is not needed

    async with planes() as plane:
        await plane.create()
        head = UploadHead(account="a", finetune="pirate", file=WEIGHTS)
        with pytest.raises(TooLarge):
            await asyncio.wait_for(plane.finetunes.upload(head, begin()), 5)


async def test_a_refusal_is_heard_by_one_who_sends_as_fast_as_it_can(planes: Planes) -> None:
    async with planes() as plane:
        await plane.create()
        for _ in range(30):  # a status that meets a write may be lost
            with pytest.raises(BadAdapter, match="does not begin as safetensors"):
                await plane.upload(bytes(4_000_000), WEIGHTS, size=64_000)


async def test_files_never_change_and_are_the_accounts_own(planes: Planes) -> None:
    async with planes() as plane:
        await plane.create()
        await plane.upload(config(), CONFIG)
        with pytest.raises(AssetExists, match="has its adapter_config"):
            await plane.upload(config(), CONFIG)
        for account, name in (("b", "pirate"), ("a", "nobody"), ("a", "style"), ("", "style")):
            with pytest.raises(UnknownFinetune):
                await plane.upload(weights(), WEIGHTS, name, account)


async def test_of_two_uploads_at_once_the_first_to_end_stands(planes: Planes) -> None:
    async with planes() as plane:
        await plane.create()
        ends = await asyncio.gather(
            *(plane.upload(weights(fill=bytes([n])), WEIGHTS) for n in range(4)),
            return_exceptions=True,
        )

        won = [each for each in ends if isinstance(each, Finetune)]
        assert len(won) == 1
        assert sum(isinstance(each, AssetExists) for each in ends) == 3
        assert plane.files == {won[0].assets[0].sha256}
        assert not plane.unfinished


async def test_an_upload_that_is_broken_off_leaves_nothing(planes: Planes) -> None:
    begun = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield weights()[:-1]
        begun.set()
        await asyncio.sleep(30)

    async def failing() -> AsyncIterator[bytes]:
        yield weights()[:-1]
        raise BadInput("its form is broken")

    async with planes() as plane:
        made = await plane.create()
        head = UploadHead(account="a", finetune="pirate", file=WEIGHTS)
        with pytest.raises(BadInput, match="its form is broken"):
            await plane.finetunes.upload(head, failing())
        upload = asyncio.create_task(plane.finetunes.upload(head, slowly()))
        await begun.wait()
        await until(lambda: plane.unfinished)
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)

        await until(lambda: not plane.unfinished)
        assert not plane.files
        assert plane.world.finetune("pirate", account="a") == made
        assert (await plane.upload(weights(), WEIGHTS)).assets


async def test_what_a_crash_left_is_gone_at_the_next_start(planes: Planes) -> None:
    async with planes() as plane:
        await plane.create()
        kept = await plane.upload(config(), CONFIG)
        (plane.assets / "incoming" / "half").write_bytes(b"half")
        (plane.assets / ("0" * 64)).write_bytes(b"kept, but the store never knew")

    async with planes() as plane:
        assert plane.files == {kept.assets[0].sha256}
        assert not plane.unfinished


async def test_a_deleted_finetune_takes_its_files_with_it_but_for_shared_ones(
    planes: Planes,
) -> None:
    async with planes() as plane:
        for name in ("one", "two"):
            await plane.create(name)
            await plane.upload(config(), CONFIG, name)
        last = await plane.upload(weights(), WEIGHTS, "two")
        assert len(plane.files) == 2

        await plane.finetunes.delete("a", "one")
        assert len(plane.files) == 2
        with pytest.raises(UnknownFinetune):
            await plane.finetunes.delete("a", "one")
        with pytest.raises(UnknownFinetune):
            await plane.finetunes.delete("b", "two")
        await plane.control.delete(Ref("finetune", last.id))  # an operator's way
        assert not plane.files
        with pytest.raises(UnknownFinetune):
            await plane.fetched(last.assets[0].sha256)


async def test_a_deleted_account_takes_its_finetunes_with_it(planes: Planes) -> None:
    async with planes() as plane:
        await plane.control.put(Account(id="a"))
        await plane.create()
        await plane.upload(config(), CONFIG)
        theirs = await plane.create(account="b")

        await plane.control.delete(Ref("account", "a"))
        assert set(plane.world.table(Finetune)) == {"style", theirs.id}
        assert not plane.files


@pytest.mark.parametrize("sha256", ["", "../control.db", "/etc/passwd", "0" * 64, "." * 64])
async def test_nothing_else_is_fetched(planes: Planes, sha256: str) -> None:
    async with planes() as plane:
        with pytest.raises(UnknownFinetune):
            await plane.fetched(sha256)


async def test_a_disk_without_room_refuses_before_anything_is_stored(planes: Planes) -> None:
    async with planes(keep_free_mb=2**32 - 1) as plane:
        await plane.create()
        with pytest.raises(NoRoom, match="no room"):
            await plane.upload(weights(), WEIGHTS)
        assert not plane.unfinished


async def test_a_disk_that_becomes_full_is_told_and_leaves_nothing(
    planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Incoming, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with planes() as plane:
        await plane.create()
        with monkeypatch.context() as patched:
            patched.setattr(Incoming, "_write", full)
            with pytest.raises(NoRoom, match="No space left"):
                await plane.upload(weights(), WEIGHTS)
        assert not plane.unfinished
        assert (await plane.upload(weights(), WEIGHTS)).assets


async def test_more_uploads_than_may_be_at_once_are_refused(planes: Planes) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield weights()[:-1]
        await asyncio.sleep(30)

    async with planes(uploads_at_once=1) as plane:
        await plane.create()
        head = UploadHead(account="a", finetune="pirate", file=WEIGHTS)
        first = asyncio.create_task(plane.finetunes.upload(head, never()))
        await until(lambda: plane.unfinished)
        with pytest.raises(TooManyUploads) as refused:
            await plane.upload(config(), CONFIG)
        assert refused.value.retry_after_ms > 0
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await until(lambda: not plane.unfinished)
        await plane.upload(config(), CONFIG)


async def test_a_folder_that_is_none_is_named_at_the_start(planes: Planes, folder: Path) -> None:
    (folder / "file").write_text("no folder")
    with pytest.raises(Unavailable, match=r"folder of uploaded files .*/file is not available"):
        async with planes(assets=folder / "file"):
            pass


async def test_a_control_that_is_away_is_unavailable(folder: Path) -> None:
    async with ControlClient(f"unix:{folder.absolute()}/control.sock") as client:
        head = UploadHead(account="a", finetune="f", file=CONFIG)
        with pytest.raises(Unavailable):
            await client.finetunes.upload(head, chunked(config()))
        with pytest.raises(Unavailable):
            await client.finetunes.delete("a", "f")
