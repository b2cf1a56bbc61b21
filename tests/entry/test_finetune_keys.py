"""Idempotency keys on the POSTs of finetunes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.adapters import CONFIG, WEIGHTS, config, weights
from tests.entry.finetunes import CHAT, running


async def test_a_post_with_a_key_that_comes_again_gets_the_first_answer(folder: Path) -> None:
    key = {"Idempotency-Key": "once"}
    body = {"name": "pirate", "model": CHAT.name}
    async with running(folder) as api:
        answers = await asyncio.gather(
            *(api.ask("POST", json=body, headers=key) for _ in range(3)),
        )
        assert [status for status, _ in answers] == [200] * 3
        assert len({answer["result"]["id"] for _, answer in answers}) == 1

        status, told = await api.ask("POST", json={**body, "name": "other"}, headers=key)
        assert (status, told["errors"][0]["code"]) == (409, 7004)
        status, told = await api.ask("POST", json=body, headers={"Idempotency-Key": "another"})
        assert (status, told["errors"][0]["code"]) == (409, 5051)
        assert (await api.ask("POST", token="theirs", json=body, headers=key))[0] == 200


async def test_a_file_that_is_sent_again_with_its_key_is_taken_once(folder: Path) -> None:
    async with running(folder) as api:
        await api.create()
        first = await api.upload(config(), CONFIG, headers={"Idempotency-Key": "a"})
        again = await api.upload(config(), CONFIG, headers={"Idempotency-Key": "a"})
        other = await api.upload(weights(), WEIGHTS, headers={"Idempotency-Key": "a"})

        assert first[0] == 200
        assert again == first
        assert (other[0], other[1]["errors"][0]["code"]) == (409, 7004)


async def test_a_failed_post_lets_its_key_be_used_again(folder: Path) -> None:
    key = {"Idempotency-Key": "once"}
    async with running(folder) as api:
        wrong = await api.ask("POST", json={"name": "pirate", "model": "nothing"}, headers=key)
        right = await api.ask("POST", json={"name": "pirate", "model": CHAT.name}, headers=key)

    assert (wrong[0] // 100, right[0]) == (4, 200)


async def test_an_answer_is_kept_for_a_while_and_among_so_many(folder: Path) -> None:
    def body(name: str) -> dict[str, str]:
        return {"name": name, "model": CHAT.name}

    async with running(folder, replay_s=0.2, replays=1) as api:
        first = await api.ask("POST", json=body("one"), headers={"Idempotency-Key": "1"})
        assert await api.ask("POST", json=body("one"), headers={"Idempotency-Key": "1"}) == first
        await asyncio.sleep(0.25)
        late = await api.ask("POST", json=body("one"), headers={"Idempotency-Key": "1"})
        await api.ask("POST", json=body("two"), headers={"Idempotency-Key": "2"})
        await api.ask("POST", json=body("three"), headers={"Idempotency-Key": "3"})
        pushed_out = await api.ask("POST", json=body("two"), headers={"Idempotency-Key": "2"})

    assert first[0] == 200
    # it runs again, and the name is taken by now
    assert (late[0], late[1]["errors"][0]["code"]) == (409, 5051)
    assert (pushed_out[0], pushed_out[1]["errors"][0]["code"]) == (409, 5051)
