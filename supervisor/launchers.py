"""Launchers: one for each driver environment, made when needed and ended when idle. The supervisor's side of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import ray
import structlog
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.messages import Environment
from schedulemesh.core.names import launcher_name
from schedulemesh.core.records import key_of
from schedulemesh.supervisor.agent_class import UNLOADED
from schedulemesh.supervisor.effects import Address, Launch
from schedulemesh.supervisor.events import LaunchFailed, LaunchLost, LaunchReady, LaunchReport, WarmSeen
from schedulemesh.supervisor.launcher import Launcher
from schedulemesh.supervisor.ports import Store
from schedulemesh.supervisor.warmth import Warmth

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

MAX_LAUNCHERS = 32
"""Processes of about 90 MB; beyond it the one that has been idle longest makes room. While all are busy there may be
more: each of them has an agent on its way, and one tenant's long starts must not keep another's from beginning."""
ENDING_S = 30.0
"""How long a launcher's name is waited for: its predecessor may be just ending."""
ORDER_S = 30.0
"""How long a launcher may take to carry an order out, beyond the grace it was given."""
MAX_HANDLE = 64 * 1024
"""Bytes of a serialized handle; Ray's have less than one thousand, and some for each method."""
READY_S = 60.0
"""How long a launcher may take to have one more process ready, or to give one back."""
MAX_STARTS = 3
"""Of one launcher. An environment in which no process comes up must not be tried for ever."""
_RETRY_S = 0.2
BARE = "bare"
"""The key of the launcher without any environment. It can end every agent: where a class cannot be imported, Ray puts
a stand-in with the right method names."""


class LauncherError(Exception):
    """A launcher could not be started in its environment."""


class _Slot:
    """One launcher: `handle` resolves when it is up."""

    def __init__(self, handle: asyncio.Task[Any]) -> None:
        self.handle = handle
        self.busy = 0
        self.used_at = time.monotonic()

    @property
    def is_up(self) -> bool:
        return self.handle.done() and not self.handle.cancelled() and self.handle.exception() is None


class RayLaunchers:
    """Keeps the launchers of one supervisor. They are its own, not detached: they go when it goes."""

    def __init__(self, mesh: str, namespace: str, store: Store, idle_s: float) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._store = store
        self._idle_s = idle_s
        self._slots: dict[str, _Slot] = {}
        self._waiting: dict[str, asyncio.Task[Any]] = {}
        self._warmth = Warmth(self._keep_ready)
        self._actor_class: Any = ray.remote(Launcher)  # once: Ray exports a class for each time this is called

    def warm(self, environment_key: str, environment: Environment) -> None:
        if len(self._slots) < MAX_LAUNCHERS:
            self._slot(environment_key, environment)

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        self._warmth.want(environment_key, count, seen)

    async def launch(self, order: Launch) -> LaunchReport:
        waiting = asyncio.ensure_future(self._prepare(order))
        self._waiting[order.uid] = waiting
        try:
            slot, handle, blobs = await waiting
        except asyncio.CancelledError:
            return order.unmade("it was ended before it was launched")
        except LauncherError as error:
            return order.unmade(str(error))
        except Exception as error:  # noqa: BLE001 - the store is away; the agent's record says what to do next
            return LaunchLost(order.uid, order.attempt, f"its class could not be fetched: {error!r}")
        finally:
            del self._waiting[order.uid]
        try:
            report = _report(order, await handle.launch.remote(msgspec.msgpack.encode(order), *blobs))
            if isinstance(report, LaunchFailed) and report.cause.startswith(UNLOADED) and slot.busy == 1:
                # It has imported modules as they were; whoever mends one must not meet them again.
                await self._end(order.environment_key, slot)
        except RayActorError as error:
            await self._end(order.environment_key, slot)
            return LaunchLost(order.uid, order.attempt, f"its launcher ended: {error}")
        except RayError as error:
            return LaunchLost(order.uid, order.attempt, f"its launcher failed: {error}")
        else:
            return report
        finally:
            self._free(slot)
            self._warmth.look(order.environment_key)

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        await self._order(environment_key, "stop", address, timeout_s=grace_s + ORDER_S)

    async def kill(self, address: Address, environment_key: str) -> None:
        waiting = self._waiting.get(address.uid)
        if waiting is not None:
            waiting.cancel()
        if waiting is None or address.actor_id is not None:
            await self._order(environment_key, "kill", address, timeout_s=ORDER_S)

    async def sweep(self) -> None:
        for key, slot in list(self._slots.items()):
            wanted = self._warmth.is_wanted(key)
            if not wanted and self._is_idle(slot) and not await self._is_followed(slot) and self._is_idle(slot):
                log.info("launcher_idle", environment=key[:16])
                await self._end(key, slot)

    async def close(self) -> None:
        await self._warmth.close()
        for key, slot in list(self._slots.items()):
            await self._end(key, slot)

    async def _prepare(self, order: Launch) -> tuple[_Slot, Any, list[bytes]]:
        """Everything up to the point from which this launch may make an actor. May be cancelled."""
        keys = (order.environment_key, order.class_blob, order.args_blob)
        try:
            environment, *blobs = [await self._store.get(key_of("blob", key)) for key in keys]
        except KeyError:
            raise LauncherError("it was ended before it was launched") from None
        slot = await self._taken(order.environment_key, msgspec.json.decode(environment, type=Environment))
        try:
            return slot, await asyncio.shield(slot.handle), blobs
        except BaseException:
            self._free(slot)
            raise

    async def _keep_ready(self, key: str, count: int) -> tuple[int, int]:
        """See `warmth.Keep`. The environment is not needed, and may be gone, where its launcher is up."""
        slot = self._slots.get(key)
        if slot is None:
            encoded = await self._store.get(key_of("blob", key))
            slot = await self._taken(key, msgspec.json.decode(encoded, type=Environment))
        else:
            slot.busy += 1
        try:
            handle = await asyncio.shield(slot.handle)
            ready, coming = await asyncio.wait_for(handle.keep_ready.remote(count), READY_S)
            return int(ready), int(coming)
        except (RayActorError, asyncio.TimeoutError):
            await self._end(key, slot)
            raise
        finally:
            self._free(slot)

    async def _order(self, key: str, method: str, address: Address, *args: Any, timeout_s: float) -> None:
        """Give an order to the environment's launcher if it is up, else, or if that fails, to the bare one."""
        slot = self._slots.get(key)
        if (
            slot is not None
            and slot.is_up
            and await self._given(key, slot, method, address, *args, timeout_s=timeout_s)
        ):
            return
        await self._given(BARE, self._slot(BARE, Environment()), method, address, *args, timeout_s=timeout_s)

    async def _given(self, key: str, slot: _Slot, method: str, address: Address, *args: Any, timeout_s: float) -> bool:
        """Whether a launcher took the order. One that is gone, or does not answer, is ended."""
        slot.busy += 1
        try:
            handle = await asyncio.shield(slot.handle)
            given = getattr(handle, method).remote(msgspec.msgpack.encode(address), *args)
            problem = await asyncio.wait_for(given, timeout_s)
        except (RayError, LauncherError, asyncio.TimeoutError) as error:
            log.warning("launcher_failed", order=method, environment=key[:16], error=repr(error)[:300])
            await self._end(key, slot)
            return False
        finally:
            self._free(slot)
        if problem:
            log.warning("order_failed", order=method, actor_name=address.actor_name, problem=problem)
        return not problem

    async def _taken(self, key: str, environment: Environment) -> _Slot:
        """The environment's launcher, counted as busy; idle ones make room for it."""
        while key not in self._slots and len(self._slots) >= MAX_LAUNCHERS:
            idle = [
                (slot.used_at, other)
                for other, slot in self._slots.items()
                if not slot.busy and not self._warmth.is_wanted(other)
            ]
            if not idle:
                break
            _, oldest = min(idle)
            await self._end(oldest, self._slots[oldest])
        slot = self._slot(key, environment)
        slot.busy += 1
        return slot

    def _slot(self, key: str, environment: Environment) -> _Slot:
        slot = self._slots.get(key)
        if slot is None:
            slot = _Slot(asyncio.ensure_future(self._start(key, environment)))
            self._slots[key] = slot
            slot.handle.add_done_callback(lambda task: self._started(key, slot, task))
        slot.used_at = time.monotonic()
        return slot

    def _started(self, key: str, slot: _Slot, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._drop(key, slot)

    async def _start(self, key: str, environment: Environment) -> Any:
        until = time.monotonic() + ENDING_S
        starts = MAX_STARTS
        while True:
            try:
                handle = await asyncio.to_thread(self._create, key, environment)
                await handle.ready.remote()
            except ValueError as error:  # the name of a launcher that is just ending
                if "already" not in str(error) or time.monotonic() > until:
                    raise LauncherError(f"its environment is not valid: {error}") from None
                await asyncio.sleep(_RETRY_S)
            except ActorUnschedulableError as error:
                if not environment.node_id:
                    raise LauncherError(f"no node takes it: {error}") from None
                log.warning("launcher_elsewhere", environment=key[:16], gone_node=environment.node_id)
                handle, environment = None, msgspec.structs.replace(environment, node_id="")
            except RayError as error:
                starts -= 1
                if not starts or isinstance(error, RuntimeEnvSetupError):
                    raise LauncherError(f"its environment could not be set up: {error}") from None
                handle = None  # as long as we hold it, Ray calls the name taken, dead or not
                until = time.monotonic() + ENDING_S
                await asyncio.sleep(_RETRY_S)  # its process or its node ended while it came up
            except Exception as error:  # noqa: BLE001 - Ray checks a runtime_env with many kinds of exceptions
                raise LauncherError(f"its environment is not valid: {error}") from None
            else:
                return handle

    def _create(self, key: str, environment: Environment) -> Any:
        options: dict[str, Any] = {}
        runtime_env = dict(environment.runtime_env)
        if environment.paths:
            env_vars = dict(runtime_env.get("env_vars") or {})
            # Ray fills in the node's own value, which would be lost otherwise.
            further = env_vars.get("PYTHONPATH") or "${PYTHONPATH}"
            env_vars["PYTHONPATH"] = os.pathsep.join([*environment.paths, further])
            runtime_env["env_vars"] = env_vars
        if runtime_env:
            options["runtime_env"] = runtime_env
        if environment.node_id:
            # Where the driver is, its files are. Hard, as Ray heeds a soft affinity only of actors that need something.
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(environment.node_id, soft=False)
        return self._actor_class.options(
            name=launcher_name(self._mesh, key),
            namespace=self._namespace,
            num_cpus=0,
            max_restarts=0,
            max_concurrency=10_000,
            **options,
        ).remote(self._mesh, self._namespace)

    def _free(self, slot: _Slot) -> None:
        slot.busy -= 1
        slot.used_at = time.monotonic()

    def _is_idle(self, slot: _Slot) -> bool:
        return not slot.busy and time.monotonic() - slot.used_at > self._idle_s

    async def _is_followed(self, slot: _Slot) -> bool:
        if not slot.is_up:
            return False
        try:
            return bool(await asyncio.wait_for(slot.handle.result().followed.remote(), ORDER_S))
        except (RayError, asyncio.TimeoutError):
            return False

    async def _end(self, key: str, slot: _Slot) -> None:
        """End a launcher; one that only could not be reached would keep its name from the next."""
        self._drop(key, slot)
        slot.handle.cancel()
        if slot.is_up:
            await asyncio.to_thread(ray.kill, slot.handle.result(), no_restart=True)

    def _drop(self, key: str, slot: _Slot) -> None:
        if self._slots.get(key) is slot:
            del self._slots[key]


def _report(order: Launch, encoded: Any) -> LaunchReport:
    """What the launcher answered. User code runs in its process, so it is not taken on trust."""
    try:
        report: LaunchReport = msgspec.msgpack.decode(encoded, type=LaunchReady | LaunchFailed | LaunchLost)
    except (msgspec.MsgspecError, TypeError) as error:
        return LaunchLost(order.uid, order.attempt, f"its launcher answered nonsense: {error}")
    if (report.uid, report.attempt) != (order.uid, order.attempt):
        return LaunchLost(order.uid, order.attempt, "its launcher answered for another")
    if isinstance(report, LaunchReady) and len(report.handle) > MAX_HANDLE:
        return msgspec.structs.replace(report, handle=b"")  # the actor can be looked up by name
    return report
