"""Dispatch: gives orders to the launchers that ask for them, and sees to it that somebody does.

The shell's side of the launchers; knows no Ray. Orders wait in a mailbox for each environment. A driver creates the
launcher of its own job before it asks for an agent; where that launcher has gone, `starter` starts one in the recorded
environment, and a bare one for what needs no environment: stops and kills. No handle of a launcher is held here: it
asks by long polling, and its end is seen in Ray's actor table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from schedulemesh.core.errors import InvalidRequestError, SupervisorUnavailableError
from schedulemesh.core.launch_protocol import (
    BARE,
    MAX_HANDLE,
    Address,
    KeepWarm,
    Kill,
    Launch,
    LaunchLost,
    LaunchReady,
    LaunchReport,
    Order,
    OrderDone,
    Report,
    Stop,
    WarmWorkersSeen,
    encode_orders,
)
from schedulemesh.core.messages import POLL_S, Reply, ReportOrder, TakeOrders
from schedulemesh.core.records import key_of
from schedulemesh.supervisor.events import LaunchersCounted, LauncherSeen, WarmSeen
from schedulemesh.supervisor.launcher_supply import LauncherSupply, waited
from schedulemesh.supervisor.launcher_table import LauncherTable
from schedulemesh.supervisor.mailbox import LauncherLostError, Mailbox, Poller, Task
from schedulemesh.supervisor.ports import LauncherStarter, Store
from schedulemesh.supervisor.warmth import UNAVAILABLE, Warmth

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

MAX_POLLS = 512
"""Long polls that are held open at a time; a waiting poll costs next to nothing, but their number must have an end."""
MAX_LAUNCHERS = 64
"""Processes of about 90 MB. Beyond it, those that have nothing to do are ended though their drivers are there; each is
created again by its driver's next create."""
CONFIRM_S = 15.0
"""How long a launcher may take to ask again, which tells that it got what it was sent."""
STOP_S = 30.0
"""How long a launcher may take to carry a stop out, beyond the grace it was given."""
KILL_S = 5.0
"""How long it may take for a kill, until the bare launcher is asked for it."""
WARM_S = 60.0
"""How long it may take to have one more warm worker, or to give one back."""
END_S = 10.0
"""How long the launchers may take to terminate at the end of the mesh, until they are killed."""


class Dispatch:
    """Implements the port `Launchers`. Used from one event loop only."""

    def __init__(
        self,
        mesh: str,
        namespace: str,
        *,
        store: Store,
        starter: LauncherStarter,
        idle_s: float,
    ) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._store = store
        self._idle_s = idle_s
        self._counted: Callable[[LaunchersCounted], None] = lambda _: None
        self._mailboxes: dict[str, Mailbox] = {}
        self._preparing: dict[str, asyncio.Task[list[bytes]]] = {}
        self._table = LauncherTable()
        self._supply = LauncherSupply(self._table, store, starter, self._tidy)
        self._polls = 0
        self._warmth = Warmth(self._keep_warm)
        self._ending: set[str] | None = None
        """Environment keys whose launchers may stay while the mesh ends; None while it does not."""

    def tell_counts(self, counted: Callable[[LaunchersCounted], None]) -> None:
        """From now on, call `counted` whenever the number of launchers may have changed."""
        self._counted = counted

    # -- orders of the mesh --------------------------------------------------------------------------------------

    async def launch(self, order: Launch) -> LaunchReport:
        """Have the agent launched. Returns what its launcher reports, or why there was none."""
        preparing = asyncio.ensure_future(self._blobs(order))
        self._preparing[order.uid] = preparing
        try:
            blobs = await preparing
        except (asyncio.CancelledError, KeyError):
            return order.unmade("it was deleted before it was launched")
        except Exception as error:  # noqa: BLE001 - the store is away; the agent's record says what to do next
            return LaunchLost(order.uid, order.attempt, f"its class could not be fetched: {error!r}")
        finally:
            del self._preparing[order.uid]
        box = self._mailbox(order.environment_key)
        task = box.add(order, *blobs, now=self._now())
        self._supply.see_served(box)
        report = await task.result
        self._tidy(box)
        self._warmth.look(order.environment_key)
        assert isinstance(report, LaunchReport)  # noqa: S101 - `report` takes no other for a launch
        return report

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        await self._order(environment_key, Stop(address), timeout_s=grace_s + STOP_S)

    async def kill(self, address: Address, environment_key: str) -> None:
        preparing = self._preparing.get(address.uid)
        box = self._mailboxes.get(environment_key)
        task = box.withdraw_launch(address.uid) if box is not None else None
        if preparing is not None:
            preparing.cancel()
        if task is not None and isinstance(task.order, Launch):
            task.result.set_result(task.order.unmade("it was deleted before it was launched"))
        if (preparing is None and task is None) or address.actor_id is not None:
            await self._order(environment_key, Kill(address), timeout_s=KILL_S)
            await self._give_up_launch(environment_key, address.uid)

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        self._warmth.want(environment_key, count, seen)

    async def close(self) -> None:
        """End every launcher of the mesh. Returns when Ray has none of them any more, or says so in the log."""
        await self._warmth.close()
        self._ending = {BARE}
        self._wake_all()
        if not await self._gone(but=BARE):
            killed = [
                self._order(BARE, Kill(Address("", seen.actor_id, seen.name, self._namespace)), timeout_s=KILL_S)
                for seen in self._table.living()
                if seen.label != BARE
            ]
            await asyncio.gather(*killed)
        self._ending = set()
        self._wake_all()
        if not await self._gone(but=""):
            log.warning("launchers_left", count=len(self._table.living()))

    # -- launchers -----------------------------------------------------------------------------------------------

    async def take(self, body: TakeOrders) -> Reply:
        """Answer a launcher's poll: with orders, with the order to terminate, or with nothing after POLL_S."""
        if self._polls >= MAX_POLLS:
            raise SupervisorUnavailableError(mesh=self._mesh, timeout_s=0.0, reason="too many launchers ask at once")
        box = self._mailbox(body.environment_key)
        poller, again = box.arrive(body.actor_id, body.incarnation, body.held, self._now())
        self._table.asked(body.actor_id, box.label)
        self._polls += 1
        try:
            return await self._taken(box, poller, again, idle=body.idle, free=not body.held)
        finally:
            self._polls -= 1
            self._tidy(box)

    def report(self, body: ReportOrder) -> Reply:
        """Take a launcher's report. Refused when it holds no such lease; user code runs in its process."""
        box = self._mailboxes.get(body.environment_key)
        task = box.task_of(body.lease, body.actor_id, body.incarnation) if box is not None else None
        if box is None or task is None or not _answers(task.order, body.report):
            raise InvalidRequestError(field="lease", problem="is not held by this launcher, or is not what it reports")
        box.drop(task)
        box.used_at = self._now()
        if not task.result.done():
            task.result.set_result(_clean(body.report))
        return Reply(result={})

    def seen(self, seen: LauncherSeen) -> None:
        """Ray tells of a launcher's actor."""
        lost = self._table.see(seen)
        self._follow(seen, lost=lost)

    def seen_all(self, launchers: Sequence[LauncherSeen]) -> None:
        """Ray's table was read: these launchers live."""
        for seen in launchers:
            self.seen(seen)
        for gone in self._table.absent(launchers):
            self._follow(gone, lost=True)
        for box in list(self._mailboxes.values()):
            box.forget_absent(self._now())
            self._tidy(box)

    def _follow(self, seen: LauncherSeen, *, lost: bool) -> None:
        boxes = [box for box in self._mailboxes.values() if box.label == seen.label]
        for box in boxes:
            if lost:
                why = f"its launcher ended{f': {seen.cause}' if seen.cause else ''}"
                box.lose(seen.actor_id, why)
            if seen.environment_failed and not box.is_served(self._now()):
                box.failure = f"its environment could not be set up: {seen.cause}"
            box.changed.set()
        self._counted(self._table.count())

    async def _taken(self, box: Mailbox, poller: Poller, again: list[Task], *, idle: bool, free: bool) -> Reply:
        number, until = poller.polls, self._now() + POLL_S
        poller.waits = True
        try:
            while True:
                now = self._now()
                if poller.polls != number or not box.has(poller):
                    return _orders([])
                if self._ending is not None and box.key not in self._ending:
                    box.leave(poller)
                    return Reply(result={"end": True})
                tasks = again or box.take(poller, now)
                if tasks:
                    self._await_confirmation(box, tasks)
                    return _orders(tasks)
                quiet_at = box.used_at + self._idle_s
                may_end = (idle or (free and self._table.crowded(MAX_LAUNCHERS))) and not self._is_needed(box)
                if may_end and now >= quiet_at:
                    box.leave(poller)
                    log.info("launcher_idle", environment=box.key[:16])
                    return Reply(result={"end": True})
                if now >= until:
                    return _orders([])
                poller.wake.clear()
                wait_s = min(until, max(quiet_at, now + 0.01)) - now if may_end else until - now
                await waited(poller.wake, wait_s)
        finally:
            if poller.polls == number:
                poller.waits = False
                poller.asked_at = self._now()

    def _is_needed(self, box: Mailbox) -> bool:
        return box.waiting or self._warmth.is_wanted(box.key)

    def _await_confirmation(self, box: Mailbox, tasks: list[Task]) -> None:
        why = "its launcher did not confirm the order"
        asyncio.get_running_loop().call_later(CONFIRM_S, box.lose_unconfirmed, tasks, why)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _order(self, key: str, order: Stop | Kill, *, timeout_s: float) -> None:
        """Give an order to the environment's launcher if one asks for orders, else, or if that fails, to the bare."""
        box = self._mailboxes.get(key)
        if box is not None and box.key != BARE and box.is_served(self._now()):
            for_only = box.holder_of_launch(order.address.uid)
            if await self._done(box, order, timeout_s, for_only):
                return
        await self._done(self._mailbox(BARE), order, max(timeout_s, STOP_S))

    async def _give_up_launch(self, key: str, uid: str) -> None:
        """Count a launch as lost whose launcher does not report although its agent was killed: it may hang.

        An actor that it creates after all is unknown to the mesh, which kills it.
        """
        box = self._mailboxes.get(key)
        launch = box.launch_in_flight(uid) if box is not None else None
        if box is None or launch is None:
            return
        await asyncio.wait({launch.result}, timeout=KILL_S)
        box.drop(launch)
        launch.lose("its launcher did not give it up")
        self._tidy(box)

    async def _done(self, box: Mailbox, order: Stop | Kill, timeout_s: float, for_only: str = "") -> bool:
        """Whether a launcher carried the order out."""
        task = box.add(order, now=self._now(), for_only=for_only)
        self._supply.see_served(box)
        try:
            report = await asyncio.wait_for(task.result, timeout_s)
        except (LauncherLostError, asyncio.TimeoutError) as error:
            log.warning("order_lost", order=type(order).__name__, environment=box.key[:16], error=repr(error)[:300])
            return False
        finally:
            box.drop(task)
            self._tidy(box)
        problem = report.problem if isinstance(report, OrderDone) else ""
        if problem:
            log.warning("order_failed", order=type(order).__name__, actor=order.address.actor_name, problem=problem)
        return not problem

    async def _keep_warm(self, key: str, count: int) -> tuple[int, int]:
        """See `warmth.Keep`."""
        box = self._mailbox(key)
        task = box.add(KeepWarm(count), now=self._now())
        self._supply.see_served(box)
        try:
            report = await asyncio.wait_for(task.result, WARM_S)
        finally:
            box.drop(task)
        if isinstance(report, WarmWorkersSeen):
            return (report.ready, report.coming) if report.offered else (UNAVAILABLE, 0)
        raise LauncherLostError(report.problem if isinstance(report, OrderDone) else "it reports something else")

    async def _blobs(self, order: Launch) -> list[bytes]:
        keys = (order.class_blob, order.args_blob)
        return list(await asyncio.gather(*(self._store.get(key_of("blob", key)) for key in keys)))

    async def _gone(self, *, but: str) -> bool:
        """Whether Ray has no launcher any more but those of that label; waits END_S for it."""
        until = self._now() + END_S
        while any(seen.label != but for seen in self._table.living()):
            if self._now() > until:
                return False
            await self._table.wait(until - self._now())
        return True

    def _wake_all(self) -> None:
        for box in self._mailboxes.values():
            box.wake_all()

    def _mailbox(self, key: str) -> Mailbox:
        box = self._mailboxes.get(key)
        if box is None:
            box = self._mailboxes[key] = Mailbox(key)
            box.used_at = self._now()
        return box

    def _tidy(self, box: Mailbox) -> None:
        if box.empty and self._mailboxes.get(box.key) is box:
            del self._mailboxes[box.key]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _orders(tasks: Sequence[Task]) -> Reply:
    return Reply(result={"orders": encode_orders([task.leased() for task in tasks])})


def _answers(order: Order, report: Report) -> bool:
    """Whether this is a report on that order, and on nothing else."""
    if isinstance(order, Launch):
        return isinstance(report, LaunchReport) and (report.uid, report.attempt) == (order.uid, order.attempt)
    return isinstance(report, OrderDone) or (isinstance(order, KeepWarm) and isinstance(report, WarmWorkersSeen))


def _clean(report: Report) -> Report:
    """The report without a handle that is none of Ray's; the actor can be looked up by name."""
    if isinstance(report, LaunchReady) and len(report.handle) > MAX_HANDLE:
        return msgspec.structs.replace(report, handle=b"")
    return report
