"""The commands: everything at once, one service alone, or a question to a running one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from prometheus_client import disable_created_metrics

from libs.common.addresses import host_port, in_brackets
from libs.common.errors import RequestError, Unavailable
from libs.common.lifecycle import Broken, run_until_signalled
from libs.common.yaml_files import Problems
from services import logs
from services.accounts_cli import add_commands as add_account_commands
from services.analytics.ports import StoreError
from services.arguments import (
    BENCHES,
    Command,
    Run,
    read_address,
    read_folder,
    read_level,
    read_port,
    read_workers,
)
from services.backup.manifest import CannotBackUp
from services.backup_cli import add_commands as add_backup_commands
from services.certs_cli import add_commands as add_certs_commands
from services.config_cli import add_commands as add_config_commands
from services.models_cli.arguments import add_arguments
from services.models_cli.guessing import CannotTell
from services.run_cli import arguments as run_cli
from services.run_cli.inputs import CannotRun
from services.scaling_cli import add_commands as add_scaling_commands
from services.scheduler.simulate.arguments import add_arguments as add_simulation_arguments
from services.scheduler.simulate.errors import CannotSimulate
from services.state_folder import Occupied, state_folder
from services.status_cli import add_commands as add_status_commands
from services.usage_cli import add_arguments as add_usage_arguments

if TYPE_CHECKING:  # the larger part of what a command loads: those that need it import it
    from libs.common.config import ConfigFile

REPOSITORY = Path(__file__).resolve().parents[1]


class Mistake(Exception):
    """Something that the caller can put right; its text is the whole message."""


MISTAKES = (
    Mistake,
    CannotRun,
    Problems,
    Occupied,
    Broken,
    RequestError,
    StoreError,
    CannotTell,
    CannotSimulate,
    CannotBackUp,
    OSError,
)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake is one clear line and exit code 1."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # children are spawned, never forked
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    disable_created_metrics()  # type: ignore[no-untyped-call]
    parsed = _parser(os.environ).parse_args(arguments)
    if parsed.run is _bench:
        sys.exit(_bench(parsed))
    try:
        if parsed.run is _simulate:
            _simulate(parsed)  # computes: what interrupts a loop would wait for its end
            return
        logs.set_up(parsed.log_level)
        command: Run = parsed.run
        uvloop.run(command(parsed))
    except MISTAKES as error:
        sys.exit(f"constellation: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = Command(prog="constellation", description=__doc__)
    version = f"constellation {metadata.version('constellation-inference')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = _command(commands, env, "up", "everything at once, with a real Triton", _up)
    for name, port in (("http", "8080"), ("grpc", "8081")):
        variable = f"CONSTELLATION_{name.upper()}_PORT"
        about = f"{port} unless {variable} says another; 0: any free one"
        port = env.get(variable, port)
        up.add_argument(f"--{name}-port", type=read_port, default=port, help=about)
    host = "address to listen on"
    up.add_argument("--host", type=in_brackets, default="127.0.0.1", help=host)
    up.add_argument("--colos", default="local", help="comma-separated, as in constellation.yaml")
    for name, text in SERVICES.items():
        service = _command(commands, env, name, text, _service(name))
        if name in FOLLOWERS:
            service.add_argument("--control", default="", help="control's address, or several")
        about = "host:port for /metrics, /healthz and /readyz"
        metrics = env.get("CONSTELLATION_METRICS", "")
        service.add_argument("--metrics", type=read_address, default=metrics, help=about)
        for flag in FLAGS[name]:
            service.add_argument(f"--{flag}")
        for switch, about in SWITCHES.get(name, {}).items():
            service.add_argument(f"--{switch}", action="store_true", default=None, help=about)
        if name == "entry":
            several = "processes on the same ports"
            service.add_argument("--workers", type=read_workers, default=1, help=several)
    add_usage_arguments(_command(commands, env, "usage", "what was used, by model", _usage))
    about = "run a model once, and print its answer"
    run_cli.add_arguments(_command(commands, env, "run", about, _run_model), env)
    about = "what the catalog serves: list it, add a server's address or a folder, try it"
    add_arguments(_command(commands, env, "models", about, _models))
    add_config_commands(commands, lambda group, *rest: _command(group, env, *rest))
    add_certs_commands(commands, lambda group, *rest: _command(group, env, *rest))
    add_backup_commands(commands, lambda group, *rest: _command(group, env, *rest))
    add_account_commands(commands, lambda group, *rest: _command(group, env, *rest))
    about = "what scaling policies would do on a trace, and cost"
    simulation = commands.add_parser("simulate", help=about, description=about)
    add_simulation_arguments(simulation)
    simulation.set_defaults(run=_simulate)
    add_status_commands(commands, lambda group, *rest: _command(group, env, *rest))
    add_scaling_commands(commands, lambda group, *rest: _command(group, env, *rest))
    bench = commands.add_parser("bench", help="measure this gateway beside others")
    bench.add_argument("what", choices=BENCHES)
    bench.add_argument("rest", nargs=argparse.REMAINDER, help="its own flags; try --help")
    bench.set_defaults(run=_bench)
    return parser


SERVICES = {
    "edge": "an entry and a server in one process",
    "entry": "an entry alone",
    "server": "a server alone",
    "node": "a node's agent alone",
    "scheduler": "control and the scheduler",
    "analytics": "the collector and the usage service",
}
FOLLOWERS = ("edge", "entry", "server", "node")  # whose picture of the world comes from control
ENTRY = ("name", "colo", "http", "grpc", "tls-cert", "tls-key", "transport")
FLAGS = {
    "edge": (*ENTRY, "listen", "advertise"),
    "entry": ENTRY,
    "server": ("name", "colo", "listen", "advertise", "transport"),
    "node": ("name", "colo", "host", "environment"),
    "scheduler": ("name", "listen"),
    "analytics": ("listen", "stores"),
}

SWITCHES = {
    "analytics": {"from-kafka": "fill its stores from Kafka, not by this machine's servers"}
}


def _command(
    commands: Any, env: Mapping[str, str], name: str, text: str, run: Run
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    state = env.get("CONSTELLATION_STATE_DIR", ".constellation")
    about = "what it keeps, and where commands find it (.constellation)"
    command.add_argument("--state-dir", type=read_folder, default=read_folder(state), help=about)
    command.add_argument(
        "--config", type=read_folder, default=_config_folder(env), help="its folder"
    )
    level = env.get("CONSTELLATION_LOG_LEVEL", "warning")
    about = f"what is logged at least: {', '.join(logs.LEVELS)} (warning)"
    command.add_argument("--log-level", type=read_level, default=level, metavar="LEVEL", help=about)
    command.set_defaults(run=run, began=time.monotonic())
    return command


def _config_folder(env: Mapping[str, str]) -> Path:
    given = env.get("CONSTELLATION_CONFIG")
    return read_folder(given) if given else REPOSITORY / "config"


def _token() -> str:
    token = os.environ.get("CONSTELLATION_TOKEN", "")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Mistake("CONSTELLATION_TOKEN: expected printable ASCII without spaces")
    return token


def _triton() -> str:
    """Return the Triton that others run, if there is one."""
    address = os.environ.get("CONSTELLATION_TRITON", "")
    try:
        return read_address(address)
    except argparse.ArgumentTypeError as error:
        raise Mistake(f"CONSTELLATION_TRITON: {error}") from error


async def _up(arguments: argparse.Namespace) -> None:
    from libs.common.rpc import CannotListen
    from services.embedded import Options, up  # the other commands need less, and start faster
    from services.screen import announce
    from services.settings import load

    folder: Path = arguments.config
    triton, token = _triton(), _token()
    (config, catalog), root = load(folder, os.environ), folder.parent
    if not triton and not (root / ".triton/environment.json").exists():
        ours = [not each.backend.external for each in catalog.models]
        if all(ours):
            raise Mistake(NO_TRITON)
        if any(ours):
            print(f"constellation: {NO_TRITON}", file=sys.stderr)
    colos = _colos(config, arguments.colos)

    @asynccontextmanager
    async def running(state: Path) -> AsyncIterator[None]:
        options = Options(
            root=root,
            catalog_dir=None if triton else folder,  # an edit would put our own in its place
            state_dir=state,
            colos=colos,
            http=f"{arguments.host}:{arguments.http_port}",
            grpc=f"{arguments.host}:{arguments.grpc_port}",
            token=token,
            analytics=_analytics(arguments, state),
            triton=triton,
        )
        async with up(options, config, catalog) as found:
            await announce(found, state_dir=state, colos=colos, began=arguments.began)
            yield

    with state_folder(arguments.state_dir, owner="up") as state:
        try:
            await run_until_signalled(running(state))
        except CannotListen as error:
            raise Mistake(f"{error}; {OTHER_PORTS}") from error


def _analytics(arguments: argparse.Namespace, state: Path) -> list[str]:
    """Return the command that runs analytics beside `up`, with metrics on a port that is free."""
    command = [sys.executable, "-m", "services.cli", "analytics", "--metrics", "127.0.0.1:0"]
    folders = ["--state-dir", str(state), "--config", str(arguments.config)]
    return [*command, *folders, "--log-level", arguments.log_level]


OTHER_PORTS = (
    "on other ports: CONSTELLATION_HTTP_PORT=8090 CONSTELLATION_GRPC_PORT=8091 make run, or "
    "--http-port and --grpc-port"
)
NO_TRITON = (
    "Triton is not set up here: run `make setup`; or, where it does not run, set "
    "CONSTELLATION_TRITON=host:port to one that serves the demo models, or give the catalog's "
    "models `external` addresses"
)


def _service(name: str) -> Run:
    async def run(arguments: argparse.Namespace) -> None:
        from libs.common.config import load_config
        from services.standalone import Options, Standalone

        if getattr(arguments, "workers", 1) > 1:
            await _several_entries(arguments)
            return
        folder: Path = arguments.config
        config, root = load_config(folder, os.environ), folder.parent
        flags = {flag: getattr(arguments, flag) for flag in _names(name)}
        if name == "scheduler":
            flags["token"] = _token() or None
            flags["catalog_dir"] = folder
        owner = f"{name}-{flags.get('name') or name}"
        with state_folder(arguments.state_dir, owner=owner) as state:
            options = Options(
                root=root,
                state_dir=state,
                control=getattr(arguments, "control", "") or f"unix:{state}/control.sock",
                metrics=arguments.metrics,
                flags={key: value for key, value in flags.items() if value is not None},
            )
            alone = Standalone(options, config)
            app: AbstractAsyncContextManager[str]
            if name == "scheduler":
                from services.settings import load_or_last

                catalog = load_or_last(folder, os.environ, config, state_dir=state)
                app = alone.scheduler(catalog, config.colos)
            else:
                app = getattr(alone, name)()
            await run_until_signalled(_announced(name, alone.ready_inside(app)))

    return run


async def _several_entries(arguments: argparse.Namespace) -> None:
    """Run entries that share their ports; the metrics of each are on the ports from that given."""
    from libs.common.config import load_config
    from services.entry.app import Config
    from services.workers import Workers, reserved

    config = load_config(arguments.config, os.environ)
    flags = {flag: getattr(arguments, flag) for flag in _names("entry")}
    entry = config.settings("entry", Config, **flags)

    @asynccontextmanager
    async def running() -> AsyncIterator[str]:
        async with reserved(entry.http, entry.grpc) as (http, grpc):
            os.environ["CONSTELLATION_ENTRY_REUSE_PORT"] = "true"

            def command(number: int) -> list[str]:
                settled = {"workers": "1", "http": http, "grpc": grpc}
                settled["name"] = f"{entry.name}-{number}"
                settled["metrics"] = _shifted(arguments.metrics, number - 1)
                given = [part for name, each in settled.items() for part in (f"--{name}", each)]
                return [sys.executable, "-m", "services.cli", *sys.argv[1:], *given]

            async with Workers(command, count=arguments.workers).running() as told:
                yield f"{entry.scheme} {http}, grpc {grpc}, {told}"

    await run_until_signalled(_announced("entry", running()))


def _shifted(address: str, by: int) -> str:
    """Return an address some ports further on; nowhere stays nowhere."""
    if not address:
        return ""
    host, port = host_port(address)
    return f"{in_brackets(host)}:{port + by if port else 0}"


def _names(service: str) -> list[str]:
    """Return the settings that the service's flags give."""
    return [flag.replace("-", "_") for flag in (*FLAGS[service], *SWITCHES.get(service, {}))]


@asynccontextmanager
async def _announced(name: str, app: AbstractAsyncContextManager[str]) -> AsyncIterator[None]:
    async with app as where:
        print(f"{name} is up: {where}", flush=True)
        yield


def _bench(arguments: argparse.Namespace) -> int:
    """Run one of the benchmarks, which start processes and loops of their own."""
    main: Callable[[Sequence[str]], int] = import_module(f"bench.{arguments.what}").main
    return main(arguments.rest)


def _simulate(arguments: argparse.Namespace) -> None:
    from services.scheduler.simulate.command import simulate

    simulate(arguments)


async def _usage(arguments: argparse.Namespace) -> None:
    from libs.common.clients.away import is_away
    from services.usage_cli import print_usage

    socket = arguments.state_dir / "usage.sock"
    if not socket.exists():
        raise Mistake(f"nothing runs in {arguments.state_dir}: there is no usage.sock")
    try:
        await print_usage(f"unix:{socket}", arguments)
    except Unavailable as error:
        if not is_away(error):
            raise
        raise Mistake(f"nothing answers in {arguments.state_dir}: is up running?") from error


async def _run_model(arguments: argparse.Namespace) -> None:
    from services.run_cli.command import run_model

    await run_model(arguments)


async def _models(arguments: argparse.Namespace) -> None:
    from services.models_cli.commands import models

    await models(arguments)


def _colos(config: ConfigFile, names: str) -> tuple[Any, ...]:
    known = {colo.name: colo for colo in config.colos}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise Mistake("--colos: expected at least one name")
    if unknown := [name for name in wanted if name not in known]:
        raise Mistake(
            f"--colos: {', '.join(unknown)} not in constellation.yaml; there: {', '.join(known)}"
        )
    return tuple(known[name] for name in dict.fromkeys(wanted))
