"""Batch jobs: one agent for each job, as many at once as the pool allows, and a refusal instead of a silent wait.

Five jobs share a pool of two. Which job has to wait is the driver's decision, because it is told at once that the pool
is full. A job that fails is not restarted (max_restarts 0); the driver tries it again.

Run it with `python examples/batch_jobs.py`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import ray
from ray.exceptions import RayActorError

import schedulemesh

POOL = "batch-jobs"


class Job(schedulemesh.AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, numbers: range) -> None:
        super().__init__(name, labels, supervisor)
        self.numbers = numbers

    def run(self) -> int:
        return sum(number * number for number in self.numbers)


def main() -> None:
    scheduler = schedulemesh.connect()
    scheduler.create_pool(POOL, resources={"cpu": 0.2, "memory": 128}, target_agents=2)
    try:
        work(scheduler)
    finally:
        scheduler.delete_pool(POOL, force=True)


def work(scheduler: schedulemesh.Scheduler) -> None:
    waiting = deque((f"job-{number}", range(number * 1000, (number + 1) * 1000)) for number in range(5))
    running: dict[ray.ObjectRef[Any], tuple[str, range]] = {}
    total = 0
    while waiting or running:
        while waiting:
            name, numbers = waiting[0]
            try:
                agent = scheduler.create_agent(
                    name,
                    POOL,
                    Job,
                    ray_options={"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 1},
                    actor_kwargs={"numbers": numbers},
                )["agent"]
            except schedulemesh.InsufficientPoolCapacityError as full:
                print(f"{name} waits: cpu {full.asked['cpu']:g} asked, {full.available['cpu']:g} available")
                break
            running[agent["handle"].run.remote()] = waiting.popleft()
        (done,), _ = ray.wait(list(running))
        name, numbers = running.pop(done)
        try:
            result = ray.get(done)
        except RayActorError as error:
            print(f"{name} is tried again: {error}")
            waiting.append((name, numbers))
        else:
            total += result
            print(f"{name} is done")
        scheduler.delete_agent(name)
    print("sum of squares below 5000:", total)


if __name__ == "__main__":
    main()
