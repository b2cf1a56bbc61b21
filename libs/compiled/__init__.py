"""The hot path's modules, compiled to C by mypyc: the same source, at half the cost.

Whoever imports one of `HOT` gets the compiled one where `build` has made it of exactly this
source, and the source itself anywhere else: after an edit, without a C compiler, or with
CONSTELLATION_INTERPRETED set.
"""

from libs.compiled.finding import in_use, use

__all__ = ["in_use", "use"]
