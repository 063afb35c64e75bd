"""Smoke test of an installed wheel, run from outside the checkout: a pool, an agent, a call, a reconnect, an end."""

from __future__ import annotations

from pathlib import Path

import ray

import schedulemesh


class Greeter(schedulemesh.AgentActor):
    """Answers with its name."""

    def greet(self) -> str:
        return f"hello from {self.name} in {self.labels['pool']}"


def main() -> None:
    home = Path(schedulemesh.__file__).resolve()
    if "site-packages" not in home.parts:
        raise SystemExit(f"schedulemesh was imported from {home}, not from the installed wheel")
    ray.init(num_cpus=2, include_dashboard=False)
    scheduler = schedulemesh.connect()
    scheduler.create_pool("smoke", resources={"cpu": 0.5}, target_agents=1)
    scheduler.create_agent("greeter", "smoke", Greeter)
    handle = schedulemesh.connect().get_agent("greeter")["agent"]["handle"]
    print(ray.get(handle.greet.remote()))
    scheduler.stop(force=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
