"""An impostor: a process that says that it is a launcher, and reports on what others hold. It changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from schedulemesh.core.launch_protocol import Launch, LaunchFailed, LaunchReady, OrderDone
from schedulemesh.core.messages import ReportOrder, Request, TakeOrders

if TYPE_CHECKING:
    from random import Random

    from fake_launcher import LauncherProcess
    from stage import Stage

    from schedulemesh.core.launch_protocol import LeasedOrder
    from schedulemesh.core.messages import AnyBody, Reply

FLOOD = 20
WAITED_S = 0.5


async def imitate(stage: Stage, launcher: LauncherProcess, dice: Random) -> None:
    """Flood the supervisor with polls of a made-up environment, and with false reports on all that is held."""
    for number in range(FLOOD):
        name = f"impostor{dice.randrange(FLOOD)}"
        _send(stage, TakeOrders("no such environment", name, f"{name}.{number}", [], dice.random() < 0.5))
    for lease, leased in list(launcher.held.items()):
        for body in _forged(launcher, lease, leased):
            answer = _send(stage, body)
            if answer is not None:
                await asyncio.wait({answer}, timeout=WAITED_S)
                believed = answer.done() and answer.exception() is None and answer.result().refusal is None
                stage.note("an impostor ", f"reports {type(body.report).__name__}")
                stage.judge.expect(not believed, f"a false report was believed: {body}")


def _forged(launcher: LauncherProcess, lease: str, leased: LeasedOrder) -> list[ReportOrder]:
    key, actor_id, incarnation = launcher.actor.key, launcher.actor.actor_id, launcher.incarnation
    if not isinstance(leased.order, Launch):
        return [ReportOrder(key, actor_id, f"{incarnation}.false", lease, OrderDone())]
    uid, attempt = leased.order.uid, leased.order.attempt
    failed = LaunchFailed(uid, attempt, "an impostor says so")
    ready = LaunchReady(uid, attempt, "an impostor's actor")
    true = ReportOrder(key, actor_id, incarnation, lease, failed)
    return [
        ReportOrder(key, actor_id, f"{incarnation}.false", lease, failed),
        ReportOrder(key, "an impostor", incarnation, lease, ready),
        ReportOrder("no such environment", actor_id, incarnation, lease, ready),
        msgspec.structs.replace(true, lease="no such lease"),
        msgspec.structs.replace(true, report=LaunchFailed("no such agent", attempt, "an impostor says so")),
        msgspec.structs.replace(true, report=LaunchReady(uid, attempt + 1, "an impostor's actor")),
        msgspec.structs.replace(true, report=OrderDone()),
    ]


def _send(stage: Stage, body: AnyBody) -> asyncio.Future[Reply] | None:
    supervisor = stage.process
    if supervisor is None or not supervisor.up:
        return None
    return supervisor.call(Request(stage.new_id(), body), stage.loop)
