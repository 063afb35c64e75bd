"""A random schedule: several clients, a world full of accidents, and several crashes; the same for the same seed."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from chance import Dice
from living_ray import CONSTRUCTOR, DIES_ONCE, HANGS, HOOK, IGNORES, RAISES, RAISES_AGAIN
from mesh_driver import agent_body
from stage import Stage, ViolationError

from schedulemesh.core.messages import (
    Announce,
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    DeleteAgent,
    DeletePool,
    Environment,
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

NAMES, POOLS = "abc", "pq"
MAX_CLIENTS, MAX_REQUESTS = 5, 8
MAX_CRASHES = 6
MEAN_POINTS = (10, 30, 90)
"""Between two crashes, about so many points: hardly up again, in the middle of things, or long after."""
MAX_ACCIDENTS = 8
MEAN_QUIET_S = 2.0
"""Between two accidents of actors and launchers."""


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
        self.stage = Stage(self._chance, dice=self._dice, deaths=self._next_death, traced=traced)

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
            living, hosts = ray.living(), list(ray.hosts.values())
            kind = dice.randrange(4)
            if living and kind < 2:
                ray.crash(dice.choice(living))
            elif living and kind == 2:
                ray.die(dice.choice(living))
            elif hosts:
                dice.choice(hosts).die()

    def _request(self) -> AnyBody:
        dice = self._dice
        name, pool, tenth, heads = dice.choice(NAMES), dice.choice(POOLS), dice.randint(1, 7) / 10, dice.random() < 0.5
        possible: list[tuple[float, Callable[[], AnyBody]]] = [
            (2, lambda: CreatePool(pool, {}, {"cpu": 1.0 if heads else tenth}, 0 if heads else 3, False)),
            (0.3, lambda: CreatePool(pool, {}, {"cpu": 100.0}, 0, False)),
            (1, lambda: ResizePool(pool, {"cpu": tenth * 2}, 0, dice.random() < 0.3)),
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
            (0.2, lambda: Announce(Environment(node_id="n1"))),
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
            resources=dice.choice([{"cpu": 0.1}, {"cpu": 0.2}, {"cpu": 0.7}]),
            options=options if ray_name is None else {**options, "name": ray_name, "namespace": "mesh-ns"},
            labels={label: way for label, way in ways.items() if way is not None},
            timeout_s=dice.choice([1.0, 5.0, 20.0]),
        )
