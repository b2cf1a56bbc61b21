"""How OpenAI's routes plan their calls: one for each choice that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from libs.common.errors import BadInput
from libs.common.values import changed
from services.entry.auth import Auth
from services.entry.bad_input import bad_input
from services.entry.calls import Call, Plan
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_bodies import Translated, in_their_words, other_bodies
from services.entry.gateway import Gateway
from services.entry.tasks.forms import fields
from services.entry.tasks.schema import Schema

LONGEST_OWN: Final = 56  # of a client's own id, with room for the choice's number


class OpenAiCalls:
    """Reads who calls and what for, and plans it; the account is the token's."""

    def __init__(
        self, *, gateway: Gateway, auth: Auth, max_body_bytes: int, max_choices: int
    ) -> None:
        self.gateway = gateway
        self._auth = auth
        self._max_body_bytes = max_body_bytes
        self._max_choices = max_choices

    def __repr__(self) -> str:
        return f"<OpenAiCalls of at most {self._max_choices} choices>"

    def read(
        self,
        exchange: Exchange,
        account: str,
        translate: Callable[[Mapping[str, Any]], Translated],
        tasks: Sequence[str],
        form: Schema | None = None,
    ) -> tuple[Translated, Call]:
        """Return the body in both words, and the call of its first choice.

        It is JSON, or a form where that has fields.
        """
        request = exchange.request
        token = self._auth.caller(request.headers, account=account, peer=request.peer)
        most = self._max_body_bytes
        if form is None:
            said = translate(exchange.body(limit=most))
        else:
            said = translate(fields(exchange.sent(limit=most), form, raw_field=""))
        return said, exchange.call(token, said.model, said.ours, tasks=tasks)

    def plan(self, exchange: Exchange, call: Call, names: Mapping[str, str]) -> Plan:
        """Plan the call; a bad field is named as the client wrote it, by `names` of ours."""
        try:
            plan = self.gateway.plan(call)
        except BadInput as error:
            raise in_their_words(error, names) from error
        exchange.planned(plan)
        return plan

    @property
    def most(self) -> int:
        """How many calls one request may ask for."""
        return self._max_choices

    def another(self, exchange: Exchange, call: Call, names: Mapping[str, str]) -> Plan:
        """Plan one more call of a request, whose end is that of all."""
        try:
            plan = self.gateway.plan(call)
        except BadInput as error:
            raise in_their_words(error, names) from error
        exchange.others.append(plan)
        return plan

    def others(
        self, exchange: Exchange, said: Translated, call: Call, names: Mapping[str, str]
    ) -> list[Plan]:
        """Plan the choices of a call beside its first, which was planned; raises BadInput."""
        wanted = said.choices
        if wanted > self._max_choices:
            name = "n" if said.theirs["n"] > 1 else "prompt"
            text = f"{wanted} choices are more than the maximum of {self._max_choices}"
            raise bad_input([name], text)
        bodies = enumerate(other_bodies(said), 1)
        return [self.another(exchange, other_call(call, body, at), names) for at, body in bodies]


def other_call(call: Call, body: Mapping[str, Any], at: int) -> Call:
    """Return another call of the same request.

    It is no repetition of the first one, so it has ids of its own, and no bytes: those came once.
    """
    told, own = call.told, call.client_request_id
    if told.idempotency_key:
        told = changed(told, idempotency_key=f"{told.idempotency_key}#{at}")
    number = f"{own[:LONGEST_OWN]}-{at}" if own else ""
    return changed(call, body=body, bytes_in=0, client_request_id=number, told=told)
