"""What accounts may name alike is no way from one to another: ids, keys, names, streams."""

from __future__ import annotations

import json
import uuid
from typing import Any

import grpc
import httpx
import pytest

from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from tests.security.attempts import OURS, SHORT, THEIRS
from tests.security.site import OWNER, OWNERS, PRIVATE, STOLEN, THIEF, Site, bearer, form
from tests.security.test_attempts import streaming
from tests.system.finetunes import PIRATE
from tests.system.harness import CHAT

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]


def told(site: Site, path: str, secret: str, body: Any, key: str = "") -> tuple[int, Any]:
    headers = [*bearer(secret), *([("Idempotency-Key", key)] if key else [])]
    status, answer = site.send("POST", path, headers, json.dumps(body).encode())
    return status, json.loads(answer)


def finetunes(site: Site) -> dict[str, str]:
    """Return the owner's, names by id."""
    _, answer = site.ask("GET", f"{OURS}/finetunes", OWNERS)
    return {each["id"]: each["name"] for each in answer["result"]}


def test_an_idempotency_key_is_its_accounts_own(site: Site) -> None:
    key, run = uuid.uuid4().hex, f"/run/{CHAT}"
    owners, _ = told(site, OURS + run, OWNERS, SHORT, key)
    again, answer = told(site, OURS + run, OWNERS, SHORT | {"prompt": "Ho"}, key)

    theirs, _ = told(site, THEIRS + run, STOLEN, SHORT | {"prompt": "Ha"}, key)

    assert (owners, again, answer["errors"][0]["reason"]) == (200, 409, "idempotency_key_reused")
    assert theirs == 200  # the key is new to it


def test_a_finetune_made_with_the_owners_key_is_another(site: Site) -> None:
    key, body = uuid.uuid4().hex, {"model": CHAT, "name": f"keyed-{uuid.uuid4().hex}"}

    _, owners = told(site, f"{OURS}/finetunes", OWNERS, body, key)
    _, theirs = told(site, f"{THEIRS}/finetunes", STOLEN, body, key)
    _, again = told(site, f"{OURS}/finetunes", OWNERS, body, key)

    assert owners["result"]["id"] == again["result"]["id"] != theirs["result"]["id"]


@pytest.mark.parametrize("said", ["account", "account_id", "owner", "id"])
def test_a_body_does_not_say_whose_a_finetune_is(site: Site, said: str) -> None:
    before = finetunes(site)
    value = site.finetune if said == "id" else OWNER
    body = {"model": CHAT, "name": f"said-{said}", said: value}

    status, answer = told(site, f"{THEIRS}/finetunes", STOLEN, body)

    assert status in (200, 400)
    assert finetunes(site) == before
    assert status == 400 or answer["result"]["id"] not in before


def test_names_of_the_owners_finetune_lead_each_to_their_own(site: Site) -> None:
    for name in (site.name, site.finetune):  # the id of another's is a name like any
        status, made = told(site, f"{THEIRS}/finetunes", STOLEN, {"model": CHAT, "name": name})
        assert status == 200
        _, answer = told(site, f"{THEIRS}/run/{CHAT}", STOLEN, SHORT | {"lora": name})
        assert answer["errors"][0]["reason"] == "finetune_incomplete"  # its own, without files
        assert told(site, f"{OURS}/run/{CHAT}", OWNERS, SHORT | {"lora": name})[0] == 200
        gone, _ = site.ask("DELETE", f"{THEIRS}/finetunes/{made['result']['id']}", STOLEN)
        assert gone == 200
    assert site.finetune in finetunes(site)


def test_only_the_owner_deletes(site: Site) -> None:
    _, made = told(site, f"{OURS}/finetunes", OWNERS, {"model": CHAT, "name": "to-be-deleted"})
    path = f"/finetunes/{made['result']['id']}"

    refused = [site.ask("DELETE", base + path, STOLEN)[0] for base in (OURS, THEIRS)]
    there = made["result"]["id"] in finetunes(site)
    deleted, _ = site.ask("DELETE", OURS + path, OWNERS)

    assert (refused, there, deleted) == ([403, 404], True, 200)


def test_a_public_finetune_is_for_all_to_run_and_its_owners_to_change(site: Site) -> None:
    new = {"model": CHAT, "name": "for-all", "public": True}
    _, made = told(site, f"{OURS}/finetunes", OWNERS, new)
    number = made["result"]["id"]
    file, kind = form("adapter_config.json", (PIRATE / "adapter_config.json").read_bytes())

    for name in (number, "cf-public-for-all", "for-all"):
        path = f"{THEIRS}/finetunes/{name}"
        deleted, _ = site.ask("DELETE", path, STOLEN)
        put, _ = site.send("POST", f"{path}/finetune-assets", [*bearer(STOLEN), kind], file)
        assert (name, deleted, put) == (name, 404, 404)
    path = f"{OURS}/finetunes/{number}"
    put, _ = site.send("POST", f"{path}/finetune-assets", [*bearer(OWNERS), kind], file)
    assert (put, site.ask("DELETE", path, OWNERS)[0]) == (200, 200)


@pytest.mark.parametrize(
    "query",
    ["group_by=account", "format=csv&group_by=account", f"account={THIEF}&account={OWNER}"],
)
def test_usage_has_nothing_of_another_account(site: Site, query: str) -> None:
    status, theirs = site.send("GET", f"{THEIRS}/usage?{query}", bearer(STOLEN))
    _, owners = site.send("GET", f"{OURS}/usage?group_by=account", bearer(OWNERS))

    assert status == 200
    assert OWNER.encode() not in theirs
    assert PRIVATE.encode() not in theirs
    assert OWNER.encode() in owners


def watched(site: Site, secret: str) -> str:
    """Return what the console's stream begins with, which is all there is."""
    url = f"{site.up.client.base}/console/api/world/stream"
    with httpx.stream("GET", url, headers=dict(bearer(secret)), timeout=30) as answer:
        assert answer.status_code == 200
        seen = ""
        for part in answer.iter_text():
            seen += part
            if seen.count("\n\n") >= 3:
                return seen
    return seen


def test_the_consoles_stream_has_nothing_of_another_account(site: Site) -> None:
    theirs, owners = watched(site, STOLEN), watched(site, OWNERS)

    assert CHAT in theirs
    assert (OWNER in theirs, PRIVATE in theirs) == (False, False)
    assert PRIVATE in owners


def test_what_needs_no_token_names_no_account(site: Site) -> None:
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/docs", "/console"):
        status, page = site.send("GET", path, ())
        found = [each for each in (OWNER, THIEF, PRIVATE, site.finetune) if each.encode() in page]
        assert (path, status, found) == (path, 200, [])
    _, metrics = site.send("GET", "/metrics", ())  # models are in it: `public_metrics`
    assert [e for e in (OWNER, THIEF, site.finetune) if e.encode() in metrics] == []


def test_bindings_cancel_and_list_for_their_own_account_alone(site: Site) -> None:
    def bindings(account: str, secret: str) -> tuple[int, bool]:
        metadata = [("authorization", f"Bearer {secret}")]
        with grpc.insecure_channel(f"127.0.0.1:{site.up.grpc}") as channel:
            stub = BindingServiceStub(channel)
            asked = pb.CancelRunRequest(account=account, request_id="by-bindings")
            ended = stub.Cancel(asked, metadata=metadata, timeout=30)
            models = stub.Models(pb.ModelsRequest(account=account), metadata=metadata, timeout=30)
        return len(ended.request_ids), PRIVATE in str(models)

    body = {"prompt": "Hi", "max_tokens": 400, "stream": True}
    with streaming(site, body, "by-bindings") as lines:
        next(lines)

        assert bindings(THIEF, STOLEN) == (0, False)
        assert bindings(OWNER, OWNERS) == (1, True)
