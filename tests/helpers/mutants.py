"""Mutants: the product with one rule broken. A harness that does not find each of them proves nothing."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from schedulemesh.core.launch_protocol import BARE, LaunchReport
from schedulemesh.core.records import BLOBS, MESH_KEY
from schedulemesh.supervisor import dispatch as dispatch_module
from schedulemesh.supervisor import mesh as mesh_module
from schedulemesh.supervisor import runner as runner_module
from schedulemesh.supervisor.books import Books
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.effects import Decision, Launch, Write
from schedulemesh.supervisor.events import ActorPhase
from schedulemesh.supervisor.groups import stages
from schedulemesh.supervisor.launcher_supply import LauncherSupply
from schedulemesh.supervisor.launcher_table import LauncherTable
from schedulemesh.supervisor.lifecycle import Lifecycle
from schedulemesh.supervisor.mailbox import Mailbox, Task
from schedulemesh.supervisor.runner import Runner
from schedulemesh.supervisor.store import GcsStore
from schedulemesh.supervisor.transitions import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from schedulemesh.core.launch_protocol import Order, Report
    from schedulemesh.supervisor.agent import Agent
    from schedulemesh.supervisor.events import ActorSeen, TableRead
    from schedulemesh.supervisor.mailbox import Poller


def answers_before_it_persists(patch: pytest.MonkeyPatch) -> None:
    carried_out = Runner._carry_out

    async def mutant(self: Runner, group: Sequence[Decision]) -> None:
        for answer in chain.from_iterable(decision.answers for decision in group):
            self._answer(answer.request_id, answer.reply)
        await carried_out(self, group)

    patch.setattr(Runner, "_carry_out", mutant)


def launches_before_it_persists(patch: pytest.MonkeyPatch) -> None:
    carried_out = Runner._carry_out

    async def mutant(self: Runner, group: Sequence[Decision]) -> None:
        for decision in group:
            launches = [effect for effect in decision.effects if isinstance(effect, Launch)]
            for launch in launches:
                self._act(launch)
                await asyncio.sleep(1.0)
            decision.effects = [effect for effect in decision.effects if effect not in launches]
        await carried_out(self, group)

    patch.setattr(Runner, "_carry_out", mutant)


def frees_what_was_only_asked_to_end(patch: pytest.MonkeyPatch) -> None:
    ordered = Lifecycle._order_end

    def mutant(self: Lifecycle, agent: Agent, now: float, out: Decision) -> None:
        ordered(self, agent, now, out)
        self._end_or_stay(agent, Signal.ABSENT, now, out)

    patch.setattr(Lifecycle, "_order_end", mutant)


def forgets_all_but_the_first_who_waits(patch: pytest.MonkeyPatch) -> None:
    waiters = Books.waiters

    def mutant(self: Books, uid: str, *, creates: bool = False) -> list[str]:
        return waiters(self, uid, creates=creates)[:1]

    patch.setattr(Books, "waiters", mutant)


def forgets_who_asked(patch: pytest.MonkeyPatch) -> None:
    """A retry of a delete then means whoever has the name by now."""
    remember = Books.remember

    def mutant(self: Books, record: Any, request_id: str) -> None:
        remember(self, record, request_id)
        self._asked_of_agents.pop(request_id, None)

    patch.setattr(Books, "remember", mutant)


def does_not_write_who_asked(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Books, record: Any, request_id: str) -> None:
        pass

    patch.setattr(Books, "remember", mutant)


def wipes_its_own_record_first(patch: pytest.MonkeyPatch) -> None:
    async def mutant(self: GcsStore) -> None:
        await self.delete(MESH_KEY)
        for key in await self._keys():
            await self.delete(key)

    patch.setattr(GcsStore, "wipe", mutant)


def trusts_a_launch_that_failed(patch: pytest.MonkeyPatch) -> None:
    """An earlier launch of the same agent may have made an actor."""
    patch.setattr(Launch, "may_exist", False)


def drops_the_kit_before_the_start_is_written(patch: pytest.MonkeyPatch) -> None:
    def deletions_first(group: Sequence[Decision]) -> list[list[Write]]:
        return sorted(stages(group), key=lambda stage: stage[0].value is not None)

    patch.setattr(runner_module, "stages", deletions_first)


def writes_an_agent_before_its_kit(patch: pytest.MonkeyPatch) -> None:
    def agents_first(group: Sequence[Decision]) -> list[list[Write]]:
        return sorted(stages(group), key=lambda stage: stage[0].key.startswith(BLOBS))

    patch.setattr(runner_module, "stages", agents_first)


def writes_a_successor_before_an_end(patch: pytest.MonkeyPatch) -> None:
    """Also where both come at the same time, which dice seldom bring about."""

    def ends_last(group: Sequence[Decision]) -> list[list[Write]]:
        return sorted(stages(group), key=lambda stage: stage[0].frees)

    patch.setattr(runner_module, "stages", ends_last)


def believes_every_table(patch: pytest.MonkeyPatch) -> None:
    """A reading that was asked for before the agent changed says nothing of it."""
    read = Lifecycle.table_read

    def mutant(self: Lifecycle, table: TableRead, now: float, out: Decision) -> None:
        for agent in self._books.agents.values():
            agent.changed_at = 0.0
        read(self, table, now, out)

    patch.setattr(Lifecycle, "table_read", mutant)


def lets_strays_live(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Lifecycle, seen: ActorSeen, out: Decision) -> None:
        pass

    patch.setattr(Lifecycle, "_kill_stray", mutant)


def never_kills_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("schedulemesh.supervisor.lifecycle.KILL_AGAIN_S", 1e6)


def saves_a_stop_before_its_agents(patch: pytest.MonkeyPatch) -> None:
    """After a crash in between the mesh is stopping, and nobody asks its agents to end."""
    ordered = mesh_module._order

    def mesh_first(writes: list[Write]) -> None:
        ordered(writes)
        writes.sort(key=lambda write: write.key != MESH_KEY)

    patch.setattr(mesh_module, "_order", mesh_first)


def takes_every_death_for_a_drop(patch: pytest.MonkeyPatch) -> None:
    """What had its start is then given a second one."""
    told = Lifecycle.actor_seen

    def mutant(self: Lifecycle, seen: ActorSeen, now: float, out: Decision) -> None:
        told(self, msgspec.structs.replace(seen, unmade=seen.phase is ActorPhase.DEAD), now, out)

    patch.setattr(Lifecycle, "actor_seen", mutant)


def takes_a_drop_for_a_death(patch: pytest.MonkeyPatch) -> None:
    """What had no start is then never launched again."""
    told = Lifecycle.actor_seen

    def mutant(self: Lifecycle, seen: ActorSeen, now: float, out: Decision) -> None:
        told(self, msgspec.structs.replace(seen, unmade=False), now, out)

    patch.setattr(Lifecycle, "actor_seen", mutant)


def loses_what_a_launcher_did_not_get(patch: pytest.MonkeyPatch) -> None:
    """What it was sent is then given up after a while, and late."""
    arrive = Mailbox.arrive

    def mutant(self: Mailbox, *args: Any) -> tuple[Poller, list[Task]]:
        poller, _ = arrive(self, *args)
        return poller, []

    patch.setattr(Mailbox, "arrive", mutant)


def believes_any_launcher(patch: pytest.MonkeyPatch) -> None:
    """Also another process than the one that has the lease."""

    def mutant(self: Mailbox, lease: str, actor_id: str, incarnation: str) -> Task | None:
        return self._leased.get(lease)

    patch.setattr(Mailbox, "task_of", mutant)


def believes_any_report(patch: pytest.MonkeyPatch) -> None:
    """Also one about another agent, or another launch of it."""

    def mutant(order: Order, report: Report) -> bool:
        return isinstance(report, LaunchReport) is isinstance(order, Launch)

    patch.setattr(dispatch_module, "_answers", mutant)


def keeps_the_leases_of_a_launcher_that_ended(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Mailbox, actor_id: str, why: str, *, but: str = "") -> None:
        self._pollers.pop(actor_id, None)

    patch.setattr(Mailbox, "lose", mutant)


def keeps_the_leases_of_an_earlier_process(patch: pytest.MonkeyPatch) -> None:
    """Ray's news that the launcher was restarted may be lost, and it asks again."""
    lose = Mailbox.lose

    def mutant(self: Mailbox, actor_id: str, why: str, *, but: str = "") -> None:
        if not but:
            lose(self, actor_id, why)

    patch.setattr(Mailbox, "lose", mutant)


def waits_for_a_launcher_that_hangs(patch: pytest.MonkeyPatch) -> None:
    async def mutant(self: Dispatch, key: str, uid: str) -> None:
        pass

    patch.setattr(Dispatch, "_give_up_launch", mutant)


def starts_no_launcher(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: LauncherSupply, box: Mailbox) -> None:
        pass

    patch.setattr(LauncherSupply, "see_served", mutant)


def orders_nothing_from_the_bare_launcher(patch: pytest.MonkeyPatch) -> None:
    done = Dispatch._done

    async def mutant(self: Dispatch, box: Mailbox, *args: Any) -> bool:
        return box.key == BARE or await done(self, box, *args)

    patch.setattr(Dispatch, "_done", mutant)


def takes_a_lost_launch_for_a_failed_one(patch: pytest.MonkeyPatch) -> None:
    """A launcher that ended may have created an actor."""

    def mutant(self: Task, why: str) -> None:
        self.refuse(why)

    patch.setattr(Task, "lose", mutant)


def forgets_a_launcher_that_only_asked(patch: pytest.MonkeyPatch) -> None:
    asked = LauncherTable.asked

    def mutant(self: LauncherTable, actor_id: str, label: str) -> None:
        if actor_id in self._living:
            asked(self, actor_id, label)

    patch.setattr(LauncherTable, "asked", mutant)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__.replace("_", " "): mutant
    for mutant in (
        answers_before_it_persists,
        launches_before_it_persists,
        frees_what_was_only_asked_to_end,
        forgets_all_but_the_first_who_waits,
        forgets_who_asked,
        does_not_write_who_asked,
        wipes_its_own_record_first,
        trusts_a_launch_that_failed,
        drops_the_kit_before_the_start_is_written,
        writes_an_agent_before_its_kit,
        writes_a_successor_before_an_end,
        believes_every_table,
        lets_strays_live,
        never_kills_again,
        saves_a_stop_before_its_agents,
        takes_every_death_for_a_drop,
        takes_a_drop_for_a_death,
        loses_what_a_launcher_did_not_get,
        believes_any_launcher,
        believes_any_report,
        keeps_the_leases_of_a_launcher_that_ended,
        keeps_the_leases_of_an_earlier_process,
        waits_for_a_launcher_that_hangs,
        starts_no_launcher,
        orders_nothing_from_the_bare_launcher,
        takes_a_lost_launch_for_a_failed_one,
        forgets_a_launcher_that_only_asked,
    )
}
