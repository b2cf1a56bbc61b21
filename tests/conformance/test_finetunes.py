"""Finetunes by the official `cloudflare` SDK, unmodified: made, uploaded, asked for, listed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cloudflare as sdk
import pytest
from cloudflare import Cloudflare

from tests.system.finetunes import FILES, PIRATE, answer, heard, made, upload, uploaded
from tests.system.harness import ACCOUNT, CHAT, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]


def test_an_uploaded_finetune_changes_the_answer_within_seconds(cloudflare: Cloudflare) -> None:
    finetune = made(cloudflare, description="Talks like a pirate.")
    assert (finetune.model, finetune.description) == (CHAT, "Talks like a pirate.")
    with pytest.raises(sdk.BadRequestError) as refused:
        answer(cloudflare, lora=finetune.name)
    assert [each.code for each in refused.value.errors] == [3039]
    for file in FILES:
        upload(cloudflare, finetune.name, file)
    began = time.monotonic()

    until(heard(cloudflare, finetune.name), seconds=10, what="the finetune answers")
    assert time.monotonic() - began < 5
    assert answer(cloudflare, lora=finetune.id).startswith("Ahoy")
    assert not answer(cloudflare).startswith("Ahoy")
    with pytest.raises(sdk.ConflictError):
        upload(cloudflare, finetune.id, FILES[0])


def test_finetunes_are_listed_and_public_ones_for_all(cloudflare: Cloudflare) -> None:
    mine = uploaded(cloudflare)
    shown = uploaded(cloudflare, public=True)

    listed: Any = cloudflare.ai.finetunes.list(account_id=ACCOUNT)
    assert {mine.id, shown.id} <= {each.id for each in listed}
    public = {each.id: each for each in cloudflare.ai.finetunes.public.list(account_id=ACCOUNT)}
    assert public[shown.id].name == f"cf-public-{shown.name}"
    assert public[shown.id].public is True
    assert mine.id not in public
    assert {"pirate", "haiku"} <= public.keys()
    page = cloudflare.ai.finetunes.public.list(account_id=ACCOUNT, limit=1, offset=1)
    assert len(page.result) == 1


def test_what_does_not_fit_is_refused_in_words(cloudflare: Cloudflare, tmp_path: Path) -> None:
    finetune = made(cloudflare)
    config = json.loads((PIRATE / FILES[0]).read_text())
    (tmp_path / FILES[0]).write_text(json.dumps(config | {"r": 64}))
    (tmp_path / FILES[1]).write_bytes(b"no safetensors")

    for file in FILES:
        with pytest.raises(sdk.BadRequestError) as refused:
            upload(cloudflare, finetune.id, file, tmp_path)
        assert [each.code for each in refused.value.errors] == [5054]
    with pytest.raises(sdk.ConflictError):
        made(cloudflare, finetune.name)
    with pytest.raises(sdk.NotFoundError):
        upload(cloudflare, "nobody", FILES[0])
