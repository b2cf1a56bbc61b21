"""Attempts with a stolen token upon another account's things: what is sent, and the refusal.

Each names what the owner would send instead, so that no row is refused because nothing is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from libs.common.tokens import token_hash
from tests.security.site import (
    OWNER,
    OWNERS,
    PRIVATE,
    STOLEN,
    THIEF,
    Headers,
    Site,
    bearer,
    encoded,
    form,
)
from tests.system.harness import CHAT, EMBED

BASE = "/client/v4/accounts"
OURS, THEIRS = f"{BASE}/{OWNER}/ai", f"{BASE}/{THIEF}/ai"  # of the owner, of the thief
SHORT = {"prompt": "Hi", "max_tokens": 1}
TALK = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
ANOTHERS, NOBODYS, NOT_THIS = (403, 10001), (401, 10000), (403, 5018)
NOT_THERE, NO_FINETUNE = (404, 7000), (404, 5050)
SPEAKS, HEARS = "@cf/demo/text-to-speech", "@cf/demo/automatic-speech-recognition"


@dataclass(frozen=True)
class Call:
    """A request as it goes over the wire."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    def send(self, site: Site) -> tuple[int, bytes]:
        return site.send(self.method, self.target, self.headers, self.body)


@dataclass(frozen=True)
class Attempt:
    """What a thief sends, how it is refused, and what the owner sends who is not."""

    name: str
    thief: Call
    refused: tuple[int, int]
    owner: Call
    also: tuple[int, ...] = field(default=(200,))  # what the owner's may be answered with


def call(method: str, target: str, secret: str, body: Any = None, **headers: str) -> Call:
    raw = b"" if body is None else json.dumps(body).encode()
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Call(method, target, (*bearer(secret), *more), raw)


def attempts(site: Site) -> list[Attempt]:
    """Return the table."""
    return [
        *_the_owners_path(site),
        *_the_owners_things(site),
        *_without_an_account(site),
        *_what_reads_as_another_path(),
        *_what_says_who_calls(),
        *_operators_pages(),
        *_files_of_the_process(),
    ]


def _the_owners_path(site: Site) -> Iterator[Attempt]:
    """Every route that has the account in its path."""
    file, kind = form("adapter_config.json", b"{}")
    asset = f"{OURS}/finetunes/{site.finetune}/finetune-assets"
    picture = {"prompt": "star", "size": "256x256"}
    rows: list[tuple[str, str, Any]] = [
        ("POST", f"/run/{CHAT}", SHORT),
        ("POST", f"/run/{CHAT}", SHORT | {"stream": True}),
        ("POST", f"/run/{PRIVATE}", {"any": "thing"}),
        ("POST", f"/run/{CHAT}", SHORT | {"lora": site.finetune}),
        ("POST", "/v1/chat/completions", TALK | {"model": CHAT}),
        ("POST", "/v1/completions", SHORT | {"model": CHAT}),
        ("POST", "/v1/embeddings", {"model": EMBED, "input": "Hi"}),
        ("POST", "/v1/responses", {"model": CHAT, "input": "Hi", "max_output_tokens": 16}),
        ("POST", "/v1/images/generations", picture | {"model": "@cf/demo/text-to-image"}),
        ("POST", "/v1/audio/speech", {"model": SPEAKS, "input": "Hi", "voice": "alloy"}),
        ("GET", "/v1/models", None),
        ("GET", f"/v1/models/{PRIVATE}", None),
        ("GET", "/models/search", None),
        ("GET", f"/models/schema?model={encoded(PRIVATE)}", None),
        ("GET", "/tasks/search", None),
        ("GET", "/authors/search", None),
        ("GET", "/finetunes", None),
        ("GET", "/finetunes/public", None),
        ("GET", "/usage", None),
        ("GET", "/usage?format=csv&group_by=account", None),
        ("GET", "/usage/requests", None),
        ("DELETE", "/requests/an-id", None),
    ]
    for number, (method, path, body) in enumerate(rows, 1):
        thief, owner = (call(method, OURS + path, each, body) for each in (STOLEN, OWNERS))
        csv = "CSV, " if "csv" in path else ""
        yield Attempt(f"{number}: {method} {csv}{path.partition('?')[0]}", thief, ANOTHERS, owner)
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        spoken, kind = form("a.wav", _spoken(site), model=HEARS)
        thief, owner = (
            Call("POST", OURS + path, (*bearer(each), kind), spoken) for each in (STOLEN, OWNERS)
        )
        yield Attempt(f"POST {path}", thief, ANOTHERS, owner)
    gone = call("DELETE", f"{OURS}/finetunes/{site.finetune}", STOLEN)
    yield Attempt("delete a finetune", gone, ANOTHERS, call("GET", f"{OURS}/finetunes", OWNERS))
    new = {"model": CHAT, "name": "another"}
    thief, owner = (call("POST", f"{OURS}/finetunes", each, new) for each in (STOLEN, OWNERS))
    yield Attempt("make a finetune in the owner's name", thief, ANOTHERS, owner)
    thief, owner = (Call("POST", asset, (*bearer(each), kind), file) for each in (STOLEN, OWNERS))
    yield Attempt("put a file into a finetune", thief, ANOTHERS, owner, also=(409,))


def _spoken(site: Site) -> bytes:
    """Have something said, for models that listen."""
    body = {"model": SPEAKS, "input": "one", "voice": "alloy", "response_format": "wav"}
    status, sound = call("POST", "/v1/audio/speech", OWNERS, body).send(site)
    assert (status, sound[:4]) == (200, b"RIFF")
    return sound


def _the_owners_things(site: Site) -> Iterator[Attempt]:
    """The owner's ids and names, below the thief's own path."""
    lora = SHORT | {"lora": site.finetune}
    owner = call("POST", f"{OURS}/run/{CHAT}", OWNERS, lora)
    unknown = (400, 5006)  # as any finetune that is not there
    yield Attempt(
        "run the owner's finetune",
        call("POST", f"{THEIRS}/run/{CHAT}", STOLEN, lora),
        unknown,
        owner,
    )
    yield Attempt(
        "run it by its name",
        call("POST", f"{THEIRS}/run/{CHAT}", STOLEN, SHORT | {"lora": site.name}),
        unknown,
        call("POST", f"{OURS}/run/{CHAT}", OWNERS, SHORT | {"lora": site.name}),
    )
    listed = call("GET", f"{OURS}/finetunes", OWNERS)
    for name in (site.finetune, site.name, f"..%2F..%2F{OWNER}%2Fai%2Ffinetunes%2F{site.name}"):
        thief = call("DELETE", f"{THEIRS}/finetunes/{name}", STOLEN)
        yield Attempt(f"delete the finetune as {name[:12]}", thief, NO_FINETUNE, listed)
    file, kind = form("adapter_config.json", b"{}")
    path = f"/finetunes/{site.finetune}/finetune-assets"
    yield Attempt(
        "put a file into the owner's finetune",
        Call("POST", THEIRS + path, (*bearer(STOLEN), kind), file),
        NO_FINETUNE,
        Call("POST", OURS + path, (*bearer(OWNERS), kind), file),
        also=(409,),
    )
    runs = [
        ("POST", f"/run/{PRIVATE}", {"any": "thing"}, NOT_THIS),
        ("GET", f"/v1/models/{PRIVATE}", None, NOT_THIS),
        ("GET", f"/v1/models/{encoded(PRIVATE)}", None, NOT_THIS),
        ("GET", f"/models/schema?model={encoded(PRIVATE)}", None, NOT_THIS),
        ("GET", f"/usage?account={OWNER}", None, ANOTHERS),
        ("GET", f"/usage/requests?account={OWNER}", None, ANOTHERS),
    ]
    for method, target, body, refused in runs:
        yield Attempt(
            f"{method} {target} as the thief",
            call(method, THEIRS + target, STOLEN, body),
            refused,
            call(method, OURS + target, OWNERS, body),
        )
    yield Attempt(
        "ask for the usage of all",
        call("GET", f"{THEIRS}/usage?account=*", STOLEN),
        ANOTHERS,
        call("GET", f"{OURS}/usage", OWNERS),
    )
    yield Attempt(
        "the private model by its encoded name",
        call("POST", f"{THEIRS}/run/{encoded(PRIVATE)}", STOLEN, {"any": "thing"}),
        NOT_THIS,
        call("POST", f"{OURS}/run/{encoded(PRIVATE)}", OWNERS, {"any": "thing"}),
    )


def _without_an_account(site: Site) -> Iterator[Attempt]:
    """Routes that have no account in their path: it is the token's."""
    unknown, lora = (400, 5006), {"lora": site.finetune}
    rows: list[tuple[str, str, Any, tuple[int, int]]] = [
        ("GET", f"/v1/models/{PRIVATE}", None, NOT_THIS),
        ("GET", f"/v1/models/{encoded(PRIVATE)}", None, NOT_THIS),
        ("POST", "/v1/chat/completions", TALK | {"model": CHAT} | lora, unknown),
        ("POST", "/v1/completions", SHORT | {"model": CHAT} | lora, unknown),
        ("POST", "/v1/completions", SHORT | {"model": CHAT, "lora": site.name}, unknown),
    ]
    for number, (method, path, body, refused) in enumerate(rows, 1):
        thief, owner = (call(method, path, each, body) for each in (STOLEN, OWNERS))
        yield Attempt(f"no account {number}: {method} {path}", thief, refused, owner)
    for task, body in (
        ("chat/completions", TALK),
        ("embeddings", {"input": "Hi"}),
        ("responses", {"input": "Hi"}),
        ("images/generations", {"prompt": "star"}),
        ("audio/speech", {"input": "Hi", "voice": "alloy"}),
    ):  # the owner, too, is told that the model is of another task
        thief, owner = (
            call("POST", f"/v1/{task}", each, body | {"model": PRIVATE})
            for each in (STOLEN, OWNERS)
        )
        yield Attempt(f"the private model at /v1/{task}", thief, NOT_THIS, owner, also=(400,))


def _what_reads_as_another_path() -> Iterator[Attempt]:
    """Paths that one program may read as the thief's, and another as the owner's."""
    good = call("GET", f"{OURS}/usage", OWNERS)
    paths = {
        "dots": (f"{THEIRS}/../../{OWNER}/ai/usage", NOT_THERE),
        "encoded dots": (f"{THEIRS}/%2e%2e/%2e%2e/{OWNER}/ai/usage", NOT_THERE),
        "encoded slashes": (f"{BASE}/{THIEF}%2F..%2F{OWNER}/ai/usage", ANOTHERS),
        "encoded twice": (f"{BASE}/{THIEF}%252F..%252F{OWNER}/ai/usage", ANOTHERS),
        "a doubled slash": (f"{BASE}//{OWNER}/ai/usage", NOT_THERE),
        "a backslash": (f"{BASE}/{THIEF}\\..\\{OWNER}/ai/usage", ANOTHERS),
        "a semicolon": (f"{BASE}/{OWNER};{THIEF}/ai/usage", ANOTHERS),
        "a comma": (f"{BASE}/{THIEF},{OWNER}/ai/usage", ANOTHERS),
        "a zero byte": (f"{BASE}/{OWNER}%00{THIEF}/ai/usage", ANOTHERS),
        "a space": (f"{BASE}/{OWNER}%20/ai/usage", ANOTHERS),
        "upper case": (f"{BASE}/{OWNER.upper()}/ai/usage", ANOTHERS),
        "an encoded letter": (f"{BASE}/%62{OWNER[1:]}/ai/usage", ANOTHERS),
        "a star": (f"{BASE}/*/ai/usage", ANOTHERS),
        "the account's name": (f"{BASE}/bbb/ai/usage", ANOTHERS),
        "a slash at the end": (f"{OURS}/usage/", NOT_THERE),
        "a query that names the thief": (f"{OURS}/usage?account={THIEF}", ANOTHERS),
        "an encoded query": (f"{OURS}/usage%3Faccount={THIEF}", NOT_THERE),
        "a whole address": (f"http://h{OURS}/usage", ANOTHERS),
        "a name before the host": (f"http://{THIEF}@h{OURS}/usage", (400, 7003)),
    }
    for name, (target, refused) in paths.items():
        yield Attempt(name, call("GET", target, STOLEN), refused, good)
    run = call("POST", f"{OURS}/run/{CHAT}", OWNERS, SHORT)
    for name, target in (
        ("dots before a model", f"{THEIRS}/run/../../../{OWNER}/ai/run/{CHAT}"),
        ("encoded dots before a model", f"{THEIRS}/run/%2e%2e/%2e%2e/{OWNER}/ai/run/{CHAT}"),
    ):
        yield Attempt(name, call("POST", target, STOLEN, SHORT), (400, 5007), run)


def _what_says_who_calls() -> Iterator[Attempt]:
    """Headers, queries and bodies that say more, or something else, of who calls."""
    path = f"{OURS}/usage"
    good = call("GET", path, OWNERS)
    headers: dict[str, tuple[Headers, tuple[int, int]]] = {
        "no token": ((), NOBODYS),
        "the owner's id as a token": (bearer(OWNER), NOBODYS),
        "the token's hash": (bearer(token_hash(OWNERS)), NOBODYS),
        "a part of a token": (bearer(OWNERS[:-1]), NOBODYS),
        "a longer token": (bearer(f"{OWNERS}x"), NOBODYS),
        "a token in other letters": (bearer(OWNERS.upper()), NOBODYS),
        "another scheme": ((("Authorization", f"Token {OWNERS}"),), NOBODYS),
        "a cookie": ((("Cookie", f"token={OWNERS}"),), NOBODYS),
        "two tokens in a line": (bearer(f"{STOLEN}, Bearer {OWNERS}"), NOBODYS),
        "two lines, the stolen one first": ((*bearer(STOLEN), *bearer(OWNER)), ANOTHERS),
        "two lines, the stolen one last": ((*bearer(OWNER), *bearer(STOLEN)), NOBODYS),
        "the key's header beside it": ((*bearer(STOLEN), ("X-Auth-Key", OWNER)), ANOTHERS),
        "the stolen one as a key": ((("X-Auth-Key", STOLEN),), ANOTHERS),
    }
    for name, (told, refused) in headers.items():
        yield Attempt(name, Call("GET", path, told), refused, good)
    for name in ("X_Original_URL", "X_Rewrite_URL", "X_Forwarded_Prefix", "X_Account_Id"):
        thief = call("GET", path, STOLEN, **{name: f"{THEIRS}/usage"})
        yield Attempt(name.replace("_", "-"), thief, ANOTHERS, good)
    yield Attempt("a token in the query", Call("GET", f"{path}?token={OWNERS}", ()), NOBODYS, good)
    delete = call("POST", f"{OURS}/finetunes", STOLEN, {}, X_HTTP_Method_Override="DELETE")
    yield Attempt("another method by a header", delete, ANOTHERS, good)
    told = SHORT | {"account": THIEF, "account_id": THIEF}
    run = f"{OURS}/run/{CHAT}"
    own = call("POST", run, OWNERS, SHORT)
    yield Attempt("the thief's account in the body", call("POST", run, STOLEN, told), ANOTHERS, own)
    twice = replace(call("POST", run, STOLEN, SHORT), headers=(*bearer(STOLEN), *bearer(STOLEN)))
    yield Attempt("the same token twice", twice, NOBODYS, own)


def _operators_pages() -> Iterator[Attempt]:
    """What the console asks, for a model that is not the thief's."""
    path = f"/console/api/decisions?model={encoded(PRIVATE)}"
    yield Attempt(
        "a private model's decisions",
        call("GET", path, STOLEN),
        NOT_THIS,
        call("GET", path, OWNERS),
    )
    for path in ("/console/api/world", "/console/api/world/stream"):
        nobody = Call("GET", path, bearer("cst_guess"))
        yield Attempt(f"{path} by a guess", nobody, NOBODYS, call("GET", path[:18], OWNERS))


def _files_of_the_process() -> Iterator[Attempt]:
    """What lies beside the pages' files."""
    page, docs = call("GET", "/console", OWNERS), call("GET", "/docs", OWNERS)
    for path in (
        "/console/../../config/constellation.yaml",
        "/console/..%2f..%2f..%2fconfig%2fconstellation.yaml",
        "/console/%2e%2e/%2e%2e/app.py",
        "/console//etc/passwd",
        "/console/%2fetc%2fpasswd",
        "/console/css/..%5c..%5c..%5capp.py",
        "/docs/..%2f..%2fops.py",
        "/docs/%2fetc%2fpasswd",
    ):
        owner = docs if path.startswith("/docs") else page
        yield Attempt(path, call("GET", path, STOLEN), NOT_THERE, owner)
