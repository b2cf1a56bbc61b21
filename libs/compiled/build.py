"""Compiles the hot path: `python -m libs.compiled.build`. Does nothing where that is done.

Exit code 3: it cannot be compiled here, and runs interpreted.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from setuptools import Distribution
from setuptools.errors import CompileError, LinkError

from libs.compiled.modules import BUILDS, GROUP, HOT, ROOT, files, fitting, source

CANNOT = 3


def main() -> int:
    """Build, unless the build that fits is there."""
    build = fitting()
    if build.is_dir():
        return 0
    missing = what_is_missing()
    if missing:
        print(f"{missing}: the hot path runs interpreted, at twice the cost", file=sys.stderr)
        return CANNOT
    print("compiling the hot path ...", flush=True)
    began = time.monotonic()
    try:
        compile_into(build)
    except (CompileError, LinkError) as error:  # of C: what mypyc refuses is for us to mend
        print(f"{error}: the hot path runs interpreted, at twice the cost", file=sys.stderr)
        return CANNOT
    print(f"compiled {len(HOT)} modules in {time.monotonic() - began:.0f} s")
    return 0


def what_is_missing() -> str:
    """Return what a compilation lacks here, and how to get it; empty where nothing is missing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"there is no C compiler {compiler!r} (on Debian: apt install gcc)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return f"there is no {header} (on Debian: apt install python3-dev)"
    return ""


def compile_into(build: Path) -> None:
    """Compile all modules, and put the build in its place as one; remove the older ones."""
    BUILDS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILDS) as folder:
        made = Path(folder, "made")
        _run_mypyc(Path(folder, "c"), made)
        for extension in files(made).values():
            if not extension.exists():
                raise FileNotFoundError(f"mypyc made no {extension}")
        older = [each for each in BUILDS.iterdir() if each != Path(folder)]
        with contextlib.suppress(OSError):  # another process was quicker
            made.rename(build)
        for each in older:
            if each != build:
                shutil.rmtree(each, ignore_errors=True)


def _run_mypyc(c: Path, made: Path) -> None:
    from mypyc.build import mypycify

    os.chdir(ROOT)  # names in tracebacks are as given here
    sources = [str(source(module).relative_to(ROOT)) for module in HOT]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            extensions = mypycify(
                sources,
                opt_level="1",  # the others take twice the time, and give a fiftieth
                debug_level="0",
                multi_file=True,
                target_dir=str(c),
                group_name=GROUP,
            )
        except SystemExit:
            sys.stderr.write(said.getvalue())
            raise
    command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = str(made)
    command.build_temp = str(c)
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    sys.exit(main())
