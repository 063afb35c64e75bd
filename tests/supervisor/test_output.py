"""Agents' output on its way through the launcher: kept in order, and heard again after the GCS was away."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Mapping
from typing import Any

from schedulemesh.supervisor.output import Line, Output, Poll

JOB = "01"
NOTHING = dict.fromkeys(("ip", "pid", "job", "is_err", "lines", "actor_name", "task_name"))
"""What Ray's subscriber returns when there was nothing, or nobody to ask."""


class Channel:
    """Ray's log channel: messages for who is subscribed; a subscription hears nothing more once the GCS was away."""

    def __init__(self) -> None:
        self.is_up = True
        self.subscriptions: list[queue.Queue[Mapping[str, Any]]] = []
        self.refused = 0

    def subscribe(self) -> Poll:
        if not self.is_up:
            self.refused += 1
            raise ConnectionError("unavailable")
        mine: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self.subscriptions.append(mine)

        def poll(timeout_s: float) -> Mapping[str, Any]:
            if mine is not self.subscriptions[-1] or not self.is_up:
                return NOTHING  # at once, as Ray does
            try:
                return mine.get(timeout=timeout_s)
            except queue.Empty:
                return NOTHING

        return poll

    def say(self, text: str, job: str = JOB) -> None:
        self.subscriptions[-1].put({"job": job, "actor_name": "w1", "pid": 1, "is_err": False, "lines": [text]})

    def go_away(self) -> None:
        self.is_up = False
        self.subscriptions[-1].put(NOTHING)

    async def come_back(self) -> None:
        """Returns when somebody has subscribed anew."""
        before = len(self.subscriptions)
        self.is_up = True
        while len(self.subscriptions) == before:
            await asyncio.sleep(0)


async def heard(output: Output, count: int) -> list[Line]:
    """All lines, when there are so many."""

    async def lines() -> list[Line]:
        while len(output.after(0)) < count:
            await asyncio.sleep(0)
        return output.after(0)

    return await asyncio.wait_for(lines(), 5)


def test_lines_come_in_order_and_only_those_of_the_own_job() -> None:
    async def listen() -> list[str]:
        channel = Channel()
        output = Output(channel.subscribe, JOB)
        assert await output.subscribed(5)
        channel.say("another's", job="02")
        channel.say("one")
        channel.say("two")
        return [line.text for line in await heard(output, 2)]

    assert asyncio.run(listen()) == ["one", "two"]


def test_lines_are_heard_again_after_the_gcs_was_away() -> None:
    async def listen() -> tuple[list[str], int]:
        channel = Channel()
        output = Output(channel.subscribe, JOB)
        assert await output.subscribed(5)
        channel.say("before")
        (before,) = await heard(output, 1)
        channel.go_away()
        while channel.refused < 2:
            await asyncio.sleep(0)
        assert not await output.subscribed(0)
        await channel.come_back()
        channel.say("after")
        await heard(output, 2)
        (after,) = output.after(before.number)
        return [before.text, after.text], len(channel.subscriptions)

    assert asyncio.run(listen()) == (["before", "after"], 2)


def test_a_launch_that_waits_for_its_first_lines_goes_on_without_them() -> None:
    async def listen() -> bool:
        channel = Channel()
        channel.is_up = False
        return await Output(channel.subscribe, JOB).subscribed(0.1)

    assert asyncio.run(listen()) is False
