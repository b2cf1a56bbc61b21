"""Where the parts of an installed Triton are, and what one server needs of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.node.ports import BootFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonEnvironment:
    """Where the parts of an installed Triton are."""

    binaries: Path  # of the Python that its model stub shall use
    distribution: Path  # bin/tritonserver, backends/, caches/
    stub: Path
    libraries: str  # LD_LIBRARY_PATH

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The environment that `make setup` made in this folder."""
        try:
            facts = json.loads((folder / "environment.json").read_text())
        except (OSError, ValueError) as error:
            raise BootFailed(f"{folder} is no Triton environment: run `make setup`") from error
        packages = folder / "lib" / f"python{facts['python']}" / "site-packages"
        distribution = packages / "pytriton" / "tritonserver"
        stubs = distribution / "python_backend_stubs" / facts["python"]
        return cls(
            binaries=folder / "bin",
            distribution=distribution,
            stub=stubs / "triton_python_backend_stub",
            libraries=f"{packages / 'nvidia_pytriton.libs'}:{facts['library_path']}",
        )


def lay_out_backend(folder: Path, environment: TritonEnvironment) -> None:
    """A folder of the python backend for one server."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in (environment.distribution / "backends" / "python").glob("*.*"):
        (folder / part.name).symlink_to(part)
    stub = folder / environment.stub.name
    shutil.copyfile(environment.stub, stub)  # a copy: Triton changes its mode, through links too
    stub.chmod(0o755)
