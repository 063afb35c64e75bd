"""One launch in a launcher: load the class, create the actor, wait until its constructor has finished.

Not public in Ray: the `_labels` option, which puts the agent's uid and its mesh into Ray's actor table. Without it, the
uid would have to stand in the actor's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import msgspec
import ray
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.launch_protocol import (
    AGENT_LABEL,
    MESH_LABEL,
    Address,
    Launch,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    LeasedOrder,
)
from schedulemesh.core.names import mesh_label
from schedulemesh.core.options import opaque_bytes
from schedulemesh.raycompat.deaths import was_never_created
from schedulemesh.raycompat.handle_bytes import to_bytes
from schedulemesh.runtime import env_vars
from schedulemesh.runtime.actor_table import row_of
from schedulemesh.runtime.actors import find, id_of, plain, sendable
from schedulemesh.runtime.agent_class import UnmadeError
from schedulemesh.runtime.class_loader import ClassLoader
from schedulemesh.runtime.warm_workers import WarmWorkers

CHUNK = 64 * 1024
"""Arguments travel in pieces this small, because Ray puts a larger one (about 100 KB) into the object store, owned by
this launcher; when the launcher is gone, an agent whose arguments it owned cannot be restarted."""
NAME_TRIED_S = 5.0
"""How long a name that Ray still calls taken is tried again: it comes free a moment after its actor's end."""
MAX_CAUSE = 64 * 1024
"""Characters of a cause that are reported: its beginning and its end. A message of many MB would be refused."""
_RETRY_S = 0.1
_GROUPS = "concurrency_groups"


class Launching:
    """One launch in flight. A later lease of the same agent's launch takes it over; its actor is created once."""

    def __init__(
        self, leased: LeasedOrder, mesh: str, namespace: str, classes: ClassLoader, warm_workers: WarmWorkers
    ) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._classes = classes
        self._warm_workers = warm_workers
        self.given_up = asyncio.Event()
        self.handle: Any = None
        self.renew(leased)

    def renew(self, leased: LeasedOrder) -> None:
        """Go on under this lease; the report is about its attempt."""
        assert isinstance(leased.order, Launch)  # noqa: S101 - for the type checker
        self.lease = leased.lease
        self.order: Launch = leased.order
        self._blobs = leased.class_blob, leased.args_blob

    async def run(self) -> LaunchReady | LaunchFailed | LaunchLost:
        """Bring the agent up. Never raises: what a user's code raised is reported as text."""
        try:
            report = await self._run()
        except UnmadeError as error:
            report = self.order.unmade(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, an actor may have been created by then
            report = LaunchLost(self.order.uid, self.order.attempt, f"{type(error).__name__}: {plain(str(error))}")
        return (
            report if isinstance(report, LaunchReady) else msgspec.structs.replace(report, cause=_short(report.cause))
        )

    async def _run(self) -> LaunchReady | LaunchFailed | LaunchLost:
        order = self.order
        if order.adopt is not None:
            self.handle = await find(Address(order.uid, order.adopt, order.actor_name, order.namespace))
            if self.handle is None:  # it had its start, and is not given a second one
                return LaunchLost(order.uid, self.order.attempt, "the actor to be adopted is gone")
        else:
            class_blob, args_blob = self._blobs
            groups = order.options.get(_GROUPS)
            actor_class = await self._classes.get(f"{order.class_blob} {groups}", class_blob, groups, self.given_up)
            self.handle = await self._create(actor_class, args_blob)
        if self.given_up.is_set():
            ray.kill(self.handle, no_restart=True)
        while True:
            try:
                await self.handle.__ray_ready__.remote()
            except ActorUnavailableError:
                await asyncio.sleep(_RETRY_S)  # its process died in the constructor; Ray starts it again
            except ActorDiedError as error:
                return await self._died(error)
            else:
                return await self._ready()

    async def _died(self, error: ActorDiedError) -> LaunchFailed | LaunchLost:
        row = await row_of(id_of(self.handle))
        if row is not None and was_never_created(row):  # adopted too early: the launcher that asked for it had gone
            return LaunchLost(self.order.uid, self.order.attempt, plain(str(error)))
        return LaunchFailed(self.order.uid, self.order.attempt, plain(str(error)))

    async def _ready(self) -> LaunchReady:
        actor_id, row = id_of(self.handle), None
        with contextlib.suppress(Exception):  # it is up; where, the watcher's updates will say too
            row = await row_of(actor_id)
        serialized = to_bytes(self.handle)
        ready = LaunchReady(self.order.uid, self.order.attempt, actor_id, handle=serialized)
        if row is None:
            return ready
        return LaunchReady(ready.uid, ready.attempt, actor_id, row.address.node_id.hex(), row.pid, handle=ready.handle)

    async def _create(self, actor_class: Any, args_blob: bytes) -> Any:
        """Return the new actor's handle. Raises UnmadeError when there is none."""
        order = self.order
        chunks = [args_blob[start : start + CHUNK] for start in range(0, len(args_blob), CHUNK)]
        until = time.monotonic() + NAME_TRIED_S
        try:
            actor = actor_class.options(**self._options())
        except Exception as error:  # noqa: BLE001 - Ray checks options with many kinds of exceptions
            raise UnmadeError(f"Ray does not take its options: {type(error).__name__}: {error}") from None
        while not self.given_up.is_set():
            try:
                return actor.remote(order.agent, order.labels, *chunks)
            except (ValueError, TypeError) as error:
                if "already" not in str(error):
                    raise UnmadeError(f"{type(error).__name__}: {plain(str(error))}") from None
            if self.order.may_exist and (mine := await self._created_before()) is not None:
                return mine
            if time.monotonic() > until:
                taken = f"the actor name {order.actor_name!r} is taken in namespace {order.namespace!r}"
                todo = "give the agent another with ray_options['name'], or another namespace"
                raise UnmadeError(f"{taken} by an actor that is not this mesh's; {todo}")
            await asyncio.sleep(_RETRY_S)
        raise UnmadeError("it was deleted before it was launched")

    async def _created_before(self) -> Any:
        """Return the actor that has the name, if an earlier launch created it for this same agent after all."""
        order = self.order
        handle = await find(Address(order.uid, None, order.actor_name, order.namespace))
        row = await row_of(id_of(handle)) if handle is not None else None
        return handle if row is not None and row.labels.get(AGENT_LABEL) == order.uid else None

    def _options(self) -> dict[str, Any]:
        """Return the order's options as Ray takes them."""
        order = self.order
        options = {name: value for name, value in order.options.items() if name not in ("get_if_exists", _GROUPS)}
        for name, value in options.items():
            pickled = opaque_bytes(value)
            if pickled is not None:
                options[name] = cloudpickle.loads(pickled)
        if options["scheduling_strategy"] == "NODE_AFFINITY":
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(order.driver_node, soft=True)
        mesh = mesh_label(self._mesh, self._namespace)
        options["_labels"] = {**options.get("_labels", {}), AGENT_LABEL: order.uid, MESH_LABEL: mesh}
        runtime_env = dict(options.pop("runtime_env"))
        variables = env_vars.through_ray(
            runtime_env.get("env_vars") or {},
            env_vars.reference(self._namespace, self._mesh, order.uid),
            inherits=order.inherits,
        )
        if variables:
            runtime_env["env_vars"] = variables
        if runtime_env:
            options["runtime_env"] = runtime_env
        elif order.warm and options["scheduling_strategy"] == "DEFAULT":
            options["scheduling_strategy"] = self._warm_workers.placement(options)
        return options


def _short(cause: str) -> str:
    if len(cause) > MAX_CAUSE:
        cause = f"{cause[: MAX_CAUSE // 2]}\n[...]\n{cause[-MAX_CAUSE // 2 :]}"
    return sendable(cause)
