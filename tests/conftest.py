"""What all tests share."""

from __future__ import annotations

import os

# Several workers share few cores: threads of their own in every one would only be in the way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
