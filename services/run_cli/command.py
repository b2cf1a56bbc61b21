"""Makes the call and prints the answer: JSON and text to the screen, bytes to a file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import orjson
from constellation_client import AsyncAI, Binary, ConstellationError, Tls
from constellation_client.asking import OPTION_NAMES

from services.run_cli.inputs import CannotRun, inputs_of, options_of

PRETTY = orjson.OPT_INDENT_2


async def run_model(arguments: argparse.Namespace) -> None:
    """Run a model once. Raises CannotRun, with one line for whatever went wrong."""
    text = sys.stdin.read() if arguments.inputs == "-" else arguments.inputs
    inputs, kind = inputs_of(text, arguments.file)
    options: dict[str, Any] = options_of(arguments.option)
    if unknown := options.keys() - OPTION_NAMES - {"session_affinity"}:
        raise CannotRun(f"--option: there is no {', '.join(sorted(unknown))}")
    if kind:
        options["content_type"] = kind
    client = AsyncAI(
        arguments.address,
        token=_token(arguments.state_dir),
        tls=Tls(ca=arguments.ca) if arguments.ca else False,
        timeout=arguments.timeout,
    )
    try:
        async with client as ai:
            if arguments.stream:
                stream = await ai.run(arguments.model, inputs, stream=True, **options)
                await _print_stream(stream, arguments.output)
            else:
                answer = await ai.run(arguments.model, inputs, **options)
                _print(answer, arguments.output, sys.stdout)
    except ConstellationError as error:
        raise CannotRun(_words(error, arguments.address)) from error


async def _print_stream(stream: Any, output: Path | None) -> None:
    """Print texts as they come, and other parts a line each; leaving stops the model."""
    has_text = False
    async with stream:
        async for part in stream:
            if not isinstance(part, dict) or not isinstance(part.get("response"), str):
                _print(part, output, sys.stdout)
                continue
            sys.stdout.write(part["response"])
            sys.stdout.flush()
            has_text = True
    if has_text:
        sys.stdout.write("\n")


def _print(answer: Any, output: Path | None, screen: TextIO) -> None:
    """Print an answer, or write it to the file; CannotRun for bytes on a terminal."""
    if isinstance(answer, Binary):
        what = f"{len(answer)} bytes of {answer.content_type}"
        if output is not None:
            _write(output, answer)
            print(f"{output}: {what}", file=sys.stderr)
        elif screen.isatty():
            raise CannotRun(f"the answer is {what}: give --output FILE, or send it to a pipe")
        else:
            screen.buffer.write(answer)
        return
    written = orjson.dumps(answer, option=PRETTY if screen.isatty() else None)
    if output is not None:
        _write(output, written + b"\n")
    else:
        screen.write(written.decode() + "\n")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CannotRun(f"--output {path}: {error.strerror}") from error


def _token(state_dir: Path) -> str:
    """Return the token given, else the one that `up` keeps."""
    given = os.environ.get("CONSTELLATION_TOKEN", "")
    if given:
        return given
    try:
        return (state_dir / "token").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise CannotRun(
            f"no token: set CONSTELLATION_TOKEN, or --state-dir to the folder of `up` "
            f"(there is none in {state_dir})"
        ) from None


def _words(error: ConstellationError, address: str) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split())
    if not error.code and not error.was_sent:
        why = f"is it up, and is this its gRPC port? --address names another ({text[:200]})"
        return f"nobody answers at {address}: {why}"
    wait = f"; try again in {error.retry_after:g} s" if error.retry_after else ""
    return f"{text}{wait}"
