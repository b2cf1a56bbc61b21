"""A bounded set that remembers what was used last: what an endpoint is thought to hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Recent(Generic[K]):
    """Keys in the order of their use; the one that was not used for the longest time leaves."""

    __slots__ = ("_keys", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._keys: OrderedDict[K, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Recent {len(self._keys)}/{self.limit}>"

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def holds(self, key: K) -> bool:
        """Whether it is there; asking is no use of it."""
        return key in self._keys

    def use(self, key: K) -> None:
        """Have it there, as the one that was used last."""
        keys = self._keys
        if key in keys:
            keys.move_to_end(key)
            return
        keys[key] = None
        while len(keys) > self.limit:
            keys.popitem(last=False)

    def clear(self) -> None:
        """Hold nothing."""
        self._keys.clear()
