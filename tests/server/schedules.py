"""Random schedules for a turnstile, in virtual time, with all that must hold after each step."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from libs.common.catalog import AccountShare
from libs.common.envelope import InferRequest
from libs.common.errors import OutOfCapacity, RequestError
from services.server.endpoints import Endpoint
from services.server.turnstile import Lease, Turnstile, Waiting
from tests import virtual_time
from tests.fakes import a_request

ACCOUNTS = "abcd"
STEPS = (
    *("arrive",) * 8,
    *("grant",) * 6,
    *("cancel",) * 2,
    *("tick",) * 6,
    *("resize", "die", "come", "lose", "regain", "queue", "wait"),
)


@dataclass(eq=False)
class Call:
    """One caller: it waits, holds its permits until `leave` is set, and gives them back."""

    request: InferRequest
    patience: float
    lost_its_endpoint: bool
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    lease: Lease | None = None
    error: RequestError | None = None

    async def run(self, gate: Turnstile) -> None:
        """Come, hold, and go."""
        try:
            with await self._turn(gate) as self.lease:
                await self.leave.wait()
        except RequestError as error:
            self.error = error

    async def _turn(self, gate: Turnstile) -> Lease:
        lease = gate.try_lease(self.request)
        if lease is None and self.request.reject_if_busy:
            lease = gate.pass_by(self.request)
            if lease is None:
                raise OutOfCapacity("busy")
        return lease or await gate.wait(
            self.request, patience=self.patience, at_front=self.lost_its_endpoint
        )


class Schedule:
    """One random schedule; `run` plays it and checks after every step."""

    def __init__(self, seed: int, steps: int = 50) -> None:
        self.rng = rng = random.Random(seed)
        self.steps = steps
        self.limit = rng.choice([0, 2, 5, 12])
        self.gate = Turnstile(queue_limit=self.limit, rng=rng, now=virtual_time.now)
        self.shares = {name: self._share() for name in ACCOUNTS if rng.random() < 0.4}
        self.gate.configure(self.limit, self.shares)
        self.endpoints: list[Endpoint] = []  # all that there ever were
        for _ in range(rng.randint(1, 3)):
            self.come()
        self.calls: list[tuple[Call, asyncio.Task[None]]] = []
        self.in_line: list[Waiting] = []  # after the step before
        self.was: dict[str, int] = {}
        self.kept = False  # whether what is guaranteed was free after the step before

    def _share(self) -> AccountShare:
        rng = self.rng
        guaranteed = rng.choice([0, 0, 1, 2])
        return AccountShare(
            weight=rng.choice([0.5, 1.0, 2.0, 3.0]),
            guaranteed=guaranteed,
            maximum=rng.choice([0, 0, 0, guaranteed + rng.randint(1, 3)]),
        )

    async def run(self) -> None:
        """Play it to its end, at which everything must be back."""
        for _ in range(self.steps):
            step = self.rng.choice(STEPS)
            await getattr(self, f"_{step}")()
            self.check(shrinks=step in ("resize", "die", "lose"))
        for _, task in self.calls:
            task.cancel()
        await asyncio.gather(*(task for _, task in self.calls), return_exceptions=True)
        self.check(shrinks=True)
        queue = self.gate.queue
        assert all(each.in_flight == 0 for each in self.endpoints)
        assert all(each.in_use == 0 for each in self.gate.room.standings.named.values())
        assert (queue.size, queue.cost, queue.lines, queue.everyone()) == (0, 0, {}, [])

    def come(self) -> None:
        """Add an endpoint."""
        name = f"e{len(self.endpoints)}"
        made = Endpoint(instance=name, address=name, concurrency=self.rng.randint(1, 6))
        self.endpoints.append(made)
        self.gate.endpoints[name] = made
        self.gate.admit()

    async def _arrive(self) -> None:
        rng = self.rng
        request = a_request(
            account=rng.choice(ACCOUNTS),
            cost=rng.choice([1, 1, 1, 2, 4, 9]),
            priority=rng.choice([5, 5, 5, 2, 8]),
            reject_if_busy=rng.random() < 0.1,
            client_request_id=rng.choice(["", "", "mine"]),
            retry_count=rng.choice([0, 0, 1]),
        )
        call = Call(request, rng.choice([0.05, 1.0, 60.0]), rng.random() < 0.05)
        self.calls.append((call, asyncio.create_task(call.run(self.gate))))
        if rng.random() < 0.8:  # else it is in the same tick as what comes next
            await asyncio.sleep(0)

    async def _grant(self) -> None:
        """A holder gives back, and who is next gets what came free."""
        holding = [call for call, _ in self.calls if call.lease and call.lease.is_open]
        if holding:
            self.rng.choice(holding).leave.set()
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)

    async def _cancel(self) -> None:
        if self.calls:
            self.rng.choice(self.calls)[1].cancel()

    async def _tick(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        open_now = [call.lease for call, _ in self.calls if call.lease and call.lease.is_open]
        for each in self.endpoints:
            assert each.in_flight == sum(e.cost for e in open_now if e.endpoint is each)
        for name, standing in self.gate.room.standings.named.items():
            held = [e.cost for e in open_now if e.standing is standing]
            assert standing.in_use == sum(held), name

    async def _wait(self) -> None:
        await asyncio.sleep(self.rng.choice([0.01, 0.1, 2.0]))

    async def _resize(self) -> None:
        self.rng.choice(self.endpoints).concurrency = self.rng.randint(1, 6)
        self.gate.admit()

    async def _die(self) -> None:
        if self.gate.endpoints:
            name = self.rng.choice(list(self.gate.endpoints))
            self.gate.endpoints.pop(name).state = "draining"
            self.gate.admit()

    async def _come(self) -> None:
        if len(self.gate.endpoints) < 4:
            self.come()

    async def _lose(self) -> None:
        if self.gate.endpoints:
            self.rng.choice(list(self.gate.endpoints.values())).state = "backoff"
            self.gate.admit()

    async def _regain(self) -> None:
        for each in self.gate.endpoints.values():
            each.state = "healthy"
        self.gate.admit()

    async def _queue(self) -> None:
        self.limit = max(self.limit, self.rng.choice([0, 2, 5, 12]))
        self.gate.configure(self.limit, self.shares)

    def check(self, *, shrinks: bool) -> None:
        """Check all that must hold between any two steps."""
        self._check_permits()
        self._check_accounts(shrinks=shrinks)
        self._check_order()
        assert self.gate.queue.cost <= self.limit
        assert self.gate.queue.size == len(self.gate.queue.everyone())

    def _check_permits(self) -> None:
        """No endpoint has given more than it has."""
        for each in self.endpoints:
            before = self.was.get(each.instance, 0)
            assert each.in_flight >= 0
            if each.in_flight > before:
                assert each.in_flight <= each.concurrency
                assert each.state == "healthy"
            self.was[each.instance] = each.in_flight

    def _check_accounts(self, *, shrinks: bool) -> None:
        """No account holds more than its maximum, and each can have what it is guaranteed."""
        room = self.gate.room
        for standing in room.standings.named.values():
            assert standing.in_use >= 0
            assert not standing.maximum or standing.in_use <= standing.maximum
        kept = room.free >= room.standings.kept(None)
        assert kept or shrinks or not self.kept
        # What comes back from an endpoint that is gone, or smaller now, is not there again.
        self.kept = kept and not any(
            each.in_flight and (each.state != "healthy" or each.in_flight > each.concurrency)
            for each in self.endpoints
        )
        for line in self.gate.queue.lines.values():
            first = line.calls[0]
            if line.is_owed and first.cost == 1 and not (first.turn and first.turn.done()):
                assert room.free == 0

    def _check_order(self) -> None:
        """Nobody was let in before another of its account that ranks higher and still waits."""
        came = {id(call.request): number for number, (call, _) in enumerate(self.calls)}

        def rank(place: Waiting) -> tuple[int, int]:
            return (-place.request.priority, came[id(place.request)])

        waiting = [each for line in self.gate.queue.lines.values() for each in line.calls]
        for each in self.in_line:
            if each.lease is not None:
                still = [other for other in self.in_line if other in waiting]
                assert all(rank(each) < rank(other) for other in still if of(other) == of(each))
        # A retry has the place of its first try, whose age is not its own.
        self.in_line = [each for each in waiting if not each.request.client_request_id]


def of(place: Waiting) -> str:
    """Return whose call it is."""
    return place.request.account
