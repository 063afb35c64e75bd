"""Random requests and observations in every order: hypothesis looks for short stories, long walks for deep ones."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from mesh_machine import MeshMachine

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(600)  # time to shrink what was found

TestMesh = MeshMachine.TestCase
TestMesh.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

WALKS, STEPS = 80, 120


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_long_walk_through_everything_that_can_happen(seed: int) -> None:
    """The same machine, driven by dice: every invariant after every step, and everyone answered in the end."""
    dice = Random(seed)  # noqa: S311 - dice
    machine = MeshMachine()
    machine.some_agents_run(dice.randrange(4))
    for _ in range(STEPS):
        step(machine, dice)
        machine.what_is_used_is_the_sum_of_holds()
        machine.no_capacity_comes_back_while_its_actor_lives()
        machine.one_living_actor_stands_behind_a_name()
    machine.teardown()


def step(machine: MeshMachine, dice: Random) -> None:
    world, at = machine.world, dice.randrange(8)
    name, pool, tenth, heads = dice.choice("abc"), dice.choice("pq"), dice.randint(1, 7) / 10, dice.random() < 0.5
    change = dice.choice(["create", "resize", "force resize", "delete", "force delete"])
    cpu, ray_name = dice.choice([None, 0.1, 0.2, 0.7]), dice.choice([None, None, None, "a", "other"])
    crash = dice.choice(["now", "when all is told", "while writing"])
    unfinished = any(not actor.constructed for actor in world.living())
    possible: list[tuple[int, Callable[[], None]]] = [
        (1, lambda: machine.change_a_pool(pool, tenth, change)),
        (5, lambda: machine.create_agent(name, pool, cpu, ray_name, heads, dice.choice([300.0, 5.0]))),
        (3, lambda: machine.delete_agent(name, dice.choice([0.0, 30.0]), dice.random() < 0.3)),
        (2, lambda: machine.ask_again(at)),
        (6 * bool(world.orders or world.launching), lambda: machine.launchers_work(at, dice.randrange(3))),
        (1 * bool(world.launching), lambda: machine.a_launch_goes_wrong(at, heads)),
        (3 * unfinished, lambda: machine.constructor_ends(at, dice.random() < 0.2)),
        (1 * bool(world.living()), lambda: machine.actor_crashes(at, heads)),
        (1, lambda: machine.all_goes_well(dice.randint(1, 3))),
        (8 * bool(world.news), lambda: machine.news_arrives(at, dice.random() < 0.3)),
        (2 * bool(world.news), machine.all_news_arrives),
        (2, lambda: machine.table_is_read(heads)),
        (3, lambda: machine.time_passes(dice.choice([0.01, 0.1, 6.0, 40.0]))),
        (1, lambda: machine.supervisor_crashes(crash, dice.randrange(5))),
    ]
    weights, moves = zip(*possible, strict=True)
    dice.choices(moves, weights)[0]()
