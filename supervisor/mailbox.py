"""The mailbox of one environment: orders that wait for a launcher, and the leases of those that were taken.

Knows no Ray and waits for nothing: `dispatch` calls it, and the results of orders are futures.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence

from schedulemesh.core.launch_protocol import (
    LABEL_LENGTH,
    Held,
    Kill,
    Launch,
    LaunchLost,
    LeasedOrder,
    Order,
    Report,
    Stop,
)

MAX_ORDERS, MAX_BYTES = 64, 32 * 1024 * 1024
"""Orders and bytes of blobs that one poll is answered with."""
ABSENT_S = 10.0
"""A launcher that has not asked for so many seconds is not counted on."""


class LauncherLostError(Exception):
    """The launcher that had taken the order terminated before it reported."""


class Task:
    """One order and its lease. `result` is the launcher's report, or LauncherLostError."""

    def __init__(self, order: Order, class_blob: bytes, args_blob: bytes, *, for_only: str) -> None:
        self.order = order
        self.blobs = class_blob, args_blob
        self.for_only = for_only
        """The actor id of the launcher that alone can carry it out, or an empty text."""
        self.lease = uuid.uuid4().hex
        self.holder: tuple[str, str] | None = None
        """Actor id and incarnation of the launcher that took it."""
        self.confirmed = False
        self.result: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

    @property
    def uid(self) -> str:
        return self.order.uid if isinstance(self.order, Launch) else ""

    def leased(self) -> LeasedOrder:
        return LeasedOrder(self.lease, self.order, *self.blobs)

    def refuse(self, why: str) -> None:
        """No launcher takes it: nothing of it was done."""
        if self.result.done():
            return
        if isinstance(self.order, Launch):
            self.result.set_result(self.order.unmade(why))
        else:
            self.result.set_exception(LauncherLostError(why))

    def lose(self, why: str) -> None:
        """The holder has terminated: a launch may have created an actor, anything else is to be ordered again."""
        if self.result.done():
            return
        if isinstance(self.order, Launch):
            self.result.set_result(LaunchLost(self.order.uid, self.order.attempt, why))
        else:
            self.result.set_exception(LauncherLostError(why))


class Poller:
    """A launcher that asks for orders. `wake` is set when there may be something for it."""

    def __init__(self, actor_id: str, incarnation: str) -> None:
        self.actor_id = actor_id
        self.incarnation = incarnation
        self.asked_at = 0.0
        self.polls = 0
        """Number of its latest poll; an earlier one is answered with nothing."""
        self.waits = False
        self.uids: frozenset[str] = frozenset()
        """Agents whose launches are in flight in it."""
        self.wake = asyncio.Event()


class Mailbox:
    """Orders for the launchers of one environment; normally there is one such launcher."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.label = key[:LABEL_LENGTH]
        self.used_at = 0.0
        """Loop time at which an order was last added or reported on."""
        self.changed = asyncio.Event()
        """Set whenever a launcher asks, is seen or is lost."""
        self.failure = ""
        """Why the environment's last launcher could not start; forgotten once one asks."""
        self._queue: deque[Task] = deque()
        self._leased: dict[str, Task] = {}
        self._pollers: dict[str, Poller] = {}

    @property
    def waiting(self) -> bool:
        """Whether an order waits for a launcher."""
        return bool(self._queue)

    @property
    def empty(self) -> bool:
        return not (self._queue or self._leased or self._pollers)

    # -- orders --------------------------------------------------------------------------------------------------

    def add(self, order: Order, *blobs: bytes, now: float, for_only: str = "") -> Task:
        """Add an order; the launcher that is to take it finds it with its next poll."""
        class_blob, args_blob = blobs or (b"", b"")
        task = Task(order, class_blob, args_blob, for_only=for_only)
        self._queue.append(task)
        self.used_at = now
        for poller in self._pollers.values():
            poller.wake.set()
        return task

    def drop(self, task: Task) -> None:
        """Forget a task: its result is not waited for any more, and a late report on it is refused."""
        if task in self._queue:
            self._queue.remove(task)
        self._leased.pop(task.lease, None)

    def withdraw_launch(self, uid: str) -> Task | None:
        """Take the launch of this agent back, if no launcher has taken it."""
        task = next((task for task in self._queue if task.uid == uid), None)
        if task is not None:
            self._queue.remove(task)
        return task

    def refuse(self, why: str) -> None:
        """Give up every order that no launcher has taken."""
        while self._queue:
            self._queue.popleft().refuse(why)

    def turn_away(self) -> None:
        """Give up the stops and kills that no launcher has taken: they need not be carried out here."""
        for task in [task for task in self._queue if isinstance(task.order, Stop | Kill)]:
            self._queue.remove(task)
            task.lose("no launcher of this environment takes it")

    def holder_of_launch(self, uid: str) -> str:
        """Return the actor id of the launcher in which this agent's launch is in flight, or an empty text."""
        holders = (task.holder[0] for task in self._leased.values() if task.holder and task.uid == uid)
        return next(holders, "") or next((p.actor_id for p in self._pollers.values() if uid in p.uids), "")

    def launch_in_flight(self, uid: str) -> Task | None:
        """Return this agent's launch, if a launcher has taken it."""
        return next((task for task in self._leased.values() if uid and task.uid == uid), None)

    def task_of(self, lease: str, actor_id: str, incarnation: str) -> Task | None:
        """Return the task that this launcher holds under this lease."""
        task = self._leased.get(lease)
        return task if task is not None and task.holder == (actor_id, incarnation) else None

    # -- launchers -----------------------------------------------------------------------------------------------

    def arrive(self, actor_id: str, incarnation: str, held: Sequence[Held], now: float) -> tuple[Poller, list[Task]]:
        """A launcher asks. Returns it, and the tasks that it was given before without having got them.

        What an earlier process of the same actor held is lost.
        """
        poller = self._pollers.get(actor_id)
        if poller is None or poller.incarnation != incarnation:
            self.lose(actor_id, "its launcher's process ended", but=incarnation)
            poller = self._pollers[actor_id] = Poller(actor_id, incarnation)
        else:
            poller.wake.set()  # the poll before this one is answered with nothing
        poller.asked_at = now
        poller.polls += 1
        poller.uids = frozenset(one.uid for one in held if one.uid)
        leases = {one.lease for one in held}
        again = []
        for task in self._leased.values():
            if task.holder == (actor_id, incarnation):
                task.confirmed = task.confirmed or task.lease in leases
                if task.lease not in leases:
                    again.append(task)
        self.failure = ""
        self.changed.set()
        return poller, again

    def take(self, poller: Poller, now: float) -> list[Task]:
        """Lease to this launcher what waits for it, as far as one answer may hold."""
        taken: list[Task] = []
        size = 0
        for task in list(self._queue):
            if len(taken) == MAX_ORDERS or (taken and size > MAX_BYTES):
                break
            if self._is_for(task, poller, now):
                self._queue.remove(task)
                task.holder = poller.actor_id, poller.incarnation
                self._leased[task.lease] = task
                taken.append(task)
                size += sum(map(len, task.blobs))
        return taken

    def leave(self, poller: Poller) -> None:
        """The launcher is told to terminate, and gets nothing more."""
        self._pollers.pop(poller.actor_id, None)

    def lose(self, actor_id: str, why: str, *, but: str = "") -> None:
        """A launcher terminated: what it held is lost, except what its process `but` holds."""
        for task in [task for task in self._leased.values() if task.holder and task.holder[0] == actor_id]:
            if task.holder != (actor_id, but):
                del self._leased[task.lease]
                task.lose(why)
        poller = self._pollers.get(actor_id)
        if poller is not None and poller.incarnation != but:
            del self._pollers[actor_id]
            poller.wake.set()
        self.changed.set()

    def forget_absent(self, now: float) -> None:
        """Forget launchers that have not asked for a while and have no lease; one that asks again is as new."""
        for poller in list(self._pollers.values()):
            if not self._is_present(poller, now) and not self.holds(poller):
                del self._pollers[poller.actor_id]

    def lose_unconfirmed(self, tasks: Sequence[Task], why: str) -> None:
        """Give up what was sent to a launcher that has not said since that it has it."""
        for task in tasks:
            if not task.confirmed and self._leased.pop(task.lease, None) is not None:
                task.lose(why)

    def has(self, poller: Poller) -> bool:
        """Whether this process asks here, and was neither lost nor told to terminate."""
        return self._pollers.get(poller.actor_id) is poller

    def holds(self, poller: Poller) -> bool:
        """Whether this launcher has a lease."""
        return any(task.holder == (poller.actor_id, poller.incarnation) for task in self._leased.values())

    def is_served(self, now: float) -> bool:
        """Whether some launcher asks for this mailbox's orders."""
        return any(self._is_present(poller, now) for poller in self._pollers.values())

    def wake_all(self) -> None:
        for poller in self._pollers.values():
            poller.wake.set()

    def _is_for(self, task: Task, poller: Poller, now: float) -> bool:
        """A launch that is in flight in another launcher that is present is left to that one."""
        wanted = task.for_only or (self.holder_of_launch(task.uid) if task.uid else "")
        other = self._pollers.get(wanted)
        return wanted in ("", poller.actor_id) or other is None or not self._is_present(other, now)

    @staticmethod
    def _is_present(poller: Poller, now: float) -> bool:
        return poller.waits or now - poller.asked_at < ABSENT_S
