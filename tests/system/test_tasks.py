"""Every task, from HTTP to Triton: the lines of docs/tasks.md, run as they stand there."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.illustrating import Wish, illustrate
from demo.speaking import speak
from services.entry.tasks.registry import TASKS
from services.memory import resident_mb
from tests.system.harness import ROOT, TOKEN, Up

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("up")]

PAGE = ROOT / "docs" / "tasks.md"
PICTURE = base64.b64encode(illustrate(Wish(prompt="a red circle"))).decode()
SOUND = base64.b64encode(speak("Hi")).decode()
CALL = re.compile(r"```sh\n(?P<line>curl .*?)\n```\n```\n(?P<answer>.*?)```\n", re.DOTALL)


BODIES: dict[str, dict[str, object]] = {
    "text-generation": {"prompt": "Hi", "max_tokens": 1},
    "text-classification": {"text": "Hi"},
    "text-embeddings": {"text": "Hi"},
    "text-to-image": {"prompt": "star", "width": 256, "height": 256},
    "text-to-image-base64": {"prompt": "star", "width": 256, "height": 256},
    "image-classification": {"image": PICTURE},
    "object-detection": {"image": PICTURE},
    "image-to-text": {"image": PICTURE},
    "image-text-to-text": {"image": PICTURE, "prompt": "How many?"},
    "multimodal-embeddings": {"text": ["star"]},
    "text-to-speech": {"text": "Hi"},
    "text-to-speech-base64": {"text": "Hi"},
    "automatic-speech-recognition": {"audio": SOUND},
    "translation": {"text": "the cat", "target_lang": "fr"},
    "summarization": {"input_text": "Hi."},
    "dumb-pipe": {"any": "thing"},
}


AT_ONCE = 3  # a busy machine loads a model in seconds, and a call waits 30 s at most


def test_every_demo_model_is_loaded_by_its_first_call_and_answers_as_the_page_says(
    own: Callable[..., Up], tmp_path: Path, told: Callable[[str, object], None]
) -> None:
    up = own()
    before_mb, began = resident_mb(up.service.process.pid), time.monotonic()

    def call(name: str) -> int:
        return up.client.run(f"@cf/demo/{name}", **BODIES[name]).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = dict(zip(BODIES, pool.map(call, BODIES), strict=True))

    took_s, all_mb = time.monotonic() - began, resident_mb(up.service.process.pid)
    told("all demo models", f"{took_s:.1f} s to load, {before_mb:.0f} MB before, {all_mb:.0f} MB")
    assert statuses == dict.fromkeys(BODIES, 200)
    assert all_mb - before_mb < 70 * len(BODIES)
    lines_answer_as_told(up, tmp_path)
    assert up.service.stop() == 0


def lines_answer_as_told(up: Up, folder: Path) -> None:
    """Run the lines of the page one after the other, as later ones read what earlier ones wrote."""
    env = {**os.environ, "AI": f"{up.client.account}/ai", "TOKEN": TOKEN}

    def answer(line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=folder, env=env, capture_output=True, check=True, text=True
        )
        return done.stdout.rstrip("\n")

    answers = [answer(call["line"]) for call in CALL.finditer(PAGE.read_text())]

    if os.environ.get("CONSTELLATION_UPDATE_DOCS"):
        new = iter(answers)
        page = CALL.sub(
            lambda c: f"```sh\n{c['line']}\n```\n```\n{next(new)}\n```\n", PAGE.read_text()
        )
        PAGE.write_text(page)
    assert answers == [call["answer"].rstrip("\n") for call in CALL.finditer(PAGE.read_text())]


def test_the_page_shows_every_task_and_demo_model() -> None:
    shown = set(re.findall(r"run/@cf/demo/([a-z0-9-]+)", PAGE.read_text()))

    assert shown == set(BODIES)
    assert shown >= set(TASKS)
