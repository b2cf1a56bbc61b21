"""What came together of one stream."""

from __future__ import annotations

from typing import Any


class Together(list[bytes]):
    """Parts that remember how they were cut, for the next who reads them; not to be changed then.

    In one process the server counts the tokens of the very parts that entry makes text of.
    What looks like `layout` was cut into `runs`: see libs.common.part_reader.
    """

    layout: object = None
    runs: Any = None
