"""The flags of `constellation scale` and `constellation explain`, and what they ask control."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from typing import Any

from libs.common.bounds import MOST
from libs.common.catalog import Model
from libs.common.errors import BadInput, UnknownModel
from libs.common.explanation import Question
from libs.common.world import World
from libs.common.world_map import Colo, Override, Ref
from services.accounts_cli import known, open_control, seconds
from services.arguments import Add
from services.moments import EXAMPLES, read_moment
from services.scaling_tables import as_json, explained, history, scaled

ALWAYS = 0  # as an override has it


def add_commands(commands: Any, add: Add) -> None:
    """Add both commands; `add` makes one with the flags that all have."""
    about = "bound, freeze or try out how many instances a model has; show it without flags"
    scale = add(commands, "scale", about, _scale)
    _common(scale)
    scale.add_argument("instances", nargs="?", type=_count, help="exactly so many")
    scale.add_argument("--min", type=_count, metavar="N", help="at least so many")
    scale.add_argument("--max", type=_count, metavar="N", help="at most so many")
    either = argparse.BooleanOptionalAction
    scale.add_argument("--freeze", action=either, help="neither up nor down")
    scale.add_argument("--dry-run", action=either, help="decide, and change nothing")
    scale.add_argument("--for", dest="lasts", type=_lasts, help="so long: 90s, 30m, 12h; always")
    scale.add_argument("--clear", action="store_true", help="the catalog's word counts again")
    about = "why a model has as many instances as it has, or had"
    explain = add(commands, "explain", about, _explain)
    _common(explain)
    explain.add_argument("--at", type=read_moment, default=0, help=EXAMPLES)
    explain.add_argument(
        "--last", type=_count, default=0, metavar="N", help="the last N, as a list"
    )
    explain.add_argument("--json", action="store_true", help="all that is known of them")


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="its name, or an alias")
    command.add_argument("--region", default="", help="all regions without")
    where = "control's address; that of the state folder without"
    command.add_argument("--control", default="", help=where)


async def _scale(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
        model = _model(world, arguments.model)
        _check_region(world, arguments.region)
        before = world.table(Override).get(f"{model.name}@{arguments.region}")
        if arguments.clear:
            await control.delete(Ref("override", f"{model.name}@{arguments.region}"))
        elif _says_something(arguments):
            made = override(arguments, model.name, before, now_ms=_now_ms())
            await control.put(made)
        if arguments.clear or _says_something(arguments):
            world = await known(control)
    sys.stdout.write(scaled(world, model, arguments.region, now_ms=_now_ms()))


def override(
    flags: argparse.Namespace, model: str, before: Override | None, *, now_ms: int
) -> Override:
    """Return the override that the flags ask for; what they do not name stays as it was."""
    if flags.instances is not None and (flags.min is not None or flags.max is not None):
        raise BadInput("give a number of instances, or --min and --max")
    if before is not None and 0 < before.expires_at_ms <= now_ms:
        before = None
    made = before or Override(model=model, region=flags.region)
    low = flags.min if flags.instances is None else flags.instances
    high = flags.max if flags.instances is None else flags.instances
    made = replace(
        made,
        min=made.min if low is None else low,
        max=made.max if high is None else high,
        frozen=made.frozen if flags.freeze is None else flags.freeze,
        dry_run=made.dry_run if flags.dry_run is None else flags.dry_run,
        expires_at_ms=_expiry(flags.lasts, made, now_ms=now_ms),
    )
    if made.min is not None and made.max is not None and made.min > made.max:
        raise BadInput(f"a minimum of {made.min} is above the maximum, {made.max}")
    return made


def _expiry(lasts: int | None, made: Override, *, now_ms: int) -> int:
    if lasts is None:
        return made.expires_at_ms
    return now_ms + 1000 * lasts if lasts else ALWAYS


async def _explain(arguments: argparse.Namespace) -> None:
    question = Question(
        model=arguments.model,
        region=arguments.region,
        at_ms=arguments.at,
        count=max(1, arguments.last),
    )
    async with open_control(arguments) as control:
        found = await control.explain(question)
    if arguments.json:
        sys.stdout.write(as_json(found))
    elif not found.decisions:
        when = "yet" if not arguments.at else "by then, that is still known"
        raise BadInput(f"nothing was decided about {arguments.model} {when}")
    elif arguments.last:
        sys.stdout.write(history(found.decisions))
    else:
        shown = (explained(each, found.snapshots) for each in found.decisions)
        sys.stdout.write("\n".join(shown))


def _model(world: World, name: str) -> Model:
    model = world.model(name)
    if model is None:
        raise UnknownModel(f"no such model: {name}; `constellation models list` shows all")
    return model


def _check_region(world: World, region: str) -> None:
    there = sorted({colo.region for colo in world.table(Colo).values()})
    if region and region not in there:
        raise BadInput(f"no colo is in region {region!r}; there are: {', '.join(there)}")


def _says_something(flags: argparse.Namespace) -> bool:
    said = (flags.instances, flags.min, flags.max, flags.freeze, flags.dry_run, flags.lasts)
    return any(each is not None for each in said)


def _lasts(text: str) -> int:
    """Read how long an override holds; ALWAYS: until it is cleared."""
    return ALWAYS if text == "always" else seconds(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
