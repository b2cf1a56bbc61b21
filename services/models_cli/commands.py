"""`constellation models list|add|remove|check`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from libs.common.catalog import FOLDER_NAME, Model
from libs.common.clients.control import ControlClient
from libs.common.errors import RequestError
from libs.common.world import World
from libs.common.world_map import Instance
from libs.common.yaml_files import Problems
from services.models_cli.asking import ask
from services.models_cli.files import Files
from services.models_cli.guessing import CannotTell, Guess, of_folder
from services.models_cli.trying import told, trial

BOOT_S = 60.0  # for the first instance of a folder to start
TAKEN_UP_S = 10.0  # for a running control to see a change of the files
POLL_S = 0.2
LONGEST_REASON = 300  # characters of why an instance does not run
PERMITS = {"per_instance": 32, "queue": 256}  # servers with OpenAI's API batch by themselves


async def models(arguments: argparse.Namespace) -> None:
    """Run the command; raises CannotTell, Problems, RequestError, OSError."""
    if arguments.action in ("add", "remove") and not arguments.model:
        raise CannotTell(f"models {arguments.action}: expected a model's name")
    actions: Mapping[str, Callable[[argparse.Namespace], Any]] = {
        "list": _list,
        "add": _add,
        "remove": _remove,
        "check": _check,
    }
    await actions[arguments.action](arguments)


async def _list(arguments: argparse.Namespace) -> None:
    world = await _world(arguments.state_dir)
    refused = await _mistakes(arguments.state_dir)
    files: Mapping[str, Model] = {}
    try:
        files = {each.name: each for each in Files(arguments.config).load().models}
    except Problems as error:
        if world is None:
            raise
        refused = str(error)
    if refused:
        print(f"an edit is refused, what was good before is served: {refused}", file=sys.stderr)
    served = {} if world is None else dict(world.table(Model))
    known = served if refused else {**files, **served}
    rows = [_row(model, world) for _, model in sorted(known.items())]
    if arguments.json:
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    heads = ("model", "task", "served by", "ready", "aliases")
    cells = [heads, *(tuple(str(each) for each in row.values()) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def _row(model: Model, world: World | None) -> dict[str, Any]:
    backend = model.backend
    where = ", ".join(backend.external) or backend.repository or " ".join(backend.command)
    ready = "-" if world is None else len(_addresses(model, world))
    return {
        "name": model.name,
        "task": model.task,
        "served_by": f"{backend.kind} {where}",
        "ready": ready,
        "aliases": " ".join(model.aliases),
    }


async def _add(arguments: argparse.Namespace) -> None:
    files = Files(arguments.config)
    if (found := files.find(arguments.model)) is not None:
        raise CannotTell(f"{arguments.model} is in {found[0]} already: remove it first")
    content, says = await _content(arguments)
    path = files.place(content)
    print(f"{says}: {content['task']}")
    if arguments.key:
        _keep_key(Path(arguments.key), arguments.state_dir)
    files.write(path, content)
    print(f"wrote {path}")
    model = next(each for each in files.load().models if each.name == arguments.model)
    if not await _until(arguments.state_dir, lambda world: world.model(model.name) is not None):
        await _must_be_away(arguments.state_dir)
        print("nothing runs here: `constellation up` takes it up at its start")
    else:
        print("the running Constellation has taken it up")
        if not model.backend.external:
            await _until(arguments.state_dir, lambda world: _has_started(model, world), BOOT_S)
    await _try([model], arguments)


async def _content(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return what the model's file says, and why."""
    if bool(arguments.url) == bool(arguments.repository):
        raise CannotTell("models add: give either --url or --repository")
    properties: dict[str, Any] = {}
    if arguments.repository:
        guess = _of_folder(arguments)
    else:
        guess, properties = await ask(
            arguments.url,
            name=arguments.model,
            served_as=arguments.served_as,
            key=_key(arguments.key),
            task=arguments.task,
        )
    backend = dict(guess.backend)
    if arguments.key:
        backend["key"] = _key_name(Path(arguments.key))
    content = {"name": arguments.model, "task": guess.task, "backend": backend}
    content |= {"listing": {"properties": properties}} if properties else {}
    content |= {"permits": PERMITS} if backend.get("kind") == "openai_http" else {}
    content |= {"aliases": arguments.alias} if arguments.alias else {}
    content |= {"fallbacks": arguments.fallback} if arguments.fallback else {}
    return content, guess.says


def _of_folder(arguments: argparse.Namespace) -> Guess:
    folder = Path(arguments.repository).absolute()
    guess = of_folder(folder, task=arguments.task, served_as=arguments.served_as)
    root = arguments.config.parent
    shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
    backend = {"kind": "triton", **guess.backend, "repository": str(shown)}
    return Guess(task=arguments.task or guess.task, says=guess.says, backend=backend)


def _key(path: str) -> str:
    return Path(path).read_text("ascii").strip() if path else ""


def _key_name(path: Path) -> str:
    if not FOLDER_NAME.fullmatch(path.name):
        raise CannotTell(f"--key: {path.name!r} is to be letters, digits, and then . _ - alone")
    return path.name


def _keep_key(path: Path, state_dir: Path) -> None:
    """Copy a key into the folder where servers look, for its owner alone."""
    kept = state_dir / "keys" / path.name
    if path.absolute() != kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
        kept.chmod(0o600)
        print(f"copied the key to {kept}, where servers read it: a new one goes there, too")


async def _remove(arguments: argparse.Namespace) -> None:
    files = Files(arguments.config)
    found = files.find(arguments.model)
    if found is None:
        raise CannotTell(f"no file of {arguments.config}/models has a model {arguments.model}")
    path, model = found
    files.remove(path)
    print(f"removed {path}")
    if await _until(arguments.state_dir, lambda world: world.model(model.name) is None):
        print("the running Constellation serves it no more")
    else:
        await _must_be_away(arguments.state_dir)


async def _check(arguments: argparse.Namespace) -> None:
    files = Files(arguments.config)
    catalog = files.load()
    print(f"{arguments.config}: {len(catalog.models)} models fit")
    wanted = [each for each in catalog.models if arguments.model in ("", each.name, *each.aliases)]
    if not wanted:
        raise CannotTell(f"there is no model {arguments.model} in {arguments.config}/models")
    await _try(wanted, arguments)


async def _try(wanted: Sequence[Model], arguments: argparse.Namespace) -> None:
    """Call models where they run; exit code 1 if one of them has a flaw."""
    world = await _world(arguments.state_dir)
    keys, all_well = arguments.state_dir / "keys", True
    async with trial(root=arguments.config.parent, keys=keys if keys.is_dir() else None) as trying:
        for model in wanted:
            addresses = model.backend.external or (_addresses(model, world) if world else ())
            if not addresses:
                is_well, words = _not_running(model, world)
                all_well = all_well and is_well
                print(f"{model.name}: {words}")
            for address in addresses:
                is_well, words = await told(trying, model, address)
                all_well = all_well and is_well
                print(f"{model.name} at {address}: {'' if is_well else 'WRONG: '}{words}")
    if not all_well:
        sys.exit(1)


async def _must_be_away(state_dir: Path) -> None:
    """CannotTell where a control runs, which then has not taken up what was just written."""
    if await _world(state_dir) is not None:
        why = await _mistakes(state_dir) or "its log may say why"
        raise CannotTell(f"the running Constellation has not taken this up: {why}")


async def _mistakes(state_dir: Path) -> str:
    """Return why the running control refuses the catalog's files, if it does."""
    socket = state_dir / "control.sock"
    if not socket.exists():
        return ""
    async with ControlClient(f"unix:{socket}") as control:
        try:
            async with asyncio.timeout(TAKEN_UP_S):
                status = await control.status()
        except (RequestError, TimeoutError):  # a socket that was left behind
            return ""
    return "\n".join(status.mistakes) if status is not None else ""


def _has_started(model: Model, world: World) -> bool:
    """Whether an instance runs, or has failed to."""
    return bool(_addresses(model, world) or _failures(model, world))


def _not_running(model: Model, world: World | None) -> tuple[bool, str]:
    """Say why a model has no instance to be called, and whether that is well."""
    failures = _failures(model, world) if world is not None else ()
    if failures:
        return False, f"WRONG: no instance of it runs: {'; '.join(failures)}"
    return True, "no instance of it runs, so it was not called"


def _failures(model: Model, world: World) -> tuple[str, ...]:
    found = (each for each in world.table(Instance).values() if each.model == model.name)
    return tuple(dict.fromkeys(_first_line(each.message) for each in found if each.message))


def _first_line(text: str) -> str:
    """Return what an instance says of itself, without the trace of where in the model it was."""
    return text.strip().partition("\n")[0][:LONGEST_REASON]


def _addresses(model: Model, world: World) -> tuple[str, ...]:
    found = (each for each in world.table(Instance).values() if each.model == model.name)
    return tuple(dict.fromkeys(each.address for each in found if each.state == "ready"))


async def _world(state_dir: Path) -> World | None:
    """Return what the running control hands out, None where none runs here."""
    socket = state_dir / "control.sock"
    if not socket.exists():
        return None
    world = World()
    async with ControlClient(f"unix:{socket}") as control:
        updates = control.watch()
        try:
            async with asyncio.timeout(TAKEN_UP_S):
                world.apply(await anext(updates))
        except (RequestError, TimeoutError):  # a socket that was left behind
            return None
        finally:
            await updates.aclose()
    return world


async def _until(
    state_dir: Path, holds: Callable[[World], bool], within_s: float | None = None
) -> bool:
    """Wait until the running control's world is so; False where none runs, or it takes too long."""
    try:
        async with asyncio.timeout(TAKEN_UP_S if within_s is None else within_s):
            while True:
                world = await _world(state_dir)
                if world is None or holds(world):
                    return world is not None
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
