"""Embeddings of more texts than one call takes: several calls, whose vectors are one answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from libs.common.errors import BadInput, Unavailable
from libs.common.values import changed
from services.entry.bad_input import bad_input
from services.entry.calls import Call, Plan
from services.entry.fronts.choices import answer_all
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_calls import OpenAiCalls, other_call
from services.entry.gateway import Gateway
from services.entry.tasks.base import Result

AT_ONCE: Final = 100  # as many as text-embeddings takes
TEXT: Final = re.compile(r"/input/(\d+)(.*)", re.DOTALL)


def plans_of(
    calls: OpenAiCalls, exchange: Exchange, call: Call, names: Mapping[str, str]
) -> list[Plan]:
    """Plan a call for each hundred texts; BadInput names the one that is wrong among all."""
    texts: Sequence[str] = call.body["text"]
    most = AT_ONCE * calls.most
    if len(texts) > most:
        raise bad_input(["input"], f"{len(texts)} items are more than the maximum of {most}")
    first = changed(call, body={**call.body, "text": texts[:AT_ONCE]})
    plans = [calls.plan(exchange, first, names)]
    for number, at in enumerate(range(AT_ONCE, len(texts), AT_ONCE), 1):
        body = {**call.body, "text": texts[at : at + AT_ONCE]}
        try:
            plans.append(calls.another(exchange, other_call(call, body, number), names))
        except BadInput as error:
            raise _moved(error, at) from error
    return plans


async def vectors_of(gateway: Gateway, plans: Sequence[Plan]) -> tuple[Result, int]:
    """Run all plans; return the vectors in the order of their texts, and the tokens read.

    Raises Unavailable where not all are of one model: such vectors cannot be compared.
    """
    answers = await answer_all(gateway, plans)
    if len({plan.model.name for plan in plans}) > 1:  # some fell back to another model
        raise Unavailable("the texts would have vectors of different models")
    data = np.concatenate([answer.result["data"] for answer in answers])
    return {"data": data}, sum(answer.outcome.usage.tokens_in for answer in answers)


def _moved(error: BadInput, by: int) -> BadInput:
    """Return an error of a part's text as one of the whole list's."""
    found = TEXT.fullmatch(error.pointer)
    if found is None:
        return error
    return bad_input(["input", int(found[1]) + by], str(error).partition(": ")[2])
