"""The launcher: a small actor in a driver's own job that loads user classes and creates, stops and kills agents.

It takes orders from the supervisor by long polling and reports on each. All of that runs on an event loop in a thread
of its own; the process's main thread is left to the import of users' modules. Which actor is meant is never a matter of
its name alone: names are reused, and strangers may have them. What it reports is plain data.

Not public in Ray: the log line `:job_id:…`, by which Ray's log monitor decides in which driver's terminal it shows what
follows. Without it a driver would see what its modules print on import once more, under the launcher's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
import uuid
from collections.abc import Coroutine
from typing import Any

import ray

from schedulemesh.core.errors import ProtocolMismatchError
from schedulemesh.core.launch_protocol import (
    UNLOADED,
    Address,
    Held,
    KeepWarm,
    Kill,
    Launch,
    LaunchFailed,
    LeasedOrder,
    OrderDone,
    Report,
    Stop,
    WarmWorkersSeen,
    decode_orders,
)
from schedulemesh.core.messages import ReportOrder, TakeOrders
from schedulemesh.runtime.actor_table import driver_has_gone
from schedulemesh.runtime.actors import find, problem_of, stop_gracefully
from schedulemesh.runtime.class_loader import ClassLoader
from schedulemesh.runtime.launching import Launching
from schedulemesh.runtime.supervisor_link import SupervisorGoneError, SupervisorLink
from schedulemesh.runtime.warm_workers import WarmWorkers

IDLE_LOOK_S = 3.0
"""Seconds between two looks whether the driver has gone, while nothing is in flight."""
_NO_JOB = ":job_id:ffffffff"


class Launcher:
    """One launcher's process. `classes` loads on the main thread; everything else runs on the launcher's loop."""

    def __init__(self, mesh: str, namespace: str, environment_key: str) -> None:
        for stream in (sys.stdout, sys.stderr):
            print(_NO_JOB, file=stream, flush=True)
        self._mesh = mesh
        self._namespace = namespace
        self._environment_key = environment_key
        context = ray.get_runtime_context()
        self._me: Any = context.current_actor
        self._actor_id = context.get_actor_id() or ""
        self._incarnation = uuid.uuid4().hex
        self._link = SupervisorLink(mesh, namespace)
        self.classes = ClassLoader(self._me.load_class.remote, self._restart)
        self._held: dict[str, str] = {}
        """The uid, or an empty text, by lease."""
        self._launches: dict[str, Launching] = {}
        self._warm_workers = WarmWorkers()
        self._driver_gone = False
        self._work: set[asyncio.Task[None]] = set()
        self._ended = False
        threading.Thread(target=asyncio.run, args=(self._run(),), name="launcher", daemon=True).start()

    async def _run(self) -> None:
        looking = asyncio.ensure_future(self._watch_driver())
        try:
            while not self._ended:
                await self._poll()
        except SupervisorGoneError:
            self._end()
        except Exception:  # noqa: BLE001 - a defect of ours: a launcher that asks no more would be waited for in vain
            traceback.print_exc()
            await asyncio.sleep(IDLE_LOOK_S)
            self._restart()
        finally:
            looking.cancel()

    async def _poll(self) -> None:
        """Ask once for orders. The question is put anew when the launcher has become idle in the meantime."""
        idle = self._is_idle()
        held = [Held(lease, uid) for lease, uid in self._held.items()]
        body = TakeOrders(self._environment_key, self._actor_id, self._incarnation, held, idle)
        asked = asyncio.ensure_future(self._link.ask(body))
        while not asked.done() and not (self._is_idle() and not idle):
            await asyncio.wait({asked}, timeout=IDLE_LOOK_S)
        if not asked.done():
            asked.cancel()
            return
        reply = asked.result()
        if reply.refusal is not None and reply.refusal.error == ProtocolMismatchError.__name__:
            self._end()  # a launcher of the supervisor's own version takes its place
            return
        if reply.result is None:  # refused: too many launchers ask at once
            await asyncio.sleep(IDLE_LOOK_S)
            return
        if reply.result.get("end"):
            self._end()
            return
        for leased in decode_orders(reply.result["orders"]):
            self._take(leased)

    def _is_idle(self) -> bool:
        return self._driver_gone and not self._held

    async def _watch_driver(self) -> None:
        while not self._driver_gone:
            await asyncio.sleep(IDLE_LOOK_S)
            self._driver_gone = await driver_has_gone()

    # -- orders --------------------------------------------------------------------------------------------------

    def _take(self, leased: LeasedOrder) -> None:
        """Begin an order. One that is in flight here already goes on under its new lease."""
        lease, order = leased.lease, leased.order
        if lease in self._held:
            return
        if not isinstance(order, Launch):
            self._held[lease] = ""
            self._spawn(self._carried_out(lease, order))
            return
        launching = self._launches.get(order.uid)
        if launching is not None:
            self._held.pop(launching.lease, None)
            launching.renew(leased)
        else:
            launching = self._launches[order.uid] = Launching(
                leased, self._mesh, self._namespace, self.classes, self._warm_workers
            )
            self._spawn(self._launched(launching))
        self._held[lease] = order.uid

    async def _launched(self, launching: Launching) -> None:
        report = await launching.run()
        del self._launches[launching.order.uid]
        await self._report(launching.lease, report)
        if isinstance(report, LaunchFailed) and report.cause.startswith(UNLOADED) and not self._held:
            self._restart()  # it has imported modules as they were; the next try must see them as they are

    async def _carried_out(self, lease: str, order: Stop | Kill | KeepWarm) -> None:
        report: Report
        match order:
            case Stop():
                report = OrderDone(await stop_gracefully(order.address))
            case Kill():
                report = OrderDone(await self._kill(order.address))
            case KeepWarm():
                report = await self._keep_warm(order.count)
        await self._report(lease, report)

    async def _kill(self, address: Address) -> str:
        """Kill the actor; one that is just being created here, as soon as it is. Returns what prevented it."""
        launching = self._launches.get(address.uid)
        if launching is not None:
            launching.given_up.set()
        try:
            created = launching.handle if launching is not None else None
            handle = await find(address) if address.actor_id is not None else created
            if handle is not None:
                ray.kill(handle, no_restart=True)
        except Exception as error:  # noqa: BLE001 - looking an actor up loads a user's class, which can raise anything
            return problem_of(error)
        return ""

    async def _keep_warm(self, count: int) -> WarmWorkersSeen | OrderDone:
        try:
            return await self._warm_workers.keep(count)
        except Exception as error:  # noqa: BLE001 - reported as text
            return OrderDone(problem_of(error))

    async def _report(self, lease: str, report: Report) -> None:
        """Report on a lease until that is acknowledged, or refused because the supervisor knows no such lease."""
        body = ReportOrder(self._environment_key, self._actor_id, self._incarnation, lease, report)
        with contextlib.suppress(SupervisorGoneError):
            await self._link.ask(body)
        self._held.pop(lease, None)

    # -- the end -------------------------------------------------------------------------------------------------

    def _restart(self) -> None:
        """Have Ray replace this process by a new one of the same environment, which takes up what is in flight."""
        ray.kill(self._me, no_restart=False)

    def _end(self) -> None:
        self._ended = True
        ray.kill(self._me, no_restart=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
