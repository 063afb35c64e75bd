"""Training workers: a crash of one costs the steps since its last checkpoint, and nobody has to start it again.

Two workers fit y = 3 x + 1 on a half of the data each; the driver averages what they found. In the middle one worker's
process dies. Ray starts it again (max_restarts), its constructor reads its checkpoint, and the call that was under way
is made again (max_task_retries).

Run it with `python examples/training_workers.py`. The checkpoints lie in a folder that all nodes must share; on one
machine any folder will do.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import ray

import schedulemesh

POOL = "training-pool"
ROUNDS, CRASH_IN = 6, 3
Weights = tuple[float, float]


class Trainer(schedulemesh.AgentActor):
    def __init__(
        self,
        name: str,
        labels: dict[str, str],
        supervisor: Any = None,
        *,
        xs: list[float],
        folder: str,
        rate: float = 0.1,
    ) -> None:
        super().__init__(name, labels, supervisor)
        self.data = [(x, 3 * x + 1) for x in xs]
        self.rate = rate
        self.checkpoint = Path(folder) / f"{name}.json"
        self.steps = json.loads(self.checkpoint.read_text())["steps"] if self.checkpoint.exists() else 0
        if self.steps:
            print(f"started again at step {self.steps}")

    def train(self, weights: Weights, steps: int) -> Weights:
        slope, offset = weights
        for _ in range(steps):
            errors = [(slope * x + offset - y, x) for x, y in self.data]
            slope -= self.rate * sum(error * x for error, x in errors) / len(errors)
            offset -= self.rate * sum(error for error, _ in errors) / len(errors)
        self.steps += steps
        self.checkpoint.write_text(json.dumps({"steps": self.steps}))
        return slope, offset

    def crash(self) -> None:
        os._exit(1)


def main() -> None:
    scheduler = schedulemesh.connect()
    scheduler.create_pool(POOL, resources={"cpu": 0.2, "memory": 128}, target_agents=2)
    try:
        with tempfile.TemporaryDirectory() as folder:
            train(scheduler, folder)
    finally:
        scheduler.delete_pool(POOL, force=True)


def train(scheduler: schedulemesh.Scheduler, folder: str) -> None:
    halves = {"trainer-0": [0.0, 0.5, 1.0], "trainer-1": [1.5, 2.0, -1.0]}
    replies = scheduler.create_agents(
        [
            schedulemesh.AgentRequest(
                name,
                POOL,
                Trainer,
                ray_options={"max_restarts": 3, "max_task_retries": 3, "max_concurrency": 1},
                actor_kwargs={"xs": xs, "folder": folder},
            )
            for name, xs in halves.items()
        ]
    )
    handles = []
    for reply in replies:
        if isinstance(reply, schedulemesh.ScheduleMeshError):
            raise reply
        handles.append(reply["agent"]["handle"])
    weights: Weights = (0.0, 0.0)
    for round_ in range(ROUNDS):
        if round_ == CRASH_IN:
            handles[0].crash.options(max_task_retries=0).remote()
        found = ray.get([handle.train.remote(weights, 20) for handle in handles])
        weights = (sum(slope for slope, _ in found) / len(found), sum(offset for _, offset in found) / len(found))
        print(f"round {round_}: y = {weights[0]:.3f} x + {weights[1]:.3f}")
    for name in halves:
        print(name, "restarts:", scheduler.get_agent(name)["agent"]["restarts"])


if __name__ == "__main__":
    main()
