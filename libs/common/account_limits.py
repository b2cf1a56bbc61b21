"""The limits of accounts: what new ones have, and how each limit is named.

An account's limits stand in it, so that what `constellation account show` prints is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from libs.common.catalog import TaskName
from libs.common.errors import BadInput
from libs.common.world_map import Account

TASKS: Final[tuple[str, ...]] = get_args(TaskName)
TOKENS: Final = "tokens"
NEURONS: Final = "neurons"
# Requests per minute of a new account, as Cloudflare documents them for its own; where it does
# not, what its nearest task has.
NEW_REQUESTS: Final[Mapping[str, int]] = {
    "text-generation": 300,
    "text-classification": 2000,
    "text-embeddings": 3000,
    "text-to-image": 720,
    "text-to-speech": 720,
    "automatic-speech-recognition": 720,
    "image-classification": 3000,
    "image-to-text": 720,
    "image-text-to-text": 720,
    "object-detection": 3000,
    "translation": 720,
    "summarization": 1500,
    "multimodal-embeddings": 3000,
    "dumb-pipe": 720,
}
NEW_TOKENS: Final = 0  # per minute; none: requests and neurons bound them
NEW_NEURONS: Final = 10_000.0  # a day
DAY_MS: Final = 86_400_000


def limit_name(account: str, kind: str) -> str:
    """Return what a limit is called between entries and control; kind is a task or a word."""
    return f"{account}/{kind}"


def is_limited(account: Account) -> bool:
    """Whether an account has any limit."""
    return bool(account.requests_per_minute or account.tokens_per_minute or account.neurons_per_day)


def limit_of(account: Account, kind: str) -> float:
    """Return one of an account's limits, 0 where it has none of the kind."""
    if kind == TOKENS:
        return float(account.tokens_per_minute)
    if kind == NEURONS:
        return float(account.neurons_per_day)
    return float(account.requests_per_minute.get(kind, 0))


def check_limits(account: Account) -> None:
    """Raise BadInput for a rate of a task that there is not."""
    for task in account.requests_per_minute:
        if task not in TASKS:
            raise BadInput(
                f"there is no task {task!r}; there are: {', '.join(TASKS)}",
                pointer=f"/requests_per_minute/{task}",
            )
