"""What `constellation up` prints: where it is, what it has, and three calls to paste."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Collection, Container, Iterable, Mapping
from pathlib import Path

from libs.common.away import lost
from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import Colo, Instance, Shard, Token
from services.control.tokens import account_of, kept_token
from services.embedded import Running
from services.memory import resident_mb
from services.reaching import silent

READY_S = 60.0  # how long the screen waits for the models
STATES = ("ready", "booting", "draining", "failed", "silent")


async def announce(
    running: Running, *, state_dir: Path, colos: Iterable[Colo], began: float
) -> None:
    """Wait until the models are ready, and print the screen; say so where they are late."""
    regions: dict[str, list[str]] = {}
    for colo in colos:
        regions.setdefault(colo.region, []).append(colo.name)
    try:
        async with asyncio.timeout(READY_S):
            await running.world.until(lambda w: ready(w, regions) or bool(failures(w)))
    except TimeoutError:
        print(f"  some models are not ready after {READY_S:.0f} s", flush=True)
    given = os.environ.get("CONSTELLATION_TOKEN", "")
    token = given or kept_token(state_dir)
    kept = "CONSTELLATION_TOKEN" if given else str(state_dir / "token")
    is_seen = sys.stdout.isatty()  # else a file keeps what is printed, and others read it
    text = screen(
        world=running.world,
        http=running.http,
        grpc=running.grpc,
        console=running.console,
        account=account_of(token, running.world.table(Token)),
        token=token if is_seen else f"in {kept}",
        pasted=token if is_seen else "$TOKEN",
        took_s=time.monotonic() - began,
        memory_mb=resident_mb(),
        silent=await silent(_addresses_of_others(running.world)),
    )
    print(text, flush=True)


def ready(world: World, regions: Mapping[str, Collection[str]]) -> bool:
    """Whether every model that should run has an instance that does, in each region."""
    models = [model for model in world.table(Model).values() if model.scaling.min > 0]
    gone = lost(world)
    every = (e for e in world.table(Instance).values() if e.id not in gone)
    up = {(e.model, e.colo) for e in every if e.state == "ready"}
    owned = {shard.model for shard in world.table(Shard).values() if shard.owner}
    return bool(world.complete) and all(
        model.name in owned and any((model.name, colo) in up for colo in colos)
        for model in models
        for colos in regions.values()
    )


def failures(world: World) -> list[str]:
    """Say which instances failed, and the last line of why."""
    failed = (each for each in world.table(Instance).values() if each.state == "failed")
    return [f"{each.id}: {_last_line(each.message)}" for each in failed]


def screen(
    *,
    world: World,
    http: str,
    grpc: str,
    account: str,
    token: str,
    pasted: str,
    took_s: float,
    console: str = "",
    memory_mb: float = 0.0,
    silent: Collection[str] = (),
) -> str:
    """Return the screen's text; of no memory it says nothing.

    `token` is what it shows as such, `pasted` what the calls have. Nobody answers at the `silent`
    addresses, which others run.
    """
    ours = any(not each.external for each in world.table(Instance).values())
    memory = f", in {memory_mb:.0f} MB{' with its Tritons' if ours else ''}" if memory_mb else ""
    lines = [
        "",
        f"  Constellation is up after {took_s:.1f} s{memory}",
        "",
        f"  HTTP     {http}",
        f"  gRPC     {grpc}",
        *([f"  console  {console}"] if console else ()),
        f"  account  {account}",
        f"  token    {token}",
        "",
        *_models(world, silent),
        *(f"  {why}" for why in failures(world)),
        *(f"  nobody answers at {each}: its models wait until somebody does" for each in silent),
        "",
        *_calls(f"{http}/client/v4/accounts/{account}/ai", pasted),
        "  Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


def _addresses_of_others(world: World) -> list[str]:
    return [each.address for each in world.table(Instance).values() if each.external]


def _models(world: World, silent: Container[str]) -> Iterable[str]:
    models = sorted(world.table(Model).values(), key=lambda model: model.name)
    width = max((len(model.name) for model in models), default=0)
    tasks = max((len(model.task) for model in models), default=0)
    for model in models:
        found = [each for each in world.table(Instance).values() if each.model == model.name]
        told = ["silent" if e.external and e.address in silent else e.state for e in found]
        counts = ((state, told.count(state)) for state in STATES)
        states = ", ".join(f"{count} {state}" for state, count in counts if count)
        if not states:
            states = "no instance" if model.scaling.min else "loaded by the first call"
        yield f"  {model.name:{width}}  {model.task:{tasks}}  {states}"


def _calls(base: str, token: str) -> Iterable[str]:
    """Three lines to paste: an answer, a stream, an embedding."""
    head = f"  curl -s {{}}{base}/{{}} -H \"Authorization: Bearer {token}\" -d '{{}}'\n"
    chat, embed = "run/@cf/demo/text-generation", "run/@cf/demo/text-embeddings"
    question = '{"messages":[{"role":"user","content":"What is the capital of France?"}]}'
    story = '{"prompt":"Tell me a short story.","stream":true}'
    yield head.format("", chat, question)
    yield head.format("-N ", chat, story)
    yield head.format("", embed, '{"text":["a cat","a kitten"]}')


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
