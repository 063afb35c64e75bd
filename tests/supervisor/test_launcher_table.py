"""The launchers as Ray's table has them: which live, which have ended, and which only ever crash."""

from __future__ import annotations

import asyncio

import pytest
from dispatch_bench import KEY, OTHER_KEY, play, sighted

from schedulemesh.core.launch_protocol import LABEL_LENGTH
from schedulemesh.supervisor.events import ActorPhase, LaunchersCounted
from schedulemesh.supervisor.launcher_table import MAX_CRASHES, OWN, LauncherTable

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase
LABEL = KEY[:LABEL_LENGTH]


@pytest.fixture
def table() -> LauncherTable:
    return LauncherTable()


@pytest.mark.parametrize("phase", [PENDING, ALIVE])
def test_a_launcher_that_starts_or_works_has_not_ended(table: LauncherTable, phase: ActorPhase) -> None:
    assert not table.see(sighted("l1", phase))
    assert table.living() == [sighted("l1", phase)]


def test_each_restart_is_the_end_of_one_process(table: LauncherTable) -> None:
    table.see(sighted("l1"))
    told = [(RESTARTING, 1), (RESTARTING, 1), (ALIVE, 1), (RESTARTING, 1), (RESTARTING, 2), (ALIVE, 2)]
    assert [table.see(sighted("l1", phase, restarts=restarts)) for phase, restarts in told] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def test_one_that_is_first_seen_while_it_restarts_has_lost_a_process(table: LauncherTable) -> None:
    assert table.see(sighted("l1", RESTARTING, restarts=1))


def test_a_dead_launcher_is_gone(table: LauncherTable) -> None:
    table.see(sighted("l1"))
    assert table.see(sighted("l1", DEAD))
    assert table.living() == []
    assert not table.has(LABEL)


def test_the_death_of_one_that_was_never_seen_is_told_too(table: LauncherTable) -> None:
    """It may have asked before its first message came."""
    assert table.see(sighted("l1", DEAD))


def test_launchers_are_found_by_the_label_of_their_environment(table: LauncherTable) -> None:
    table.see(sighted("l1"))
    assert table.has(LABEL)
    assert not table.has(OTHER_KEY[:LABEL_LENGTH])


def test_one_reading_without_a_launcher_says_nothing_and_a_second_says_it_is_gone(table: LauncherTable) -> None:
    table.see(sighted("l1"))
    assert table.absent([]) == []
    assert table.living() == [sighted("l1")]
    assert table.absent([]) == [sighted("l1", DEAD)]
    assert table.living() == []
    assert table.absent([]) == []


@pytest.mark.parametrize("pushed", [True, False])
def test_two_readings_count_only_in_a_row(table: LauncherTable, pushed: bool) -> None:
    table.see(sighted("l1"))
    for _ in range(5):
        assert table.absent([]) == []
        if pushed:
            table.see(sighted("l1"))
        else:
            assert table.absent([sighted("l1")]) == []
    assert table.living() == [sighted("l1")]


def test_one_that_asked_and_was_never_told_of_is_gone_after_two_readings_too(table: LauncherTable) -> None:
    table.asked("l1", LABEL)
    assert table.living() == [], "only what Ray tells is counted"
    assert table.absent([]) == []
    (gone,) = table.absent([])
    assert (gone.actor_id, gone.label, gone.phase) == ("l1", LABEL, DEAD)


def test_a_launcher_that_crashed_so_often_without_asking_is_given_up(table: LauncherTable) -> None:
    for restarts in range(MAX_CRASHES):
        table.see(sighted("l1", RESTARTING, restarts=restarts))
        assert not table.crashes(LABEL)
    table.see(sighted("l1", RESTARTING, restarts=MAX_CRASHES))
    assert table.crashes(LABEL)
    assert not table.crashes(OTHER_KEY[:LABEL_LENGTH])


def test_crashes_are_counted_from_when_it_asked(table: LauncherTable) -> None:
    table.see(sighted("l1", ALIVE, restarts=MAX_CRASHES))
    assert table.crashes(LABEL)
    table.asked("l1", LABEL)
    assert not table.crashes(LABEL)
    table.see(sighted("l1", RESTARTING, restarts=2 * MAX_CRASHES - 1))
    assert not table.crashes(LABEL)
    table.see(sighted("l1", RESTARTING, restarts=2 * MAX_CRASHES))
    assert table.crashes(LABEL)


def test_the_crashes_of_a_dead_launcher_are_not_the_next_ones(table: LauncherTable) -> None:
    table.see(sighted("l1", RESTARTING, restarts=MAX_CRASHES))
    table.see(sighted("l1", DEAD))
    table.see(sighted("l2"))
    assert not table.crashes(LABEL)


def test_the_living_are_counted_and_so_are_those_that_the_mesh_started(table: LauncherTable) -> None:
    table.see(sighted("l1", name="mesh:launcher:0"))
    table.see(sighted("l2", RESTARTING, name=f"mesh:launcher:0{OWN}"))
    table.see(sighted("l3", DEAD, name=f"mesh:launcher:1{OWN}"))
    assert table.count() == LaunchersCounted(2, 1)
    assert table.crowded(1)
    assert not table.crowded(2)


def test_whoever_waits_goes_on_when_something_is_seen_or_when_time_is_up() -> None:
    async def scenario() -> tuple[float, float]:
        table, loop = LauncherTable(), asyncio.get_running_loop()
        began = loop.time()
        await table.wait(7.0)
        in_vain = loop.time() - began
        loop.call_later(2.0, table.see, sighted("l1"))
        await table.wait(7.0)
        return in_vain, loop.time() - began - in_vain

    assert play(scenario()) == pytest.approx((7.0, 2.0), abs=0.1)
