"""What `constellation models` takes; light, since every command loads it."""

from __future__ import annotations

import argparse
from typing import get_args

from libs.common.catalog import TaskName


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("action", choices=("list", "add", "remove", "check"))
    parser.add_argument("model", nargs="?", default="", help="its name, such as @cf/me/llama")
    parser.add_argument("--url", default="", help="add: a vLLM's or other server's address")
    parser.add_argument("--repository", default="", help="add: the folder of a Triton model")
    parser.add_argument("--task", choices=get_args(TaskName), help="add: what it does, if asked")
    parser.add_argument("--served-as", default="", help="add: its name there, if there are several")
    parser.add_argument("--key", default="", help="add: a file with the server's bearer key")
    parser.add_argument("--alias", action="append", default=[], help="add: another name for it")
    parser.add_argument("--fallback", action="append", default=[], help="add: tried if it is full")
    parser.add_argument("--json", action="store_true", help="list: as JSON")
