"""Who may run a model: which accounts and tokens, until when, and for which task."""

from __future__ import annotations

from typing import Final

from libs.common.catalog import Model
from libs.common.deprecation import PROPERTY, deprecated_from_ms
from libs.common.errors import ModelDeprecated, ModelNotAllowed, ModelNotForToken, NoQueue
from services.entry.bad_input import bad_input
from services.entry.calls import Call

CONTROL_FIELDS: Final = frozenset(
    {"options", "requests", "request_id", "lora", "tags", "stream", "stream_options", "websocket"}
)


def check_access(model: Model, call: Call, now_ms: int) -> None:
    """Refuse a model that the account may not run, that is over, or that does something else."""
    if not allowed(model, call.token.account):
        raise not_allowed(model, call.token.account)
    if call.token.models and model.name not in call.token.models:
        raise ModelNotForToken(f"the token may not run {model.name}")
    if 0 < deprecated_from_ms(model) <= now_ms:
        day = model.listing.properties[PROPERTY]
        raise ModelDeprecated(f"{model.name} was deprecated on {day}")
    if call.tasks and model.task not in call.tasks:
        raise bad_input(["model"], f"{model.name} does {model.task}, not {call.tasks[0]}")
    if "requests" in call.body:
        raise NoQueue("there is no queue for batches here yet", pointer="/requests")
    if "request_id" in call.body and CONTROL_FIELDS.issuperset(call.body):  # nothing to run
        raise NoQueue("there is no queue whose results could be asked for", pointer="/request_id")


def not_allowed(model: Model, account: str) -> ModelNotAllowed:
    """Return the refusal of a model that is not for an account."""
    return ModelNotAllowed(f"account {account} may not run {model.name}")


def allowed(model: Model, account: str) -> bool:
    """Whether an account may run a model."""
    return model.access.accounts == "all" or account in model.access.accounts
