"""Uploaded finetunes when processes are killed, and with each service in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudflare as sdk
import pytest
from cloudflare import Cloudflare

from tests.system.cluster import Cluster
from tests.system.finetunes import answer, heard, uploaded
from tests.system.harness import TOKEN, Up, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


def test_finetunes_survive_a_kill_and_a_deleted_one_is_gone(own: Callable[..., Up]) -> None:
    first = own()
    with Cloudflare(api_token=TOKEN, base_url=f"{first.client.base}/client/v4") as client:
        kept, gone = uploaded(client), uploaded(client)
        until(heard(client, kept.name), seconds=10, what="the finetune answers")
        until(heard(client, gone.name), seconds=10, what="the other one answers")
        url = f"{first.client.account}/ai/finetunes/{gone.name}"
        assert first.client.http.delete(url).status_code == 200
        with pytest.raises(sdk.BadRequestError):
            answer(client, lora=gone.name)
    first.service.kill()

    again = own()
    with Cloudflare(api_token=TOKEN, base_url=f"{again.client.base}/client/v4") as client:
        until(heard(client, kept.name), seconds=20, what="the finetune answers again")
        with pytest.raises(sdk.BadRequestError):
            answer(client, lora=gone.name)


def test_separate_processes_in_two_colos_have_it_and_keep_it(state: Path) -> None:
    cluster = Cluster(state)
    cluster.start()
    with Cloudflare(api_token=TOKEN, base_url=f"{cluster.client.base}/client/v4") as client:
        finetune = uploaded(client)
        for colo in ("ams", "iad"):
            folder = state / "nodes" / f"{colo}-node" / "finetunes" / finetune.id
            until(folder.is_dir, seconds=10, what=f"the files are in {colo}")
        until(heard(client, finetune.name), seconds=10, what="the finetune answers")

        for name in ("scheduler", "ams-node"):
            cluster.services[name].kill()
        late = cluster.services["ams-node"]
        cluster.services["scheduler"].start()
        late.start()

        def has_uploaded() -> Any:
            try:
                return uploaded(client)
            except sdk.APIStatusError:
                return None

        second = until(has_uploaded, seconds=30, what="control takes uploads again")
        until(heard(client, second.name), seconds=30, what="the second one answers")
        assert heard(client, finetune.name)()
    cluster.stop()
