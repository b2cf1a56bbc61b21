"""A stolen token opens its own account and nothing of another: a table, over real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from tests.security.attempts import OURS, SHORT, THEIRS, Attempt, attempts
from tests.security.site import OWNER, OWNERS, PRIVATE, STOLEN, THIEF, Site
from tests.system.harness import CHAT

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]
ENDS = (401, 403, 404)
IDS = {
    "{account}": OWNER,
    "{model}": "@cf/.+",
    "{finetune}": "[0-9a-f-]{36}",
    "{request_id}": "[^/]+",
}
MAY_SAY_WHAT_IS_WRONG = (5006, 5007, 7003)  # with 400: a model nobody has, or no HTTP


def flaws(each: Attempt, site: Site) -> Iterator[str]:
    """Say what is not as it should be."""
    status, answer = each.thief.send(site)
    try:
        code = json.loads(answer)["errors"][0]["code"]
    except (ValueError, LookupError, TypeError):
        code = 0
    if (status, code) != each.refused:
        yield f"{each.name}: expected {each.refused}, was {status} {code}: {answer[:200]!r}"
    if status not in ENDS and code not in MAY_SAY_WHAT_IS_WRONG:
        yield f"{each.name}: {status} is no refusal"
    owners, told = each.owner.send(site)
    if owners not in (200, *each.also):
        yield f"{each.name}: the owner got {owners}: {told[:200]!r}"


def test_whatever_is_tried_with_a_stolen_token_is_refused(site: Site) -> None:
    table = attempts(site)

    found = [flaw for each in table for flaw in flaws(each, site)]

    assert not found, "\n".join(found)
    assert len({each.name for each in table}) == len(table) >= 60


def test_every_route_of_an_account_is_tried(site: Site) -> None:
    """As the process itself lists them; a new route is a new row."""
    tried = [(each.thief.method, unquote(each.thief.target)) for each in attempts(site)]
    listed = [each.split(" ", 1) for each in json.loads(site.send("GET", "/", ())[1])["routes"]]
    of_accounts = [(method, path) for method, path in listed if "{account}" in path]

    def is_tried(method: str, path: str) -> bool:
        pattern = "".join(IDS.get(part, re.escape(part)) for part in re.split(r"({\w+})", path))
        return any(each == method and re.fullmatch(pattern + r"(\?.*)?", at) for each, at in tried)

    assert len(of_accounts) >= 23
    assert [each for each in of_accounts if not is_tried(*each)] == []


def test_what_answers_a_thief_shows_nothing_of_the_owners(site: Site) -> None:
    def shown(path: str, secret: str) -> str:
        status, told = site.ask("GET", path, secret)
        assert status == 200
        return json.dumps(told)

    for route in ("/models/search", "/v1/models", "/finetunes", "/finetunes/public", "/usage"):
        assert PRIVATE not in shown(THEIRS + route, STOLEN)
        assert site.finetune not in shown(THEIRS + route, STOLEN)
    assert PRIVATE in shown(f"{OURS}/models/search", OWNERS)
    assert site.finetune in shown(f"{OURS}/finetunes", OWNERS)
    assert OWNER in shown(f"{OURS}/usage/requests", OWNERS)
    assert OWNER not in shown(f"{THEIRS}/usage/requests", STOLEN)
    world = shown("/console/api/world", STOLEN)
    assert (OWNER in world, PRIVATE in world) == (False, False)
    assert PRIVATE in shown("/console/api/world", OWNERS)


def test_the_owners_requests_are_not_the_thiefs_to_cancel(site: Site) -> None:
    told = {"prompt": "Hi", "max_tokens": 400, "stream": True}
    with streaming(site, told, "of-the-owner") as lines:
        next(lines)
        for path in (f"{THEIRS}/requests/of-the-owner", "/v1/requests/of-the-owner"):
            status, answer = site.ask("DELETE", path, STOLEN)
            assert (status, answer["result"]["cancelled"]) == (200, 0)  # as of any unknown one
        _, answer = site.ask("DELETE", f"{OURS}/requests/of-the-owner", OWNERS)

    assert answer["result"]["cancelled"] == 1


@contextmanager
def streaming(site: Site, body: dict[str, Any], number: str) -> Iterator[Iterator[str]]:
    """Hold a stream of the owner's open."""
    headers = {"Authorization": f"Bearer {OWNERS}", "X-Request-Id": number}
    url = f"{site.up.client.base}{OURS}/run/{CHAT}"
    with site.up.client.http.stream("POST", url, json=body, headers=headers) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


METHODS = {
    "Run": pb.RunRequest(model=CHAT, body=json.dumps(SHORT).encode()),
    "RunStream": pb.RunRequest(model=CHAT, body=json.dumps(SHORT).encode()),
    "Models": pb.ModelsRequest(),
    "Cancel": pb.CancelRunRequest(request_id="an-id"),
}
WAYS = {  # what says who calls, and the account of the message
    "the stolen token": ([STOLEN], OWNER, "PERMISSION_DENIED"),
    "no token": ([], OWNER, "UNAUTHENTICATED"),
    "two, the stolen one last": ([OWNER, STOLEN], OWNER, "PERMISSION_DENIED"),
    "two, the stolen one first": ([STOLEN, OWNER], OWNER, "UNAUTHENTICATED"),
    "the account in other letters": ([STOLEN], OWNER.upper(), "PERMISSION_DENIED"),
    "two accounts": ([STOLEN], f"{THIEF},{OWNER}", "PERMISSION_DENIED"),
}


def over_grpc(site: Site, method: str, message: Any, secrets: list[str]) -> str:
    """Call a method, and return how it ended."""
    metadata = [("authorization", f"Bearer {each}") for each in secrets]
    with grpc.insecure_channel(f"127.0.0.1:{site.up.grpc}") as channel:
        ask = getattr(BindingServiceStub(channel), method)
        try:
            answer = ask(message, metadata=metadata, timeout=30)
            list(answer) if method == "RunStream" else None
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("method", METHODS)
def test_bindings_refuse_it_as_well(site: Site, method: str) -> None:
    def asked(account: str) -> Any:
        message = type(METHODS[method])()
        message.CopyFrom(METHODS[method])  # type: ignore[arg-type]
        message.account = account
        return message

    ends = {
        name: over_grpc(site, method, asked(whose), said) for name, (said, whose, _) in WAYS.items()
    }

    assert ends == {name: end for name, (_, _, end) in WAYS.items()}
    assert over_grpc(site, method, asked(OWNER), [OWNERS]) == "OK"


def test_bindings_refuse_the_owners_model_and_finetune(site: Site) -> None:
    private = pb.RunRequest(account=THIEF, model=PRIVATE, body=b'{"any":"thing"}')
    tuned = json.dumps(SHORT | {"lora": site.finetune}).encode()
    lora = pb.RunRequest(account=THIEF, model=CHAT, body=tuned)

    assert over_grpc(site, "Run", private, [STOLEN]) == "PERMISSION_DENIED"
    assert over_grpc(site, "Run", lora, [STOLEN]) == "INVALID_ARGUMENT"
    private.account = lora.account = OWNER
    assert over_grpc(site, "Run", private, [OWNERS]) == "OK"
    assert over_grpc(site, "Run", lora, [OWNERS]) == "OK"


def test_controls_socket_is_its_owners_alone(site: Site) -> None:
    sockets = list(site.up.state.glob("*.sock"))

    assert sockets
    assert {oct(each.stat().st_mode & 0o777) for each in sockets} == {"0o600"}
