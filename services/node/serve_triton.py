"""Becomes the Triton of `make setup`, with what it needs around it: for a container's command.

`python -m services.node.serve_triton --model-repository=... ...` hands all flags on, and adds where
the parts of Triton are. An image with a `tritonserver` of its own, such as NGC's, needs none of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.node.drivers.triton_environment import TritonEnvironment, lay_out_backend
from services.node.ports import BootFailed

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".triton"


def main(flags: Sequence[str]) -> None:
    """Lay out a python backend, and become tritonserver."""
    try:
        environment = TritonEnvironment.read(ENVIRONMENT)
    except BootFailed as error:
        sys.exit(f"serve_triton: {error}")
    backends = Path(tempfile.gettempdir()) / "constellation-backends"
    lay_out_backend(backends / "python", environment)
    server = environment.distribution / "bin" / "tritonserver"
    command = [
        str(server),
        f"--backend-directory={backends}",
        f"--cache-directory={environment.distribution / 'caches'}",
        *flags,
    ]
    search = f"{environment.binaries}:{os.environ.get('PATH', os.defpath)}"
    settings = {"PATH": search, "LD_LIBRARY_PATH": environment.libraries}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    os.execve(server, command, bare | settings)


if __name__ == "__main__":
    main(sys.argv[1:])
