"""Prompts, tokens and keys go where they must and nowhere else: unique ones are looked for.

They are sent by every path, with everything that can tell of a request switched on, and then
looked for in logs, events, metrics, spans, what others are told, and the state folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duckdb
import pytest

from services.settings import CLASSES
from tests.security import others as listeners
from tests.security.others import Others
from tests.security.site import OWNER, OWNERS, PRIVATE, STOLEN, THIEF, Site, bearer, running
from tests.short_dirs import short_dir
from tests.system.harness import CHAT, EMBED, ROOT, TOKEN, cleaned_up, processes_of, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]
PROMPT = "canary-in-a-prompt"
GUESS, KEY, SALT = "cst_canary-of-a-guess", "canary-of-a-servers-key", "canary-in-the-salt"
REPORTS, COLLECTORS = "canary-of-report-token", "canary-of-otlp-headers"
SECRETS = (TOKEN, OWNERS, STOLEN, GUESS, KEY, SALT, REPORTS, COLLECTORS)
OURS, THEIRS = f"/client/v4/accounts/{OWNER}/ai", f"/client/v4/accounts/{THIEF}/ai"
KEPT_WITH_SECRETS = ("keys/",)  # in the state folder: what an operator put there


@dataclass
class Told:
    """A system that was told the canaries, once it has ended; and what it said meanwhile."""

    state: Path
    others: Others
    metrics: bytes
    world: bytes
    commands: list[str]
    environments: list[bytes]
    prints: bytes


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with short_dir() as folder, cleaned_up(folder), listeners.listening() as others:
        (folder / "keys").mkdir(mode=0o700)
        (folder / "keys" / "theirs").write_text(KEY)
        env = {
            "CONSTELLATION_ENTRY_ACCESS_LOG": str(folder / "access.log"),
            "CONSTELLATION_ENTRY_PREFIX_SECRET": SALT,
            "CONSTELLATION_NODE_STATE_URL": f"{others.url}/state",
            "CONSTELLATION_NODE_SETUP_URL": f"{others.url}/setup",
            "CONSTELLATION_NODE_STATE_S": "0.5",
            "CONSTELLATION_NODE_REPORT_TOKEN": REPORTS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": others.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={COLLECTORS}",
        }
        with running(folder, env=env, log_level="debug") as site:
            _send_all(site)
            _wait(site, others)
            told = Told(
                state=folder,
                others=others,
                metrics=site.send("GET", "/metrics", ())[1],
                world=site.send("GET", "/console/api/world", bearer(TOKEN))[1],
                commands=list(processes_of(folder).values()),
                environments=list(_environments_of_models(folder)),
                prints=site.up.service.text().encode(),
            )
        yield told


def _send_all(site: Site) -> None:
    """Send prompts by every path, well and badly, with right and wrong tokens."""
    body = {"prompt": PROMPT, "max_tokens": 4}
    talk = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4}
    conversation = talk["messages"]
    good: list[tuple[str, Any]] = [
        (f"/run/{CHAT}", body),
        (f"/run/{CHAT}", body | {"stream": True}),
        (f"/run/{CHAT}", body | {"lora": site.finetune}),
        (f"/run/{CHAT}", {"messages": conversation, "max_tokens": 4}),
        (f"/run/{EMBED}", {"text": PROMPT}),
        (f"/run/{PRIVATE}", {"any": PROMPT}),
        ("/v1/chat/completions", talk | {"model": CHAT}),
        ("/v1/chat/completions", talk | {"model": CHAT, "stream": True, "n": 2}),
        ("/v1/completions", body | {"model": CHAT}),
        ("/v1/responses", {"model": CHAT, "input": PROMPT, "max_output_tokens": 16}),
        ("/v1/embeddings", {"model": EMBED, "input": [PROMPT, "Hi"]}),
    ]
    wrong: list[tuple[str, Any]] = [
        (f"/run/{CHAT}", body | {"max_tokens": PROMPT}),
        (f"/run/{CHAT}", body | {PROMPT: 1, "lora": PROMPT}),
        (f"/run/{CHAT}", [PROMPT]),
        (f"/run/@cf/{PROMPT}", body),
        ("/v1/chat/completions", talk | {"model": PROMPT}),
        ("/v1/embeddings", {"model": EMBED, "input": [[PROMPT]]}),
    ]
    for path, content in (*good, *wrong):
        raw = json.dumps(content).encode()
        status, answer = site.send("POST", OURS + path, bearer(OWNERS), raw)
        assert (status == 200) == ((path, content) in good), (path, answer)
        for base, secret in ((OURS, STOLEN), (OURS, GUESS), (THEIRS, GUESS)):
            assert site.send("POST", base + path, bearer(secret), raw)[0] in (401, 403, 404)
    broken = json.dumps(body).encode()[:-1]
    assert site.send("POST", f"{OURS}/run/{CHAT}", bearer(OWNERS), broken)[0] == 400
    assert site.send("GET", f"{OURS}/usage?token={GUESS}", ())[0] == 401
    assert site.send("GET", f"{OURS}/usage", (("X-Auth-Key", GUESS),))[0] == 401


def _wait(site: Site, others: Others) -> None:
    """Let everything be told that is to be."""
    usage = f"{OURS}/usage?model={EMBED.replace('/', '%2F')}"

    def counted() -> bool:
        rows = site.ask("GET", usage, OWNERS)[1]["result"]
        return bool(rows) and rows[0]["requests"] >= 2

    until(counted, seconds=20, what="the last events are stored")
    for path in ("/v1/traces", "/state", "/setup"):
        until(lambda path=path: others.at(path), seconds=20, what=path)  # type: ignore[misc]


def _environments_of_models(folder: Path) -> Iterator[bytes]:
    """Yield what runs models was started with."""
    for pid, command in processes_of(folder).items():
        if "tritonserver" in command or "python_backend_stub" in command:
            yield Path(f"/proc/{pid}/environ").read_bytes()


def found(said: Mapping[str, bytes], *words: str) -> list[str]:
    """Return where a word is that should not be."""
    return [
        f"{word} in {where}"
        for where, text in said.items()
        for word in words
        if word.encode() in text
    ]


def files_of(state: Path) -> dict[str, bytes]:
    """Return what the state folder keeps, but for what is a link to elsewhere."""
    every = [each for each in state.rglob("*") if each.is_file() and not each.is_symlink()]
    named = {str(each.relative_to(state)): each.read_bytes() for each in every}
    return {name: text for name, text in named.items() if not name.startswith(KEPT_WITH_SECRETS)}


def test_they_were_sent_and_told_of(told: Told) -> None:
    """What is looked at is there at all."""
    assert b"constellation_entry_requests_total" in told.metrics
    assert OWNER.encode() in told.others.at("/v1/traces")
    assert CHAT.encode() in told.others.at("/state")
    assert (told.state / "access.log").read_text().count(OWNER) > 10
    assert len(told.environments) >= 2
    assert {"control.db", "events.duckdb", "access.log"} <= files_of(told.state).keys()


def test_no_token_or_key_is_in_a_log_or_the_state_folder(told: Told) -> None:
    assert found({"the log": told.prints, **files_of(told.state)}, *SECRETS) == []


def test_no_prompt_or_answer_is_in_a_log_or_the_state_folder(told: Told) -> None:
    # The path that was asked for is in the access log, and in the name of what was not there.
    said = {name: text for name, text in files_of(told.state).items() if name != "access.log"}
    log = (told.state / "access.log").read_bytes().replace(f"@cf/{PROMPT}".encode(), b"")

    assert found({"the log": told.prints, "access.log": log, **said}, PROMPT) == []


def test_no_event_has_one(told: Told) -> None:
    text = []
    with closing(duckdb.connect(str(told.state / "events.duckdb"), read_only=True)) as opened:
        for (table,) in opened.execute("select table_name from duckdb_tables()").fetchall():
            text += [str(row) for row in opened.execute(f'select * from "{table}"').fetchall()]

    assert OWNER in "".join(text)
    assert found({"events": "\n".join(text).encode()}, PROMPT, *SECRETS) == []


def test_nobody_else_is_told_one(told: Told) -> None:
    asked = f"@cf/{PROMPT}".encode()  # the path of a request, which its span has
    said = {path: told.others.at(path).replace(asked, b"") for path, _ in told.others.bodies}
    said |= {"metrics": told.metrics, "the console": told.world}

    assert found(said, PROMPT, *SECRETS) == []


def test_none_is_on_a_command_line_nor_with_the_code_of_models(told: Told) -> None:
    lines = {f"command {at}": each.encode() for at, each in enumerate(told.commands)}
    environments = {f"environment {at}": each for at, each in enumerate(told.environments)}

    assert found(lines | environments, PROMPT, *SECRETS) == []


@pytest.mark.parametrize("service", CLASSES)
def test_no_secret_setting_is_in_what_its_class_says(service: str) -> None:
    secret = ("token", "secret", "password", "headers", "store_url")
    named = [each for each in fields(CLASSES[service]) if each.name.endswith(secret)]

    assert [each.name for each in named if each.repr] == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense://user:canary-of-a-password@127.0.0.1/x", "expected a database of"),
        ("postgresql+pg8000://user:canary-of-a-password@127.0.0.1:1/x", "is not available"),
    ],
)
def test_a_database_that_cannot_be_had_is_told_without_its_password(
    address: str, told: str
) -> None:
    with short_dir() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "scheduler", "--state-dir", str(folder)],
            env={**os.environ, "CONSTELLATION_CONTROL_STORE_URL": address},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 1
    assert told in done.stderr
    assert "canary" not in done.stdout + done.stderr
