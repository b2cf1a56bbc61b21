"""A deployment under load is backed up, killed, and goes on from the backup elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cloudflare import Cloudflare

from tests.short_dirs import short_dir
from tests.system.finetunes import heard, uploaded
from tests.system.harness import EMBED, ROOT, TOKEN, Up, cleaned_up, constellation, until, usage
from tests.system.load import Load

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


def fails(state: Path, *words: str) -> str:
    command = [sys.executable, "-m", "services.cli", *words, "--state-dir", str(state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def through_a_pipe(state: Path, to: Path) -> set[str]:
    """Back up to standard output, restore from standard input; what there is."""
    command = [sys.executable, "-m", "services.cli"]
    backup, restore = ["backup", "--to", "-"], ["restore", "-"]
    made = subprocess.run(
        [*command, *backup, "--state-dir", str(state)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"to standard output" in made.stderr
    subprocess.run(
        [*command, *restore, "--state-dir", str(to)],
        cwd=ROOT,
        input=made.stdout,
        check=True,
        timeout=60,
    )
    assert not list(state.glob(".backup*"))
    return {each.name for each in to.iterdir()}


def test_a_backup_under_load_is_a_deployment_again(
    own: Callable[..., Up], state: Path, tmp_path: Path, told: Callable[[str, object], None]
) -> None:
    first = own()
    constellation(state, "account", "create", "acme")
    token = constellation(state, "token", "create", "--account", "acme", "--name", "ci").strip()
    with Cloudflare(api_token=TOKEN, base_url=f"{first.client.base}/client/v4") as client:
        finetune = uploaded(client)
        until(heard(client, finetune.name), seconds=10, what="the finetune answers")
    backup = tmp_path / "backup.tar.gz"

    with Load(first.client, threads=4) as load:
        before = usage(state)
        said = constellation(state, "backup", "--to", str(backup))
        after = usage(state)
    told("a backup under load", load)
    assert {status for _, status in load.statuses} == {200}
    assert "assets         2 files" in said
    assert "is in use by" in fails(state, "restore", str(backup))
    first.service.kill()

    with short_dir() as folder, cleaned_up(folder):
        fresh = folder / "s"
        constellation(fresh, "restore", str(backup))
        assert through_a_pipe(fresh, folder / "t") == {each.name for each in fresh.iterdir()}
        assert "is not empty" in fails(fresh, "restore", str(backup))
        again = Up(fresh).start()
        try:
            assert "acme" in constellation(fresh, "account", "list")
            called = again.client.http.post(
                f"{again.client.base}/v1/embeddings",
                json={"model": EMBED, "input": "a cat"},
                headers={"Authorization": f"Bearer {token.splitlines()[0]}"},
            )
            assert called.status_code == 200, called.text
            with Cloudflare(api_token=TOKEN, base_url=f"{again.client.base}/client/v4") as client:
                until(heard(client, finetune.name), seconds=20, what="the finetune answers again")
            found = again.counted()
        finally:
            again.client.close()
            again.service.stop()
    for model, row in before.items():
        most = after[model]["requests"] + 5  # what was asked there since
        assert row["requests"] <= found[model]["requests"] <= most
