"""Conversations in simulated time: how much of a prompt its endpoint has read before."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import partial

from bench.fleet import Choice, Fleet, a_call
from bench.results import Row
from libs.common.envelope import InferRequest
from services.entry.prefixes import Prefixes
from services.server.endpoints import Endpoint
from services.server.preferences import Preferences
from services.server.selection import within_bound

SESSIONS, ACCOUNTS = 200, 20
TURNS = (2, 16)  # of one conversation, then the session begins another
SYSTEM, TURN = (500, 3_000), (150, 2_500)  # characters: of an account's system prompt, of a turn
THINK_S = 1.2  # mean pause between turns: with calls of a second, a load of 0.7
TOKENS = 64  # characters, about 16 tokens: what a model's cache keeps whole
PREFIXES = 512  # hashes kept of each endpoint: fewer than the live conversations have
WARM_UP, REQUESTS = 2_000, 18_000


class Cache:
    """All that an endpoint has ever read, exactly: a hash for each piece with all before it."""

    def __init__(self) -> None:
        self._read: set[int] = set()

    def __repr__(self) -> str:
        return f"<Cache {len(self._read)}>"

    def known(self, pieces: Sequence[int]) -> int:
        """Return how many pieces of a prompt were read before, from its beginning."""
        low, high = 0, len(pieces)
        while low < high:  # who has read a piece has read all before it
            middle = (low + high) // 2
            if pieces[middle] in self._read:
                low = middle + 1
            else:
                high = middle
        return low

    def read(self, pieces: Sequence[int]) -> None:
        """Remember a prompt."""
        self._read.update(pieces[self.known(pieces) :])


class Session:
    """Someone who asks, thinks about the answer and asks again, with all that was said before."""

    def __init__(self, number: int, traffic: Traffic, seed: int) -> None:
        self._traffic = traffic
        self._account = f"account-{number % ACCOUNTS}"
        self.rng = random.Random(seed * SESSIONS + number)
        self._turns_left = 0
        self._text = ""
        self.pieces: list[int] = []

    def __repr__(self) -> str:
        return f"<Session of {self._account} {len(self._text)} characters>"

    def ask(self) -> None:
        """Say something more, or begin anew."""
        if not self._turns_left:
            self._turns_left = self.rng.randint(*TURNS)
            self._text, self.pieces = "", []
            self._say(random.Random(self._account), SYSTEM)
        self._turns_left -= 1
        self._say(self.rng, TURN)
        request = a_call()
        request.account = self._account
        self._traffic.send(request, self._text, self)

    def think(self) -> None:
        """The answer has come."""
        self._traffic.fleet.after(self.rng.expovariate(1 / THINK_S), self.ask)

    def _say(self, rng: random.Random, length: tuple[int, int]) -> None:
        self._text += rng.randbytes(rng.randint(*length) // 2).hex()
        last = self.pieces[-1] if self.pieces else hash(self._account)
        for at in range(len(self.pieces), len(self._text) // TOKENS):
            last = hash((last, self._text[at * TOKENS : (at + 1) * TOKENS]))
            self.pieces.append(last)


class Traffic:
    """All sessions, and what of their prompts was read before where they went."""

    def __init__(self, fleet: Fleet, *, seed: int, warm_up: int, requests: int) -> None:
        self.fleet = fleet
        self.caches = {each.instance: Cache() for each in fleet.endpoints}
        self.prompts: dict[str, tuple[int, ...]] = {}  # of calls that have no endpoint yet
        self.pieces = self.hits = self.read_again = 0  # pieces of the prompts that count
        self._prefixes = Prefixes()
        self._numbers = itertools.count()
        self._left = warm_up + requests
        self._counted = requests
        self._sessions = [Session(number, self, seed) for number in range(SESSIONS)]

    def __repr__(self) -> str:
        return f"<Traffic left={self._left} hits={self.hits}/{self.pieces}>"

    def run(self) -> None:
        """Let the sessions go on until all calls are counted."""
        for each in self._sessions:
            each.think()
        self.fleet.run(lambda: not self._left)

    def send(self, request: InferRequest, text: str, session: Session) -> None:
        """Have a prompt read somewhere."""
        request.request_id = str(next(self._numbers))
        request.prefix_hashes = self._prefixes.of(text, account=request.account)
        self.prompts[request.request_id] = tuple(session.pieces)
        begun = partial(self._begun, request)
        self.fleet.ask(request, session.rng.expovariate(1.0), begun, session.think)

    def _begun(self, request: InferRequest, endpoint: Endpoint) -> None:
        if self._left == self._counted:
            self.fleet.count_from_now()
        cache, pieces = self.caches[endpoint.instance], self.prompts.pop(request.request_id)
        if 0 < self._left <= self._counted:
            known = cache.known(pieces)
            self.pieces += len(pieces)
            self.hits += known
            best = max([each.known(pieces) for each in self.caches.values()])
            self.read_again += best - known
        self._left = max(0, self._left - 1)
        cache.read(pieces)


class Perfect:
    """A router that knows all that was ever read where, within the bound that ours has, too."""

    def __init__(self) -> None:
        self.traffic: Traffic | None = None

    def __repr__(self) -> str:
        return "<Perfect>"

    def __call__(self, fleet: Fleet, request: InferRequest) -> Endpoint | None:
        """Choose the endpoint that has read most of the prompt, of equals the emptiest."""
        assert self.traffic is not None
        pieces, caches = self.traffic.prompts[request.request_id], self.traffic.caches
        able = [each for each in fleet.endpoints if each.free]
        near = within_bound(able, fleet.endpoints, 1, fleet.preferences) or able
        if not near:
            return None
        return max(near, key=lambda e: (caches[e.instance].known(pieces), -e.in_flight))


def measure(pick: Choice, *, seed: int, warm_up: int = WARM_UP, requests: int = REQUESTS) -> Row:
    """Return what one way to choose makes of one seed's conversations."""
    fleet = Fleet(pick, seed=seed, preferences=Preferences(prefixes=PREFIXES))
    traffic = Traffic(fleet, seed=seed, warm_up=warm_up, requests=requests)
    if isinstance(pick, Perfect):
        pick.traffic = traffic
    traffic.run()
    return {
        "hits": 100 * traffic.hits / traffic.pieces,
        "read_again": 100 * traffic.read_again / traffic.pieces,
        "fullest": fleet.fullest,
    }
