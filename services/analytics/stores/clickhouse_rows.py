"""Columns as clickhouse-connect inserts them: a list of plain values for each, and its type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.common.events.values import InferenceEvent
from services.analytics.stores.columns import Columns

NUMBERS = {np.dtype(np.uint64): "UInt64", np.dtype(np.float64): "Float64"}
# Texts that are hardly ever the same; of all others there are few different ones.
MANY = {"account_id", "request_id", "client_request_id", "traceparent"}
LISTS = {"visited_colos"}
assert set(InferenceEvent.__struct_fields__) >= MANY | LISTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is inserted into a table."""

    name: str
    names: Sequence[str]
    types: Sequence[str]
    columns: Sequence[Sequence[Any]]


def table(name: str, columns: Columns) -> Table:
    """Return what is inserted for these columns."""
    return Table(
        name=name,
        names=tuple(columns),
        types=[_type(each, values.dtype) for each, values in columns.items()],
        columns=[values.tolist() for values in columns.values()],
    )


def _type(name: str, dtype: np.dtype[Any]) -> str:
    if dtype.kind in "uf":
        return NUMBERS.get(dtype, "UInt64")
    if name in LISTS:
        return "Array(LowCardinality(String))"
    return "String" if name in MANY else "LowCardinality(String)"
