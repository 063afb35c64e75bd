"""The driver of `harness.serving`: a mesh and Ray Serve in one process, which does what it is told on its input.

One order a line, one answer a line. Everything runs on one asyncio loop that never rests, because in its best mode
Serve routes on the loop of its caller; what blocks is done on a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from harness.cluster import Cluster
from harness.probes import Served
from harness.processes import kill
from harness.sides import CPU, Ours

serve: Any = importlib.import_module("ray.serve")
APP = "bench"
_RETRY_S = 0.01
_ANSWER_S = 5.0
_BACK_S = 120.0


class Driver:
    """Each public method is an order."""

    def __init__(self) -> None:
        self._cluster = Cluster.joined()
        self._ours: Ours
        self._agent: Any = None
        self._handle: Any = None

    async def mesh(self) -> None:
        self._ours = await asyncio.to_thread(Ours, "bench-serving")

    async def serve(self) -> None:
        await asyncio.to_thread(serve.start, proxy_location="Disabled")

    async def callees(self, ongoing: int) -> None:
        """One agent and one replica that stay."""
        (self._agent,) = await asyncio.to_thread(self._ours.create, ["callee"])
        self._handle = await asyncio.to_thread(self._deploy, 1, ongoing)
        await self._agent.ping.remote()
        await self._handle.ping.remote()

    async def burst(self, agents: int, name: str) -> float:
        """Seconds until so many agents have answered."""
        await asyncio.to_thread(self._cluster.await_no_spare_worker)
        names = [f"{name}-{number}" for number in range(agents)]
        began = time.perf_counter()
        handles = await asyncio.to_thread(self._ours.create, names)
        await asyncio.gather(*(handle.ping.remote() for handle in handles))
        took = time.perf_counter() - began
        await asyncio.to_thread(self._ours.end, names)
        return took

    async def deploy(self, replicas: int) -> float:
        """Seconds until Serve says that so many replicas are healthy."""
        await asyncio.to_thread(self._cluster.await_no_spare_worker)
        began = time.perf_counter()
        await asyncio.to_thread(self._deploy, replicas, 5)
        took = time.perf_counter() - began
        await asyncio.to_thread(serve.delete, APP)
        return took

    async def calls(self, side: str, calls: int, in_flight: int) -> float:
        """Seconds for so many calls."""
        handle = self._agent if side == "ours" else self._handle

        async def caller() -> None:
            for _ in range(calls // in_flight):
                await handle.ping.remote()

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return (time.perf_counter() - began) * calls / (calls // in_flight * in_flight)

    async def crash(self, side: str) -> float:
        """Seconds from the SIGKILL of the callee until another process of it answers."""
        handle = self._agent if side == "ours" else self._handle
        await asyncio.to_thread(self._cluster.await_no_spare_worker)
        pid = await handle.pid.remote()
        kill(pid)
        began = time.perf_counter()
        while time.perf_counter() - began < _BACK_S:
            with contextlib.suppress(Exception):  # not back yet, however that is said
                if await asyncio.wait_for(_answer(handle), _ANSWER_S) != pid:
                    return time.perf_counter() - began
            await asyncio.sleep(_RETRY_S)
        raise TimeoutError(f"{side} did not come back within {_BACK_S:g} s")

    def _deploy(self, replicas: int, ongoing: int) -> Any:
        deployment = serve.deployment(Served).options(
            num_replicas=replicas, max_ongoing_requests=ongoing, ray_actor_options={"num_cpus": CPU}
        )
        return serve.run(deployment.bind(), name=APP, route_prefix=None)


async def _answer(handle: Any) -> Any:
    return await handle.pid.remote()


async def main() -> None:
    # Answers go where Ray's own output does not.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    ray.init()
    driver = Driver()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        method: Callable[..., Awaitable[Any]] = getattr(driver, order.pop("what"))
        try:
            print(json.dumps({"result": await method(**order)}), file=answers, flush=True)
        except Exception as error:  # noqa: BLE001 - whoever ordered is told
            print(json.dumps({"problem": f"{type(error).__name__}: {error}"}), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
