"""The watcher: what Ray says of our agents' actors. Pushed changes, and the table itself as the truth.

Private parts of Ray used here, in one place:
- `ray._private.gcs_pubsub.GcsAioActorSubscriber`: pushes each change in milliseconds. If it goes, the periodic
  reading of the table still finds everything, up to `RESYNC_S` late.
- `gcs_client.async_get_all_actor_info`: the table. `ray.util.state.list_actors` is the fallback if it goes; it
  needs the dashboard, so it is not used while this works.
- `ray.core.generated`: `ActorTableData`, the names of the states.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import ray
import structlog
from ray import ActorID
from ray._private.gcs_pubsub import GcsAioActorSubscriber
from ray._private.worker import global_worker
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc, without types

from schedulemesh.core.launch_protocol import AGENT_LABEL, LAUNCHER_LABEL, MESH_LABEL
from schedulemesh.raycompat.deaths import was_never_created
from schedulemesh.supervisor.events import ActorPhase, ActorSeen, LauncherSeen, TableRead

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

RESYNC_S = 30.0
"""After a GCS restart a subscription is silent for ever, without an error. So none lives longer than this."""
_TIMEOUT_S = 30
_BATCH = 1000
ROWS_AT_ONCE = 200
"""Rows that are read without a pause: some milliseconds."""
# One state after another is read, so that dead actors, which Ray keeps by the ten thousand, are left out. RESTARTING
# comes twice: an actor that goes on from there to ALIVE, or back, between two readings is in one of them.
_LIVING = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "RESTARTING", "ALIVE", "RESTARTING")

_PHASES = {
    ActorTableData.DEPENDENCIES_UNREADY: ActorPhase.PENDING,
    ActorTableData.PENDING_CREATION: ActorPhase.PENDING,
    ActorTableData.ALIVE: ActorPhase.ALIVE,
    ActorTableData.RESTARTING: ActorPhase.RESTARTING,
    ActorTableData.DEAD: ActorPhase.DEAD,
}


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What only an actor's first message says of it. `gc=False`, as with ActorSeen.

    An agent's actor has its uid, a launcher's the label of its environment.
    """

    uid: str
    name: str
    namespace: str
    launcher: str = ""
    group: str = ""
    """Its placement group, in hex."""


class GcsWatcher:
    """Watches the actors that carry this mesh's label, whichever supervisor of it had them made."""

    def __init__(self, gcs_address: str, mesh: str) -> None:
        self._address = gcs_address
        self._mesh = mesh
        self._known: dict[str, _Known] = {}

    async def watch(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        while True:
            try:
                await self._subscription(seen, table)
            except Exception as error:  # noqa: BLE001 - the GCS may be away; the subscription is made again
                log.warning("subscription_lost", error=repr(error))
                await asyncio.sleep(1.0)

    async def read(self, expected: Mapping[str, str]) -> TableRead:
        """The table of living actors, and the fate of those that were known or expected and are no longer in it."""
        asked_at = time.time()
        living = {seen.actor_id: seen for seen in await self._living()}
        actors = [seen for seen in living.values() if isinstance(seen, ActorSeen)]
        launchers = tuple(seen for seen in living.values() if isinstance(seen, LauncherSeen))
        known = {actor_id: known.uid for actor_id, known in self._known.items()}
        traceless = set()
        for actor_id, uid in {**expected, **known}.items():
            if actor_id in living:
                continue
            found = await _gcs().async_get_all_actor_info(actor_id=ActorID.from_hex(actor_id), timeout=_TIMEOUT_S)
            for row in found.values():
                self._known.setdefault(actor_id, _Known(uid, row.name, row.ray_namespace))
                if isinstance(seen := self._seen(actor_id, row), ActorSeen):
                    actors.append(seen)
            self._known.pop(actor_id, None)
            if not found and uid:
                traceless.add(actor_id)
        return TableRead(tuple(actors), asked_at, frozenset(traceless), launchers=launchers)

    async def _living(self) -> list[ActorSeen | LauncherSeen]:
        rows: dict[Any, Any] = {}
        for state in _LIVING:
            rows.update(await _gcs().async_get_all_actor_info(actor_state_name=state, timeout=_TIMEOUT_S))
        living = []
        for number, (actor_id, row) in enumerate(rows.items()):
            if row.labels.get(MESH_LABEL) == self._mesh and (seen := self._seen(actor_id.hex(), row)):
                living.append(await self._looked_for_group(seen) if self._waits_in_group(seen) else seen)
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn
        return living

    async def _subscription(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        """Subscribe first, then read the table, so that nothing falls between the two; then listen for a while."""
        subscriber = GcsAioActorSubscriber(address=self._address)
        await subscriber.subscribe()
        try:
            await table(await self.read({}))
            until = time.monotonic() + RESYNC_S
            # Without a timeout of its own: a poll that runs into one leaves an unread exception behind in Ray.
            poll = asyncio.ensure_future(subscriber.poll(_BATCH))
            while (left := until - time.monotonic()) > 0:
                await asyncio.wait({poll}, timeout=left)
                if not poll.done():
                    break
                messages = poll.result()
                if not messages:
                    raise ConnectionError("the GCS is away")
                for actor_id, row in messages:
                    if news := self._news(actor_id.hex(), row):
                        seen(news)
                        if self._waits_in_group(news):
                            seen(await self._looked_for_group(news))
                poll = asyncio.ensure_future(subscriber.poll(_BATCH))
        finally:
            await subscriber.close()

    def _waits_in_group(self, seen: ActorSeen | LauncherSeen) -> bool:
        """Whether it waits for a process in a placement group, which may be gone."""
        known = self._known.get(seen.actor_id)
        return bool(known and known.group) and seen.phase in (ActorPhase.PENDING, ActorPhase.RESTARTING)

    async def _looked_for_group(self, seen: ActorSeen | LauncherSeen) -> ActorSeen | LauncherSeen:
        known = self._known[seen.actor_id]
        found = (await asyncio.to_thread(ray.util.placement_group_table)).get(known.group)
        if isinstance(seen, LauncherSeen) or (found is not None and found["state"] != "REMOVED"):
            return seen
        return msgspec.structs.replace(seen, group_removed=True)

    def _news(self, actor_id: str, row: Any) -> ActorSeen | LauncherSeen | None:
        news = self._seen(actor_id, row)
        if news and news.phase is ActorPhase.DEAD:
            self._known.pop(actor_id, None)
        return news

    def _seen(self, actor_id: str, row: Any) -> ActorSeen | LauncherSeen | None:
        """What a row or message says, if it is about an actor of ours. Later messages carry neither labels nor
        namespace.
        """
        uid, launcher = row.labels.get(AGENT_LABEL, ""), row.labels.get(LAUNCHER_LABEL, "")
        if (uid or launcher) and row.labels.get(MESH_LABEL) == self._mesh:
            group = row.placement_group_id.hex() if row.placement_group_id.strip(b"\xff") else ""
            self._known[actor_id] = _Known(uid, row.name, row.ray_namespace, launcher, group)
        known = self._known.get(actor_id)
        if known is None:
            return None
        if known.launcher:
            return LauncherSeen(
                label=known.launcher,
                actor_id=actor_id,
                phase=_PHASES[row.state],
                restarts=row.num_restarts,
                name=known.name,
                cause=_cause(row.death_cause),
                environment_failed=row.death_cause.HasField("runtime_env_failed_context"),
            )
        node_id = row.node_id or row.address.node_id
        return ActorSeen(
            uid=known.uid,
            actor_id=actor_id,
            name=known.name,
            namespace=known.namespace,
            phase=_PHASES[row.state],
            restarts=row.num_restarts,
            node_id=node_id.hex() if node_id.strip(b"\xff") else None,
            pid=row.pid or None,
            cause=_cause(row.death_cause),
            unmade=was_never_created(row),
        )


def _gcs() -> Any:
    return global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects


def _cause(death: Any) -> str | None:
    kind = death.WhichOneof("context")
    if kind is None:
        return None
    context = getattr(death, kind)
    if kind == "creation_task_failure_context":
        return str(context.formatted_exception_string) or "its constructor raised"
    node = getattr(context, "node_ip_address", "")
    return f"{context.error_message or kind}{f' (node {node})' if node else ''}"
