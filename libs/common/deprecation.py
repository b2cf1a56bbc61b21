"""From when on a model is not run any more: the listing's `planned_deprecation_date`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from libs.common.catalog import Model

PROPERTY: Final = "planned_deprecation_date"


def deprecated_from_ms(model: Model) -> int:
    """Return the moment in Unix time, 0 where none is planned."""
    planned = model.listing.properties.get(PROPERTY)
    try:
        return unix_ms(planned) if planned else 0
    except ValueError:  # the catalog's files are checked, what others write is not
        return 0


def unix_ms(day: object) -> int:
    """Return when a day such as 2027-01-31 begins; ValueError says what would be right."""
    try:
        read = datetime.strptime(str(day), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"expected a date such as '2027-01-31', got {day!r}") from None
    return int(read.timestamp()) * 1000
