"""What may be written into control, and by whom."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common import fallbacks
from libs.common.account_limits import check_limits
from libs.common.catalog import FOLDER_NAME, Finetune, Model
from libs.common.errors import BadInput
from libs.common.world import World
from libs.common.world_map import (
    KIND_OF,
    Account,
    Colo,
    EntryLoad,
    Instance,
    Node,
    Override,
    Ref,
    Report,
    ReporterKind,
    Resource,
    Server,
    ShardLoad,
    Token,
)

LONGEST_KEY = 512  # as the store's table has it
PASSING = frozenset({"decision"})
LASTING = frozenset({"model", "finetune", "account", "token", "colo", "override", "assignment"})
WRITTEN = LASTING | PASSING
REPORTED: Mapping[ReporterKind, tuple[type[Resource], ...]] = {
    "server": (Server, ShardLoad),
    "entry": (EntryLoad,),
    "node": (Node, Instance),
}


def check_kind(kind: str) -> None:
    """Raise BadInput for a kind that nobody writes: reporters report it, or control makes it."""
    if kind not in WRITTEN:
        raise BadInput(f"a {kind} is not written", pointer="/kind")


def check_write(resource: Resource, world: World) -> None:
    """Raise BadInput for what may not be written, or names what there is not."""
    kind = KIND_OF[type(resource)]
    check_kind(kind)
    _check_key(kind, resource.key)
    if isinstance(resource, Token):
        _check_token(resource, world)
    if isinstance(resource, Account):
        check_limits(resource)
    if isinstance(resource, Finetune) and not FOLDER_NAME.fullmatch(resource.id):
        raise BadInput(f"{resource.id!r} is to name a folder, and does not", pointer="/id")
    if isinstance(resource, Model):
        for why in fallbacks.flaws(resource, world.model):
            raise BadInput(f"model {resource.name}: {why}", pointer="/fallbacks")
    if isinstance(resource, Finetune | Override):
        _must_be(Ref("model", resource.model), world, pointer="/model")


def check_report(report: Report, world: World) -> None:
    """Raise BadInput for a reporter without a place, or with what is not its own."""
    if not report.name:
        raise BadInput("a reporter needs a name", pointer="/name")
    if report.colo not in world.table(Colo):
        raise BadInput(f"there is no colo {report.colo!r}", pointer="/colo")
    for index, resource in enumerate(report.resources):
        if not isinstance(resource, REPORTED[report.kind]) or not _is_own(resource, report):
            raise BadInput(
                f"a {KIND_OF[type(resource)]} {resource.key!r} is not {report.kind} "
                f"{report.name!r}'s to report",
                pointer=f"/resources/{index}",
            )


def _check_key(kind: str, key: str) -> None:
    if not key.strip("@/"):
        raise BadInput(f"a {kind} needs a name")
    if len(key) > LONGEST_KEY:
        raise BadInput(f"a {kind}'s name has {LONGEST_KEY} characters at most")


def _check_token(token: Token, world: World) -> None:
    _must_be(Ref("account", token.account), world, pointer="/account")
    if not token.scopes:
        raise BadInput("a token needs a scope: run, read, write, admin", pointer="/scopes")
    for index, name in enumerate(token.models):
        _must_be(Ref("model", name), world, pointer=f"/models/{index}")


def _must_be(name: Ref, world: World, *, pointer: str) -> None:
    if world.get(name) is None:
        raise BadInput(f"there is no {name.kind} {name.key!r}", pointer=pointer)


def _is_own(resource: Resource, report: Report) -> bool:
    match resource:
        case Server(name=name, colo=colo) | Node(name=name, colo=colo):
            return (name, colo) == (report.name, report.colo)
        case EntryLoad(name=name, colo=colo) | ShardLoad(server=name, colo=colo):
            return (name, colo) == (report.name, report.colo)
        case Instance(node=name, colo=colo, external=external):
            return (name, colo, external) == (report.name, report.colo, False)
        case _:
            return False
