"""Requests that kill instances: what has killed two of them is refused for a while.

A connection that is lost may be no death: two of one instance are two deaths only if it was seen
to be gone between them, by a probe or by the word of its Triton, and else count as one.
Only what was running on an instance as it died is looked at, so nothing is computed for the
others, and nothing at all while there is nobody under suspicion.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from libs.common.envelope import InferRequest

DEATHS: Final = 2

_Rough = tuple[str, str, int]  # account, model, length: what is compared before anything is hashed


@dataclass(slots=True)
class _Suspect:
    """A request that ran on instances as they died; told apart, so that one death is one."""

    until: float
    deaths: set[tuple[str, int]] = field(default_factory=set)
    last_call: str = ""  # the id that it had: what goes on from its text has the same


class Killers:
    """Which requests have killed instances lately; bounded in number and time."""

    def __init__(self, *, keep_s: float = 600.0, most: int = 1024) -> None:
        self._keep_s = keep_s
        self._most = most
        self._stale_at = 0.0  # when the first of them has waited long enough
        self.suspects: dict[_Rough, dict[bytes, _Suspect]] = {}

    def __repr__(self) -> str:
        return f"<Killers {sum(map(len, self.suspects.values()))}/{self._most} suspects>"

    def ran(self, request: InferRequest, instance: str, life: int, now: float) -> None:
        """An instance died, in this life of it, while the request ran there."""
        rough, number = self._known(request) or (_rough(request), fingerprint(request))
        suspect = self.suspects.setdefault(rough, {}).setdefault(number, _Suspect(now))
        suspect.last_call = request.request_id
        suspect.until = now + self._keep_s
        suspect.deaths.add((instance, life))
        self._forget(now)

    def has_killed(self, request: InferRequest, now: float) -> bool:
        """Whether the request has killed so many instances that it must not run again."""
        if now >= self._stale_at:
            self._forget(now)
        known = self._known(request)
        if known is None:
            return False
        found = self.suspects[known[0]][known[1]]
        return found.until > now and len(found.deaths) >= DEATHS

    def acquit(self, request: InferRequest) -> None:
        """The request was answered: it had only been near when others killed."""
        known = self._known(request)
        if known is not None:
            rough, number = known
            del self.suspects[rough][number]
            if not self.suspects[rough]:
                del self.suspects[rough]

    def _known(self, request: InferRequest) -> tuple[_Rough, bytes] | None:
        """Return where the suspect is that this is; a stream that goes on asks in other words."""
        rough = _rough(request)
        alike = self.suspects.get(rough)
        if alike:
            number = fingerprint(request)
            if number in alike:
                return rough, number
        return self._of_call(request) if request.continued_from else None

    def _of_call(self, request: InferRequest) -> tuple[_Rough, bytes] | None:
        for rough, alike in self.suspects.items():
            for number, suspect in alike.items():
                if suspect.last_call == request.request_id:
                    return rough, number
        return None

    def _forget(self, now: float) -> None:
        """Drop who has waited long enough, and the oldest ones where there are too many."""
        every = sorted(
            (suspect.until, rough, number)
            for rough, alike in self.suspects.items()
            for number, suspect in alike.items()
        )
        surplus = len(every) - self._most
        self._stale_at = now + self._keep_s
        for index, (until, rough, number) in enumerate(every):
            if until > now and index >= surplus:
                self._stale_at = min(self._stale_at, until)
            else:
                del self.suspects[rough][number]
                if not self.suspects[rough]:
                    del self.suspects[rough]


def fingerprint(request: InferRequest) -> bytes:
    """Return what two requests have in common that ask the same of the same model."""
    digest = hashlib.blake2b(digest_size=16)
    for each in (request.account, request.model, request.finetune, request.adapter):
        digest.update(each.encode() + b"\0")
    digest.update(request.payload)
    return digest.digest()


def _rough(request: InferRequest) -> _Rough:
    return request.account, request.model, len(request.payload)
