"""An online service: many calls at the same time, restarted without limit, found by name, and told before it ends.

The agent is async, so that waiting calls cost next to nothing. Its process is killed once, and callers go on.

Run it with `python examples/online_service.py`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import ray

import schedulemesh

POOL = "service-pool"


class Greeter(schedulemesh.AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, greeting: str) -> None:
        super().__init__(name, labels, supervisor)
        self.greeting = greeting
        self.in_flight = self.most = 0

    async def greet(self, whom: str) -> str:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.2)  # a database, say
        self.in_flight -= 1
        return f"{self.greeting}, {whom}!"

    async def most_in_flight(self) -> int:
        return self.most

    async def crash(self) -> None:
        os._exit(1)

    def on_stop(self) -> None:
        print(f"closing; at most {self.most} calls were in flight")


def main() -> None:
    ray.init(namespace="online")
    scheduler = schedulemesh.connect()
    scheduler.create_pool(POOL, {"tier": "online"}, {"cpu": 0.2, "memory": 128}, target_agents=1)
    try:
        serve(scheduler)
    finally:
        scheduler.delete_pool(POOL, force=True)


def serve(scheduler: schedulemesh.Scheduler) -> None:
    scheduler.create_agent(
        name="greeter",
        pool=POOL,
        actor_class=Greeter,
        ray_options={"max_restarts": -1, "max_task_retries": 3, "max_concurrency": 100, "name": "greeter-main"},
        actor_kwargs={"greeting": "Hello"},
    )
    service = ray.get_actor("greeter-main")  # by Ray's own name; scheduler.get_agent("greeter") does it too

    answers = ray.get([service.greet.remote(f"caller {number}") for number in range(50)])
    print(answers[0], "…", answers[-1], "| most in flight:", ray.get(service.most_in_flight.remote()))

    service.crash.options(max_task_retries=0).remote()
    print("after a crash:", ray.get(service.greet.remote("again")))
    print("restarts:", scheduler.get_agent("greeter")["agent"]["restarts"])


if __name__ == "__main__":
    main()
