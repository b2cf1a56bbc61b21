"""A running `up` with two accounts, of which one has things that are its own."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from libs.common.clients.control import ControlClient
from libs.common.tokens import token_hash
from libs.common.world_map import SCOPES, Account, Token
from tests.system.finetunes import FILES, PIRATE
from tests.system.harness import CHAT, ROOT, Up, until

THIEF, OWNER = "a" * 32, "b" * 32  # whose token was stolen, and whose things are wanted
STOLEN, OWNERS = "cst_stolen-token-of-a", "cst_token-of-b"
PRIVATE = "@cf/demo/dumb-pipe"  # a model for the owner alone
Headers = Sequence[tuple[str, str]]


def bearer(secret: str) -> Headers:
    """Return the header that a token comes in."""
    return (("Authorization", f"Bearer {secret}"),)


class Site:
    """Where it answers, and the ids of the owner's things."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.finetune = ""
        self.name = "of-b"

    def send(
        self, method: str, target: str, headers: Headers, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Send a request as it is written here, which no client mends; return what comes back."""
        connection = HTTPConnection("127.0.0.1", self.up.http, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, secret: str, body: Any = None) -> tuple[int, Any]:
        """Send JSON with a token, and read JSON."""
        raw = b"" if body is None else json.dumps(body).encode()
        status, answer = self.send(method, path, bearer(secret), raw)
        return status, json.loads(answer)


@contextmanager
def running(
    folder: Path, *, env: dict[str, str] | None = None, log_level: str = "info"
) -> Iterator[Site]:
    """Run one process with everything, and give the owner a model, a finetune and usage."""
    made = Up(folder, "--config", str(_config(folder)), env=env)
    made.service.log_level = log_level
    try:
        made.start()
        asyncio.run(_add_accounts(folder))
        site = Site(made)
        until(lambda: _answers(site), seconds=30, what="the owner's calls are answered")
        _add_things(site)
        yield site
        assert made.service.stop() == 0
    finally:
        made.client.close()
        if made.service.process.poll() is None:
            made.service.kill()


def _config(folder: Path) -> Path:
    """Copy the catalog; one model of it is the owner's alone."""
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("models", ".triton"):
        (folder / name).symlink_to(ROOT / name)
    path = folder / "config" / "models" / "dumb-pipe.yaml"
    path.write_text(f"{path.read_text()}\naccess: {{accounts: [{OWNER}]}}\n")
    return folder / "config"


async def _add_accounts(folder: Path) -> None:
    async with ControlClient(f"unix:{folder}/control.sock") as control:
        for account, secret in ((THIEF, STOLEN), (OWNER, OWNERS)):
            await control.put(Account(id=account, name=account[:3]))
            await control.put(Token(hash=token_hash(secret), account=account, scopes=SCOPES))


def _answers(site: Site) -> bool:
    for account, secret in ((THIEF, STOLEN), (OWNER, OWNERS)):
        path = f"/client/v4/accounts/{account}/ai/run/{CHAT}"
        if site.ask("POST", path, secret, {"prompt": "Hi", "max_tokens": 1})[0] != 200:
            return False
    return True


def _add_things(site: Site) -> None:
    base = f"/client/v4/accounts/{OWNER}/ai"
    status, told = site.ask("POST", f"{base}/finetunes", OWNERS, {"model": CHAT, "name": site.name})
    assert status == 200, told
    site.finetune = told["result"]["id"]
    for file in FILES:
        body, kind = form(file, (PIRATE / file).read_bytes())
        path = f"{base}/finetunes/{site.finetune}/finetune-assets"
        status, answer = site.send("POST", path, [*bearer(OWNERS), kind], body)
        assert status == 200, answer
    assert site.ask("POST", f"{base}/run/{PRIVATE}", OWNERS, {"any": "thing"})[0] == 200
    until(
        lambda: site.ask("GET", f"{base}/usage/requests", OWNERS)[1]["result"],
        seconds=20,
        what="the owner's usage is known",
    )


def form(file: str, content: bytes, **fields: str) -> tuple[bytes, tuple[str, str]]:
    """Return a form with a file, of a finetune where no other fields are told; its content type."""
    edge, head = "edge-of-a-part", ""
    for name, value in (fields or {"file_name": file}).items():
        head += f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    head += f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{file}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
    return body, ("Content-Type", f"multipart/form-data; boundary={edge}")


def encoded(text: str) -> str:
    """Return a text with every character of it that is special in a path escaped."""
    return quote(text, safe="")
