"""The raylet of this process's node, and the idle worker processes there that belong to no job yet.

Private parts of Ray used here: the raylet's gRPC calls `PrestartWorkers` and `GetNodeStats` (`ray.core.generated`), the
channel to it with Ray's own authentication (`init_grpc_channel`), and `get_runtime_env_info`, which tells a raylet an
environment. If one goes, no worker is kept warm, and agents of pools with `warm_agents` start as those of others do.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc  # type: ignore[import-untyped]  # its types are a package of their own
import ray
from ray.runtime_env import RuntimeEnv

_PYTHON = _WORKER = 0
"""Of Ray's Language and WorkerType."""
_RAYLET_S = 30
"""Time limit of a call to a raylet, in seconds."""


class NotOfferedError(Exception):
    """This version of Ray does not offer it."""


class Raylet:
    """Asks one raylet. A worker without a job becomes one of the job whose actor takes it.

    Workers are asked for without a job, as Ray ends what is idle in a job whose driver has gone.
    """

    def __init__(self, address: str) -> None:
        """Raises NotOfferedError."""
        try:
            from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415 - what lacks it has no warm pools
            from ray._private.utils import get_runtime_env_info  # noqa: PLC0415
            from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc  # noqa: PLC0415
        except ImportError as error:
            raise NotOfferedError(str(error)) from None
        context = ray.get_runtime_context()
        self._messages: Any = node_manager_pb2
        self._environment = get_runtime_env_info(RuntimeEnv.deserialize(context.get_runtime_env_string()))
        self._stub = node_manager_pb2_grpc.NodeManagerServiceStub(init_grpc_channel(address, asynchronous=True))

    @classmethod
    async def of_this_node(cls) -> Raylet:
        return cls(await asyncio.to_thread(_address_of, ray.get_runtime_context().get_node_id()))

    async def prestart(self, count: int, keep_alive_s: int) -> None:
        """Have it start so many processes in this process's environment; it may start fewer.

        One that is idle for longer than `keep_alive_s` may be ended. Raises NotOfferedError.
        """
        await self._asked(
            "PrestartWorkers",
            self._messages.PrestartWorkersRequest(
                language=_PYTHON,
                runtime_env_info=self._environment,
                keep_alive_duration_secs=keep_alive_s,
                num_workers=count,
            ),
        )

    async def idle(self) -> list[int]:
        """The pids of such processes, of whichever environment. Raises NotOfferedError."""
        stats = await self._asked("GetNodeStats", self._messages.GetNodeStatsRequest(include_memory_info=False))
        workers = (worker for worker in stats.core_workers_stats if worker.worker_type == _WORKER)
        return [worker.pid for worker in workers if not worker.job_id.strip(b"\xff")]

    async def _asked(self, call: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, call)(request, timeout=_RAYLET_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise NotOfferedError(call) from None
            raise


def _address_of(node_id: str) -> str:
    (address,) = (
        f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}" for node in ray.nodes() if node["NodeID"] == node_id
    )
    return address
