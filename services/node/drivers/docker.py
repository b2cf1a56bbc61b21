"""Instances as containers of a Docker engine: a Triton with one model in each.

The engine remembers what runs: each container's labels say which instance of which node it is.
So a later agent adopts what serves and removes the rest; and since the name of an instance's
container is always the same, no instance has two.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from libs.common.addresses import in_brackets
from libs.common.finishing import finish, in_thread
from services.node.docker_settings import DockerSettings
from services.node.drivers import docker_folder, model_folder
from services.node.drivers.docker_engine import (
    Container,
    Engine,
    EngineAway,
    EngineRefused,
    cause_of,
)
from services.node.drivers.docker_gpus import GpuUse, choose
from services.node.drivers.docker_spec import (
    FLEET,
    GRPC,
    HTTP,
    INSTANCE,
    NODE,
    SETTINGS,
    Place,
    container_for,
    name_of,
    settings_digest,
    spec_from,
)
from services.node.drivers.tritonserver import answers
from services.node.ports import BootFailed, InstanceSpec, RunningInstance

READY_POLL_S: Final = 0.1
STUBS_S: Final = 5.0  # between two looks into the containers: each costs the engine a `ps`
STUB: Final = "triton_python_backend_stub"
ADOPTION_S: Final = 5.0  # for one that serves to say so; a busy one may take a while
DEATHS_KEPT: Final = 256
LOG_SHOWN: Final = 2_000  # characters of a dead one's log
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An instance that serves, and its container."""

    spec: InstanceSpec
    container: str  # its id
    address: str
    stubs: int = 0  # how many processes its model runs in
    outdated: bool = False  # made under other settings than those of now


class DockerDriver:
    """Starts and stops containers; an InstanceDriver."""

    def __init__(
        self,
        *,
        place: Place,
        settings: DockerSettings,
        detach: bool = False,
        boot_seconds: float = 180.0,
        gpus: int = 0,
        gpu_memory_mb: int = 0,
    ) -> None:
        """`boot_seconds` is for a container to start and its model to load."""
        self._place = place
        self._settings = settings
        self._detach = detach
        self._boot_seconds = boot_seconds
        self._gpus = gpus
        self._gpu_memory_mb = gpu_memory_mb
        self._engine = Engine(settings.docker_host, call_seconds=settings.docker_call_s)
        self._running: dict[str, Running] = {}
        self._uses: dict[str, GpuUse] = {}  # of those that boot, too
        self._deaths: dict[str, str] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._is_away = False
        self._stubs_at = 0.0
        self._entered = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<DockerDriver running={len(self._running)} {self._engine!r}>"

    async def __aenter__(self) -> Self:
        """Adopt what serves and is this node's; remove all else that is."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._engine)
            found = await self._engine.labelled(self._mine())
            await asyncio.gather(*(self._take_over(each) for each in found))
            await in_thread(self._clear_folders)
            self._entered = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and remove everything, or detached: leave what serves."""
        async with self._entered:
            kept = {each.container for each in self._running.values()} if self._detach else set()
            try:
                found = await self._engine.labelled(self._mine())
                left = [each for each in found if each.id not in kept]
                await asyncio.gather(*(self._discard(each) for each in left))
            except (EngineAway, EngineRefused) as why:
                log.warning("containers may be left, for the next agent to remove: %s", why)

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        """Bring the instance up, or where it is up, make its adapters those of the spec."""
        spec = replace(spec, repository=spec.repository.absolute())
        async with self._changing[spec.id]:
            with translated_errors():
                await self._look()
                known = self._running.get(spec.id)
                if known and not known.outdated and not known.spec.differs_from(spec):
                    folder = self._place.instance_folder(spec.id)
                    await in_thread(lambda: docker_folder.place_adapters(folder, spec))
                    self._running[spec.id] = known = replace(known, spec=spec)
                    return self._describe(known)
                await self._clear(spec.id)
                return await self._boot(spec)

    async def stop(self, instance_id: str) -> None:
        """Bring the instance down; if it served, its Triton has the stop time to finish."""
        async with self._changing[instance_id]:
            gently = None if instance_id in self._running else 0.0
            await self._clear(instance_id, stop_seconds=gently)

    async def running(self) -> Mapping[str, RunningInstance]:
        """What lives now; while the engine does not answer, what did when it last answered."""
        try:
            await self._look()
            await self._look_into_them()
        except (EngineAway, EngineRefused) as error:
            if not self._is_away:
                log.warning("it is not known which containers run: %s", error)
            self._is_away = True
        else:
            if self._is_away:
                log.warning("the Docker engine answers again")
            self._is_away = False
        return {id_: self._describe(each) for id_, each in self._running.items()}

    def why_died(self, instance_id: str) -> str:
        """Return what is known of an instance's end, with the last of its log.

        Nothing of those that were no containers.
        """
        return self._deaths.pop(instance_id, "")

    async def _look(self) -> None:
        """Forget what does not live any more, and note why."""
        before = dict(self._running)
        if not before:
            return
        found = {each.id: each for each in await self._engine.labelled(self._mine())}
        for id_, known in before.items():
            there = found.get(known.container)
            if there and there.is_alive and self._address(there) == known.address:
                continue
            if self._running.get(id_) is not known:  # changed while the engine was asked
                continue
            self._forget(id_)
            self._note(id_, await self._cause(known.container))

    async def _look_into_them(self) -> None:
        """Remove those whose model has died: Triton lives on, and calls the model ready."""
        now = asyncio.get_running_loop().time()
        if now - self._stubs_at < STUBS_S:
            return
        self._stubs_at = now
        before = {id_: each for id_, each in self._running.items() if each.stubs}
        await asyncio.gather(*(self._look_into(id_, each) for id_, each in before.items()))

    async def _look_into(self, instance_id: str, known: Running) -> None:
        if await self._stubs_of(known.container, otherwise=known.stubs) >= known.stubs:
            return
        cause = await self._cause(known.container)
        if self._running.get(instance_id) is known:
            self._forget(instance_id)
            self._note(instance_id, cause)
            await self._engine.remove(known.container, stop_seconds=0.0)

    async def _stubs_of(self, container: str, *, otherwise: int = 0) -> int:
        """Return in how many processes its model runs; where that is not told, `otherwise`."""
        try:
            return await self._engine.count(container, STUB)
        except EngineRefused:  # it ended meanwhile, or the engine has no `ps`
            return otherwise

    def _forget(self, instance_id: str) -> None:
        del self._running[instance_id]
        self._uses.pop(instance_id, None)

    def _note(self, instance_id: str, cause: str) -> None:
        while len(self._deaths) >= DEATHS_KEPT:
            del self._deaths[next(iter(self._deaths))]
        self._deaths[instance_id] = cause

    async def _cause(self, container: str) -> str:
        """Return why a container does not live, with the last of its log."""
        try:
            state = await self._engine.state(container)
        except (EngineAway, EngineRefused) as error:
            return f"its container ended; {error}"
        if state is None:
            return "its container was removed"
        told = cause_of(state)
        text = await self._engine.log_tail(container)
        return f"{told}\n{text[-LOG_SHOWN:]}".rstrip()

    async def _boot(self, spec: InstanceSpec) -> RunningInstance:
        # decided and noted without a wait in between: two boots do not get the same GPU
        use = choose(
            spec.resources,
            count=self._gpus,
            memory_mb=self._gpu_memory_mb,
            taken=self._uses.values(),
        )
        self._uses[spec.id] = use
        container = ""
        try:
            folder = self._place.instance_folder(spec.id)
            await in_thread(lambda: docker_folder.place(folder, spec))
            body = container_for(spec, place=self._place, settings=self._settings, use=use)
            name = name_of(spec.id, prefix=self._settings.docker_prefix)
            # to its end: one that is made as we leave would not be found by who clears up
            container = await finish(self._engine.create(name, body))
            await self._engine.start(container)
            address = await self._wait_until_ready(spec, container)
            stubs = await self._stubs_of(container)
            text = await self._engine.log_tail(container)
        except (BootFailed, EngineRefused, EngineAway, OSError) as error:
            text = await self._engine.log_tail(container) if container else ""
            await self._clear(spec.id, stop_seconds=0.0)
            reason = error.reason if isinstance(error, BootFailed) else str(error)
            raise BootFailed(reason, log=text) from error
        known = Running(spec=spec, container=container, address=address, stubs=stubs)
        self._running[spec.id] = known
        return replace(self._describe(known), log=text)

    async def _wait_until_ready(self, spec: InstanceSpec, container: str) -> str:
        """Return the address once the model is loaded."""
        try:
            async with asyncio.timeout(self._boot_seconds):
                while there := await self._booting(spec.id, container):
                    if await self._is_ready(there, spec.served_as):
                        return self._address(there)
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError as error:
            reason = f"its container was not ready after {self._boot_seconds:g} s"
            raise BootFailed(reason) from error
        state = await self._engine.state(container)
        raise BootFailed(cause_of(state) if state else "its container was removed as it started")

    async def _booting(self, instance_id: str, container: str) -> Container | None:
        """Return the container as it is now; None: it does not run."""
        found = await self._engine.labelled(self._mine() | {INSTANCE: instance_id})
        return next((each for each in found if each.id == container and each.is_alive), None)

    async def _is_ready(self, container: Container, model: str) -> bool:
        """Whether its model is loaded.

        Asked by number in a network: its name there means nothing to an agent outside.
        """
        path = f"/v2/models/{model}/ready"
        if network := self._settings.docker_network:
            host = container.addresses.get(network, "")
            return bool(host) and await answers(host, HTTP, path)
        port = container.ports.get(HTTP)
        return port is not None and await answers(self._place.host, port, path)

    def _address(self, container: Container) -> str:
        """Return where servers reach its gRPC."""
        port = container.ports.get(GRPC)
        if port is None:  # of a network: that of now, or another that it was made for
            return f"{container.name}:{GRPC}"
        return f"{in_brackets(self._place.host)}:{port}"

    def _is_where_we_ask(self, container: Container) -> bool:
        """Whether it is reached as the settings say, rather than as those that it was made with."""
        network = self._settings.docker_network
        return network in container.addresses if network else HTTP in container.ports

    async def _clear(self, instance_id: str, *, stop_seconds: float | None = None) -> None:
        """Remove what there is of an instance, whoever made it."""
        gently = self._place.stop_seconds if stop_seconds is None else stop_seconds
        for each in await self._engine.labelled(self._mine() | {INSTANCE: instance_id}):
            await self._engine.remove(each.id, stop_seconds=gently if each.is_alive else 0.0)
        self._running.pop(instance_id, None)
        self._uses.pop(instance_id, None)
        folder = self._place.instance_folder(instance_id)
        await in_thread(lambda: model_folder.remove(folder))

    async def _discard(self, container: Container) -> None:
        gently = self._place.stop_seconds if container.is_alive else 0.0
        await self._engine.remove(container.id, stop_seconds=gently)
        if id_ := container.labels.get(INSTANCE):
            await in_thread(lambda: model_folder.remove(self._place.instance_folder(id_)))

    async def _take_over(self, container: Container) -> None:
        """Adopt a container that an earlier agent made, if it serves."""
        made = spec_from(container.labels)
        digest = settings_digest(self._settings, host=self._place.host)
        outdated = container.labels.get(SETTINGS) != digest
        if made and container.is_alive and await self._is_kept(container, made[0], outdated):
            self._running[made[0].id] = Running(
                spec=made[0],
                container=container.id,
                address=self._address(container),
                stubs=await self._stubs_of(container.id),
                outdated=outdated,
            )
            self._uses[made[0].id] = made[1]
        else:
            log.warning("%s does not serve and is removed: %s", container.name, container.state)
            await self._discard(container)

    async def _is_kept(self, container: Container, spec: InstanceSpec, outdated: bool) -> bool:
        """Whether it serves; one of other settings may, where we cannot ask: servers can."""
        if outdated and not self._is_where_we_ask(container):
            return True
        return await self._serves(container, spec.served_as)

    async def _serves(self, container: Container, model: str) -> bool:
        try:
            async with asyncio.timeout(ADOPTION_S):
                while not await self._is_ready(container, model):  # noqa: ASYNC110 - it is not told
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            return False
        return True

    def _clear_folders(self) -> None:
        kept = {self._place.instance_folder(id_) for id_ in self._running}
        for folder in self._place.folder.glob("*"):
            if folder not in kept:
                model_folder.remove(folder)

    def _mine(self) -> dict[str, str]:
        return {FLEET: self._settings.docker_prefix, NODE: self._place.node}

    @staticmethod
    def _describe(known: Running) -> RunningInstance:
        spec = known.spec
        if known.outdated:  # unlike anything that is wanted: so it is drained, and begins anew
            spec = replace(spec, served_as="")
        return RunningInstance(id=spec.id, model=spec.model, address=known.address, spec=spec)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what the engine says into a boot that failed."""
    try:
        yield
    except (EngineAway, EngineRefused) as error:
        raise BootFailed(str(error)) from error
