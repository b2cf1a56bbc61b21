"""What `constellation run` takes; light, since every command loads it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Say what the command takes."""
    here = f"127.0.0.1:{env.get('CONSTELLATION_GRPC_PORT', '8081')}"
    parser.add_argument("model", help="its name, such as @cf/demo/text-generation")
    parser.add_argument("inputs", nargs="?", help="the task's fields as JSON, or - to read them")
    parser.add_argument("--stream", action="store_true", help="print the answer as it comes")
    files = "an image or audio: as the field FIELD, or without inputs as the whole body"
    parser.add_argument("--file", action="append", default=[], metavar="[FIELD=]PATH", help=files)
    parser.add_argument("--output", type=Path, help="the file for an answer that is no text")
    option = "an option of the API, such as rejectIfBusy=true"
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    parser.add_argument("--timeout", type=_seconds, default=60.0, help="seconds until the end")
    parser.add_argument("--address", default=here, help="host:port of the gRPC port")
    parser.add_argument("--ca", type=Path, help="PEM file with whom to trust: speaks TLS")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}")
    return seconds
