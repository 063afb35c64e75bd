"""The launcher: a small actor in one driver's environment, where user classes are loaded and agents' actors made.

It also asks agents to stop and kills them, because in Ray even looking an actor up loads its class. Which actor is
meant is never a matter of its name alone: names come back, and strangers may have them. What it answers is plain data;
nothing of a user's is ever unpickled in the supervisor.

Private parts of Ray used here, in one place:
- `ray._raylet.GcsLogSubscriber`: the lines that actors print. If it goes, agents' output stays in Ray's log files.
- the log line `:actor_name:…`, by which Ray's log monitor labels what follows; without it lines lack the agent's name.
- `handle._actor_id`: which actor a handle is for. If it goes, `actor_id` in its repr says the same.
- `handle._serialization_helper`: the handle as bytes that hold no pickle, for clients to make handles of without asking
  the GCS for each. If it goes, they look each actor up by name.
- `gcs_client.async_get_all_actor_info`: where an actor came up, and for which agent it was made. Without it the
  watcher's news say the first, a moment later; for the second `ray.util.state` is the fallback.
- `WORKER_PROCESS_SETUP_HOOK_ENV_VAR` and `load_and_execute_setup_hook`: Ray runs the hook that this variable names in
  a new process before it loads a class there, and documents the hook for `ray.init` only. If it goes, an agent's
  env_vars would have to go through its runtime_env again, which Ray writes into a log.
- the `_labels` option, which puts the agent's uid and its mesh into Ray's actor table. Without it, the uid would have
  to stand in the actor's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import Any

import msgspec
import ray
import structlog
from ray import ActorID, cloudpickle
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
from ray._private.runtime_env.setup_hook import load_and_execute_setup_hook
from ray._private.worker import global_worker
from ray._raylet import GcsLogSubscriber  # type: ignore[attr-defined]  # Cython, without types
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.names import mesh_label
from schedulemesh.core.options import opaque_bytes
from schedulemesh.supervisor.agent_class import STOP, UnmadeError, load
from schedulemesh.supervisor.cluster import NotOfferedError, Raylet
from schedulemesh.supervisor.effects import Address, Launch
from schedulemesh.supervisor.events import LaunchFailed, LaunchLost, LaunchReady, LaunchReport
from schedulemesh.supervisor.logs import log_to_stderr
from schedulemesh.supervisor.output import Line, Output, Poll
from schedulemesh.supervisor.variables import RECORD, reference, set_variables, through_ray
from schedulemesh.supervisor.warm_workers import WarmWorkers
from schedulemesh.supervisor.warmth import UNAVAILABLE
from schedulemesh.supervisor.watcher import AGENT_LABEL, MESH_LABEL, is_unmade

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.launcher")

CHUNK = 64 * 1024
"""Arguments travel in pieces this small, because Ray puts a larger one (about 100 KB) into the object store, owned by
this launcher; when the launcher is gone, an agent whose arguments it owned cannot be restarted."""
NAME_TRIED_S = 5.0
"""How long a name that Ray still says is taken is tried again: it comes free a moment after its actor's end."""
FOLLOWER_S = 30.0
"""A driver that has not asked for output for so long is gone."""
_RETRY_S = 0.1
_TABLE_S = 30
"""Time limit of a reading of Ray's table, in seconds."""
_LISTEN_S = 2.0
"""How long a launch waits to hear its agent's first lines. What an agent prints must not hold it up."""
_PROBLEM = 500
"""Characters of a problem that go into the supervisor's log."""
_NEXT_HOOK = "SCHEDULEMESH_NEXT_HOOK"
"""The hook that the driver's own runtime_env asked for; it runs after ours."""
_GROUPS = "concurrency_groups"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Launcher:
    """Methods are called by the supervisor, except `lines`, which drivers call."""

    def __init__(self, mesh: str, namespace: str) -> None:
        log_to_stderr()
        self._mesh = mesh
        self._namespace = namespace
        context = ray.get_runtime_context()
        self._job_id = context.get_job_id()
        self._gcs_address = context.gcs_address
        self._classes: dict[str, asyncio.Future[Any]] = {}
        self._launching: dict[str, _Making] = {}
        self._output: Output | None = None
        self._warm_workers: WarmWorkers | None = None
        self._followed_at = 0.0

    async def ready(self) -> bool:
        return True

    async def followed(self) -> bool:
        """Whether a driver has asked for output lately."""
        return time.monotonic() - self._followed_at < FOLLOWER_S

    async def lines(self, after: int) -> list[Line]:
        """What agents printed since line `after` (0: all that is kept)."""
        self._followed_at = time.monotonic()
        return self._listen().after(after)

    async def keep_ready(self, count: int) -> tuple[int, int]:
        """Go some way towards so many idle processes in this environment; see `warmth.Keep`."""
        try:
            if self._warm_workers is None:
                self._warm_workers = WarmWorkers(await Raylet.of_this_node())
            return await self._warm_workers.keep(count)
        except NotOfferedError:
            return UNAVAILABLE, 0
        except Exception as error:  # noqa: BLE001 - answered as text, as all that is raised here
            raise RuntimeError(f"{type(error).__name__}: {_plain(str(error))}"[:_PROBLEM]) from None

    async def launch(self, encoded: bytes, class_blob: bytes, args_blob: bytes) -> bytes:
        """Bring an agent up. Returns an encoded LaunchReady, LaunchFailed or LaunchLost; never raises.

        What a user's code raised is answered as text: an exception would be unpickled in the supervisor.
        """
        order = msgspec.msgpack.decode(encoded, type=Launch)
        making = self._launching[order.uid] = _Making()
        report: LaunchReport
        try:
            report = await self._launch(order, class_blob, args_blob, making)
        except UnmadeError as error:
            report = order.unmade(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, an actor may have been made by then
            report = LaunchLost(order.uid, order.attempt, f"{type(error).__name__}: {_plain(str(error))}")
        finally:
            if self._launching.get(order.uid) is making:  # a later attempt may have taken its place
                del self._launching[order.uid]
        return msgspec.msgpack.encode(report)

    async def stop(self, encoded: bytes) -> str:
        """Have the agent end in order: calls under way, its hook, exit. The supervisor sees it end.

        Returns what kept the order from being given, or nothing.
        """
        address = msgspec.msgpack.decode(encoded, type=Address)
        if address.actor_id is None:
            return "it is not known which actor is meant"
        try:
            handle = _find(address)
            if handle is not None:
                await self._stopped(handle)
        except Exception as error:  # noqa: BLE001 - looking an actor up loads a user's class, which can raise anything
            return f"{type(error).__name__}: {_plain(str(error))}"[:_PROBLEM]
        return ""

    async def kill(self, encoded: bytes) -> str:
        """End the actor now; one that is just being made here, as soon as it is. Returns as `stop` does."""
        address = msgspec.msgpack.decode(encoded, type=Address)
        making = self._launching.get(address.uid)
        if making is not None:
            making.ended.set()
        try:
            made = making.handle if making is not None else None
            handle = _find(address) if address.actor_id is not None else made
            if handle is not None:
                ray.kill(handle, no_restart=True)
        except Exception as error:  # noqa: BLE001 - looking an actor up loads a user's class, which can raise anything
            return f"{type(error).__name__}: {_plain(str(error))}"[:_PROBLEM]
        return ""

    async def _stopped(self, handle: Any) -> None:
        """Return once the agent is gone, or is told to go as soon as it is back."""
        try:
            await getattr(handle, STOP).options(max_task_retries=0).remote()
        except ActorDiedError:
            return
        except (AttributeError, RayError):  # made by a version without this method, or just being restarted by Ray
            handle.__ray_terminate__.remote()

    async def _launch(self, order: Launch, class_blob: bytes, args_blob: bytes, making: _Making) -> LaunchReport:
        if order.show_output:
            await self._listen().subscribed(_LISTEN_S)
        if order.adopt is not None:
            making.handle = _find(Address(order.uid, order.adopt, order.actor_name, order.namespace))
            if making.handle is None:  # it had its start, and is not given a second one
                return LaunchLost(order.uid, order.attempt, "the actor to be adopted is gone")
        else:
            actor_class = await self._class(order, class_blob, making)
            making.handle = await self._create(order, actor_class, args_blob, making)
        if making.ended.is_set():
            ray.kill(making.handle, no_restart=True)
        while True:
            try:
                await making.handle.__ray_ready__.remote()
            except ActorUnavailableError:
                await asyncio.sleep(_RETRY_S)  # its process died in the constructor; Ray starts it again
            except ActorDiedError as error:
                return await self._died(order, making.handle, error)
            else:
                return await self._ready(order, making.handle)

    async def _died(self, order: Launch, handle: Any, error: ActorDiedError) -> LaunchReport:
        row = await _row(_id(handle))
        if row is not None and is_unmade(row):  # adopted too early: the launcher that had asked for it was gone
            return LaunchLost(order.uid, order.attempt, _plain(str(error)))
        return LaunchFailed(order.uid, order.attempt, _plain(str(error)))

    async def _ready(self, order: Launch, handle: Any) -> LaunchReady:
        row = None
        with contextlib.suppress(Exception):  # it is up; where, the watcher's news will say too
            row = await _row(_id(handle))
        serialized, *_ = handle._serialization_helper()  # noqa: SLF001 - see the module's list
        if row is None:
            return LaunchReady(order.uid, order.attempt, _id(handle), handle=serialized)
        return LaunchReady(order.uid, order.attempt, _id(handle), row.address.node_id.hex(), row.pid, serialized)

    async def _class(self, order: Launch, blob: bytes, making: _Making) -> Any:
        """The user's class as an actor class, loaded and exported once however many agents are made of it."""
        groups = order.options.get(_GROUPS)
        key = f"{order.class_blob} {groups}"
        loading = self._classes.get(key)
        if loading is None:
            loading = asyncio.ensure_future(asyncio.to_thread(load, blob, groups))
            self._classes[key] = loading
        # A module may hang while it is imported; the agent can be ended all the same.
        ended = asyncio.ensure_future(making.ended.wait())
        await asyncio.wait({loading, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not loading.done():
            raise UnmadeError("it was ended while its class was being loaded")
        if loading.exception() is not None:
            self._classes.pop(key, None)  # a module may be there at the next try
        return loading.result()

    async def _create(self, order: Launch, actor_class: Any, args_blob: bytes, making: _Making) -> Any:
        """The new actor's handle. Raises UnmadeError when there is none."""
        chunks = [args_blob[start : start + CHUNK] for start in range(0, len(args_blob), CHUNK)]
        until = time.monotonic() + NAME_TRIED_S
        try:
            actor = actor_class.options(**self._options(order))
        except Exception as error:  # noqa: BLE001 - Ray checks options with many kinds of exceptions
            raise UnmadeError(f"Ray does not take its options: {type(error).__name__}: {error}") from None
        while not making.ended.is_set():
            try:
                return actor.remote(order.agent, order.labels, *chunks)
            except (ValueError, TypeError) as error:
                if "already" not in str(error):
                    raise UnmadeError(f"{type(error).__name__}: {_plain(str(error))}") from None
            if order.may_exist and (mine := await self._made_before(order)) is not None:
                return mine
            if time.monotonic() > until:
                taken = f"the actor name {order.actor_name!r} is taken in namespace {order.namespace!r}"
                todo = "give the agent another with ray_options['name'], or another namespace"
                raise UnmadeError(f"{taken} by an actor that is not this mesh's; {todo}")
            await asyncio.sleep(_RETRY_S)
        raise UnmadeError("it was ended before it was launched")

    async def _made_before(self, order: Launch) -> Any:
        """The actor that has the name, if an earlier launcher came to make it for this same agent after all."""
        handle = _find(Address(order.uid, None, order.actor_name, order.namespace))
        row = await _row(_id(handle)) if handle is not None else None
        return handle if row is not None and row.labels.get(AGENT_LABEL) == order.uid else None

    def _options(self, order: Launch) -> dict[str, Any]:
        """The order's options as Ray takes them."""
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
        if runtime_env.get("env_vars"):
            runtime_env["env_vars"] = self._variables(order.uid, runtime_env["env_vars"])
        if runtime_env:
            options["runtime_env"] = runtime_env
        elif order.warm and options["scheduling_strategy"] == "DEFAULT" and self._warm_workers is not None:
            options["scheduling_strategy"] = self._warm_workers.placement(options)
        return options

    def _variables(self, uid: str, env_vars: dict[str, str]) -> dict[str, str]:
        """What goes through Ray of an agent's variables, which are merged with this launcher's own."""
        variables = through_ray(env_vars)
        hides = variables != env_vars
        if "PYTHONPATH" in variables and os.environ.get("PYTHONPATH"):
            # It would be replaced, and with it the driver's paths.
            variables["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
        if hides:
            variables[RECORD] = reference(self._namespace, self._mesh, uid)
            variables[_NEXT_HOOK] = os.environ.get(WORKER_PROCESS_SETUP_HOOK_ENV_VAR, "")
            variables[WORKER_PROCESS_SETUP_HOOK_ENV_VAR] = f"{__name__}.{prepare_process.__name__}"
        return variables

    def _listen(self) -> Output:
        if self._output is None:
            self._output = Output(self._subscribe_to_lines, self._job_id)
        return self._output

    def _subscribe_to_lines(self) -> Poll:
        subscriber = GcsLogSubscriber(address=self._gcs_address)
        subscriber.subscribe()
        return lambda timeout_s: subscriber.poll(timeout=timeout_s)


class _Making:
    """One launch under way: the actor once it is made, and whether its end is wanted."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.ended = asyncio.Event()


def prepare_process() -> None:
    """Runs in each new process of an agent that has env_vars of its own; then the hook that its driver asked for."""
    set_variables()
    further = os.environ.get(_NEXT_HOOK)
    problem = load_and_execute_setup_hook(further) if further else None
    if problem:
        raise RuntimeError(problem)


def _find(address: Address) -> Any:
    """The handle of exactly that actor, or None if it is gone or its name is another's by now."""
    try:
        handle = ray.get_actor(address.actor_name, namespace=address.namespace)
    except ValueError:
        return None
    return handle if address.actor_id in (None, _id(handle)) else None


async def _row(actor_id: str) -> Any:
    """Ray's table row of an actor, or None."""
    gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects
    rows = await gcs.async_get_all_actor_info(actor_id=ActorID.from_hex(actor_id), timeout=_TABLE_S)
    return next(iter(rows.values()), None)


def _id(handle: Any) -> str:
    return str(handle._actor_id.hex())  # noqa: SLF001 - see the module's list


def _plain(text: str) -> str:
    return _ANSI.sub("", text)
