"""Turnstiles with endpoints of a size, and calls that come to them."""

from __future__ import annotations

import asyncio
import random

from libs.common.catalog import AccountShare
from libs.common.envelope import InferRequest
from services.server.endpoints import Endpoint
from services.server.turnstile import Lease, Turnstile
from tests.fakes import a_request


def turnstile(*concurrencies: int, queue: int = 0) -> Turnstile:
    made = Turnstile(queue_limit=queue, rng=random.Random(1))
    for number, concurrency in enumerate(concurrencies):
        name = f"e{number}"
        made.endpoints[name] = Endpoint(instance=name, address=name, concurrency=concurrency)
    return made


def with_shares(gate: Turnstile, **shares: AccountShare) -> Turnstile:
    gate.configure(gate.queue_limit, shares)
    return gate


def asks(cost: int, **more: object) -> InferRequest:
    return a_request(cost=cost, **more)


def taken(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


def waits(
    gate: Turnstile, cost: int = 1, patience: float = 1, **more: object
) -> asyncio.Task[Lease]:
    return asyncio.create_task(gate.wait(asks(cost, **more), patience=patience))
