"""Misspelt names of fields: what no field has as its name, but nearly has.

Names that nobody knows pass, as clients of others send theirs. But where one is a letter away
from a name that is known and is not in the body itself, that one was meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from libs.common.errors import BadInput
from services.entry.bad_input import bad_input

SHORTEST: Final = 4  # characters; shorter names are near to too many
LONGEST: Final = 64  # characters of a name that is looked at
MOST: Final = 64  # names of a body that are looked at


class Spelling:
    """The names that a route knows."""

    def __init__(self, *known: Iterable[str]) -> None:
        self._known = frozenset(name for names in known for name in names)

    def __repr__(self) -> str:
        return f"<Spelling of {len(self._known)} names>"

    def check(self, body: Mapping[str, Any]) -> None:
        """Refuse a body with a name that is misspelt; raises BadInput, with the one that is not."""
        if not self._known.issuperset(body) and (error := misspelt(body, self._known)):
            raise error


def misspelt(body: Mapping[str, Any], known: Collection[str]) -> BadInput | None:
    """Return the error of the first name in the body that is nearly a known one, if any is."""
    meant = sorted(name for name in known if name not in body)
    unknown = (name for name in body if name not in known and len(name) <= LONGEST)
    for name in islice(unknown, MOST):
        for each in meant:
            if is_slip(name, each):
                return bad_input([name], f"there is no such field; did you mean {each}?")
    return None


def is_slip(name: str, known: str) -> bool:
    """Whether a name is one letter away from another: too many, missing, wrong or swapped.

    Capitals and underscores make no difference.
    """
    one, other = _bare(name), _bare(known)
    if len(other) < SHORTEST or abs(len(one) - len(other)) > 1:
        return False
    begin = 0
    while begin < min(len(one), len(other)) and one[begin] == other[begin]:
        begin += 1
    one, other = one[begin:], other[begin:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
