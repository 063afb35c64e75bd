"""A random schedule: several clients, a world full of accidents, and several crashes; the same for the same seed."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from chance import Dice
from impostor import imitate
from living_ray import CONSTRUCTOR, DIES_ONCE, HANGS, HOOK, IGNORES, RAISES, RAISES_AGAIN
from mesh_driver import agent_body
from stage import Stage, ViolationError

from schedulemesh.core.environments import Environment
from schedulemesh.core.launch_protocol import BARE
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    DeleteAgent,
    DeletePool,
    GetAgent,
    GetPool,
    ListAgents,
    ListPools,
    ResizePool,
    Status,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher_actors import LauncherActor

NAMES, POOLS = "abc", "pq"
MAX_CLIENTS, MAX_REQUESTS = 5, 8
MAX_CRASHES = 6
MEAN_POINTS = (10, 30, 90)
"""Between two crashes, about so many points: hardly up again, in the middle of things, or long after."""
MAX_ACCIDENTS = 8
MEAN_QUIET_S = 2.0
"""Between two accidents of actors and launchers."""


ENVIRONMENTS = (Environment(node_id="n1"), Environment(node_id="n1", paths=["/other"]))
FROZEN_S = (1.0, 12.0, 40.0, None)
"""Short enough to be back before anybody notices, or so long that it is given up, and its work done by another."""
HIT_TOO = 0.3


class Ran(NamedTuple):
    steps: int
    crashes: int
    strays: int


class RandomSchedule:
    """One schedule. `run` raises ViolationError when a promise is broken."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self._dice = Random(seed)  # noqa: S311 - dice
        self._chance = Dice(self._dice)
        self._crashes_left = self._dice.randint(1, MAX_CRASHES)
        self.stage = Stage(
            self._chance, dice=self._dice, deaths=self._next_death, fate=self._end_with_supervisor, traced=traced
        )

    def run(self) -> Ran:
        try:
            return self._run()
        finally:
            self.stage.close()

    def tell(self) -> list[str]:
        """Run it for the sake of its story, whether a promise is broken or not."""
        with contextlib.suppress(ViolationError):
            self.run()
        return self.stage.trace or []

    def _run(self) -> Ran:
        stage = self.stage
        stage.start_supervisor()
        stage.spawn(self._clients())
        accidents = stage.loop.create_task(self._accidents())
        stage.until_answered()
        accidents.cancel()
        self._chance.calm = True
        self._crashes_left = 0
        if stage.process is not None:
            stage.process.loop.dies_at = 0
        stage.until_settled()
        return Ran(stage.timeline.steps, stage.crashes, len(stage.judge.strays))

    def _next_death(self) -> int:
        if self._crashes_left <= 0:
            return 0
        self._crashes_left -= 1
        return 1 + int(self._dice.expovariate(1 / self._dice.choice(MEAN_POINTS)))

    async def _clients(self) -> None:
        for pool in POOLS:
            await self.stage.ask(CreatePool(pool, {}, {"cpu": 1.0}, 0, False))
        for _ in range(self._dice.randint(1, MAX_CLIENTS)):
            self.stage.spawn(self._client(self._dice.randint(1, MAX_REQUESTS)))

    async def _client(self, requests: int) -> None:
        for _ in range(requests):
            await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.001, 0.1, 1.0)))
            await self.stage.ask(self._request())

    async def _accidents(self) -> None:
        dice, ray = self._dice, self.stage.ray
        # Not without end, or an accident would mend in the end what the mesh left undone.
        for _ in range(dice.randint(0, MAX_ACCIDENTS)):
            await asyncio.sleep(dice.expovariate(1 / MEAN_QUIET_S))
            living, launchers = ray.living(), ray.launchers.living()
            kind = dice.randrange(6)
            if living and kind < 2:
                ray.crash(dice.choice(living))
            elif living and kind == 2:
                ray.die(dice.choice(living))
            elif launchers:
                dice.choice(LAUNCHER_ACCIDENTS)(self, dice.choice(launchers))

    def _restart_launcher(self, launcher: LauncherActor) -> None:
        self.stage.ray.launchers.restart(launcher)

    def _end_launcher(self, launcher: LauncherActor) -> None:
        self.stage.ray.launchers.end(launcher, "its node died")

    def _lose_driver(self, launcher: LauncherActor) -> None:
        self.stage.ray.launchers.lose_driver(launcher)

    def _freeze_launcher(self, launcher: LauncherActor) -> None:
        seconds = self._dice.choice(FROZEN_S)
        if launcher.key != BARE or seconds is not None:  # nobody replaces a bare one that hangs for ever
            self.stage.ray.launchers.freeze(launcher, seconds)

    def _imitate_launcher(self, launcher: LauncherActor) -> None:
        if launcher.process is not None:
            self.stage.spawn(imitate(self.stage, launcher.process, self._dice))

    def _end_with_supervisor(self, stage: Stage) -> None:
        """In some of the crashes the launchers are hit too, as where all ran on one node."""
        kind = self._dice.random()
        for launcher in stage.ray.launchers.living() if not self._chance.calm and kind < HIT_TOO else ():
            (self._end_launcher if kind < HIT_TOO / 2 else self._restart_launcher)(launcher)

    def _request(self) -> AnyBody:
        dice = self._dice
        name, pool, tenth, heads = dice.choice(NAMES), dice.choice(POOLS), dice.randint(1, 7) / 10, dice.random() < 0.5
        possible: list[tuple[float, Callable[[], AnyBody]]] = [
            (2, lambda: CreatePool(pool, {}, {"cpu": 1.0 if heads else tenth}, 0 if heads else 3, False)),
            (0.3, lambda: CreatePool(pool, {}, {"cpu": 100.0}, 0, False)),
            (0.3, lambda: CreatePool(pool, {}, {"cpu": tenth}, 3, False, 2, dice.choice(ENVIRONMENTS))),
            (1, lambda: ResizePool(pool, {"cpu": tenth * 2}, 0, dice.random() < 0.3)),
            (0.2, lambda: ResizePool(pool, None, None, False, dice.choice([0, 2]), dice.choice(ENVIRONMENTS))),
            (1, lambda: DeletePool(pool, heads)),
            (8, self._agent),
            (1, lambda: CreateAgents([self._agent() for _ in range(dice.randint(1, 3))])),
            (4, lambda: DeleteAgent(name, dice.choice([0.0, 0.5, 5.0]), dice.random() < 0.3)),
            (0.3, lambda: Stop(heads)),
            (1, lambda: GetAgent(name)),
            (0.3, lambda: GetPool(pool)),
            (0.2, ListPools),
            (0.2, lambda: ListAgents(None, {})),
            (0.2, Status),
        ]
        weights, bodies = zip(*possible, strict=True)
        body: AnyBody = dice.choices(bodies, weights)[0]()
        return body

    def _agent(self) -> CreateAgent:
        dice = self._dice
        ways = {
            CONSTRUCTOR: dice.choices([None, RAISES, HANGS, DIES_ONCE, RAISES_AGAIN], [10, 1, 1, 1, 1])[0],
            HOOK: dice.choices([None, IGNORES], [5, 1])[0],
        }
        ray_name = dice.choice([None, None, None, "a", "other"])
        options = {"get_if_exists": dice.random() < 0.5}
        return agent_body(
            dice.choice(NAMES),
            pool=dice.choice(POOLS),
            request_id=self.stage.new_id(),
            environment=dice.choice(ENVIRONMENTS),
            resources=dice.choice([{"cpu": 0.1}, {"cpu": 0.2}, {"cpu": 0.7}]),
            options=options if ray_name is None else {**options, "name": ray_name, "namespace": "mesh-ns"},
            labels={label: way for label, way in ways.items() if way is not None},
            timeout_s=dice.choice([1.0, 5.0, 20.0]),
        )


LAUNCHER_ACCIDENTS: tuple[Callable[[RandomSchedule, LauncherActor], None], ...] = (
    RandomSchedule._restart_launcher,
    RandomSchedule._end_launcher,
    RandomSchedule._lose_driver,
    RandomSchedule._freeze_launcher,
    RandomSchedule._imitate_launcher,
)
