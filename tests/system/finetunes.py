"""Finetunes as a user of the official `cloudflare` SDK makes them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudflare as sdk
from cloudflare import Cloudflare

from tests.system.harness import ACCOUNT, CHAT, ROOT

PIRATE = ROOT / "models/text_generation/adapters/pirate"
FILES = ("adapter_config.json", "adapter_model.safetensors")
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def answer(client: Cloudflare, **inputs: Any) -> str:
    asked: dict[str, Any] = {"messages": MESSAGES, "temperature": 0.0, "max_tokens": 40}
    told: Any = client.ai.run(CHAT, account_id=ACCOUNT, **asked, **inputs)
    return str(told["response"])


def made(client: Cloudflare, name: str = "", **more: Any) -> Any:
    return client.ai.finetunes.create(
        account_id=ACCOUNT, model=CHAT, name=name or uuid.uuid4().hex, **more
    )


def upload(client: Cloudflare, finetune: str, file: str, folder: Path = PIRATE) -> Any:
    with (folder / file).open("rb") as opened:
        return client.ai.finetunes.assets.create(
            finetune, account_id=ACCOUNT, file=opened, file_name=file
        )


def uploaded(client: Cloudflare, **more: Any) -> Any:
    finetune = made(client, **more)
    for file in FILES:
        upload(client, finetune.id, file)
    return finetune


def heard(client: Cloudflare, finetune: str) -> Callable[[], bool]:
    """Whether the finetune answers by now: a node has its files a moment after their upload."""

    def ask() -> bool:
        try:
            return answer(client, lora=finetune).startswith("Ahoy")
        except sdk.APIStatusError:
            return False

    return ask
