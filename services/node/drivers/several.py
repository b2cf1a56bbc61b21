"""The drivers of a node as one: which of them runs an instance depends on what is to run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from services.node.ports import InstanceDriver, InstanceSpec, RunningInstance


class Driver(InstanceDriver, AbstractAsyncContextManager[Any], Protocol):
    """A driver that is entered before it is used."""


class Drivers:
    """Implements `InstanceDriver`."""

    def __init__(self, *, triton: Driver, process: Driver) -> None:
        """`triton` may run them as containers."""
        self._triton = triton
        self._process = process
        self._entered = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Drivers {self._triton!r} {self._process!r}>"

    async def __aenter__(self) -> Self:
        """Enter both."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._triton)
            await stack.enter_async_context(self._process)
            self._entered = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave both."""
        await self._entered.__aexit__(kind, error, trace)

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        """Start the instance in the way that its spec asks for."""
        if spec.command:
            return await self._process.start(spec)
        return await self._triton.start(spec)

    async def stop(self, instance_id: str) -> None:
        """Stop the instance, whoever runs it."""
        await self._triton.stop(instance_id)
        await self._process.stop(instance_id)

    async def running(self) -> Mapping[str, RunningInstance]:
        """What lives now."""
        return {**await self._triton.running(), **await self._process.running()}

    def why_died(self, instance_id: str) -> str:
        """Return what is known of an instance's end, of whoever knows."""
        return self._triton.why_died(instance_id) or self._process.why_died(instance_id)
