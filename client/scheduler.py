"""The scheduler: what a driver sees of a mesh. Every call checks, asks the supervisor, and hands out actor handles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from schedulemesh.client import arguments, birth, payload
from schedulemesh.client.arguments import check_labels, check_name
from schedulemesh.client.cluster import join_cluster
from schedulemesh.client.connection import CALL_S, Connection, new_id, result_of
from schedulemesh.client.environment import current_namespace
from schedulemesh.client.handles import handle_of
from schedulemesh.client.launcher import JobLauncher, given_variables
from schedulemesh.core import messages
from schedulemesh.core.brief import brief
from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import InvalidRequestError, ScheduleMeshError, SupervisorNotRunningError
from schedulemesh.core.infos import (
    AgentReply,
    AgentsReply,
    CreateAgentReply,
    CreatePoolReply,
    PoolReply,
    PoolsReply,
    StatusReply,
)
from schedulemesh.core.states import HOLDING, AgentState
from schedulemesh.runtime.lazy_scheduler import LazyScheduler

NAME = "schedulemesh-supervisor"
NAMESPACE = "schedulemesh"
_END_S = 60.0
"""Added to a caller's own deadline: the time an ending may take to be observed, and a supervisor to come back."""
_LIVING = frozenset(state.value for state in HOLDING)
_UP = frozenset({AgentState.RUNNING.value, AgentState.RESTARTING.value})


@dataclass(frozen=True)
class AgentRequest:
    """One agent for `create_agents`; the fields are the parameters of `create_agent`."""

    name: str
    pool: str
    actor_class: Any
    resources: Mapping[str, float] | None = None
    ray_options: Mapping[str, Any] | None = None
    actor_args: Sequence[Any] | None = None
    actor_kwargs: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None
    timeout_s: float = 300.0


def connect(
    name: str = NAME,
    *,
    namespace: str = NAMESPACE,
    start: bool = True,
    timeout_s: float = 60.0,
    address: str | None = None,
    log_to_driver: bool = True,
) -> Scheduler:
    """Attach to the mesh of this cluster, and start its supervisor if there is none.

    If this process has not called `ray.init()`, it is called here: with `address`, else RAY_ADDRESS, else for a cluster
    that runs on this machine, and otherwise for a local one, which ends with this process; one line on stderr says so.

    Args:
        name: Ray name of the supervisor. One cluster may hold several meshes.
        namespace: Ray namespace of the mesh.
        start: whether to start a supervisor; False raises SupervisorNotRunningError when there is none.
        timeout_s: seconds to wait for the supervisor to answer.
        address: of the Ray cluster, as `ray.init()` takes it: host:port, ray://host:port or "auto".
        log_to_driver: as in `ray.init()`: whether Ray shows what this driver's agents, tasks and actors print in its
            terminal. Without effect where `ray.init()` was called before; then what it was given there holds.

    True when it returns: the supervisor answers. Drivers that connect at the same time get the same one. Safe to
    retry. Raises SupervisorUnavailableError when there is no answer in time, ProtocolMismatchError when the
    supervisor is of another version.
    """
    name, namespace = check_name(name, "name"), check_name(namespace, "namespace")
    timeout_s = arguments.seconds(timeout_s, "timeout_s")
    start, log_to_driver = arguments.flag(start, "start"), arguments.flag(log_to_driver, "log_to_driver")
    join_cluster(address, log_to_driver=log_to_driver)
    connection = Connection(name, namespace)
    try:
        connection.find()
    except SupervisorNotRunningError:
        if not start:
            raise
        birth.start_supervisor(name, namespace, headroom=0.0, timeout_s=timeout_s)
    connection.ask(messages.Status(), timeout_s=timeout_s)
    return Scheduler(connection)


class Scheduler:
    """A mesh, as seen from this process. May be used from several threads and pickled into tasks and actors.

    It holds names, not handles: after a restart of the supervisor the same object goes on working. Every method
    raises SupervisorUnavailableError when no answer comes in time; the request may then have been carried out or not.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._launcher = JobLauncher(connection.mesh, connection.namespace)

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyScheduler, (self._connection.mesh, self._connection.namespace)

    def __repr__(self) -> str:
        return f"Scheduler({self._connection.mesh!r}, namespace={self._connection.namespace!r})"

    # -- pools --------------------------------------------------------------------------------------------------

    def create_pool(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        *,
        target_agents: int = 0,
        warm_agents: int = 0,
        overcommit: bool = False,
    ) -> CreatePoolReply:
        """Create a quota that agents are booked on.

        Args:
            name: unique in the mesh.
            labels: shown, and passed on to the pool's agents.
            resources: cpu in cores, memory in MB, gpu, and custom kinds. With `target_agents` this is the size of
                one agent and the default for agents that name none; without, it is the whole capacity.
            target_agents: how many agents of that size the pool holds; capacity is what counts, not heads.
            warm_agents: how many idle processes (some 90 MB each) are kept ready for its next agents, on this driver's
                node and in its environment, so that an agent starts in tenths of a second. They serve agents that have
                no `runtime_env` of their own. All pools together may keep as many as the cluster has cpus. Whoever
                asks last has them in its environment.
            overcommit: skip the check that the cluster can back all pools (for clusters that autoscale).

        True when it returns: the pool is there and survives a crash of the supervisor. `created` is False if it was
        there before with the same content. Refused, with nothing changed: PoolExistsError (other content),
        InsufficientClusterCapacityError, InvalidRequestError. Safe to retry.
        """
        warm_agents = arguments.whole(warm_agents, "warm_agents")
        body = messages.CreatePool(
            name=check_name(name, "pool name"),
            labels=check_labels(labels, "labels"),
            resources=arguments.amounts(resources, "resources") or {},
            target_agents=arguments.whole(target_agents, "target_agents"),
            overcommit=arguments.flag(overcommit, "overcommit"),
            warm_agents=warm_agents,
            environment=self._launcher.environment() if warm_agents > 0 else Environment(),
        )
        if warm_agents > 0:
            self._launcher.ensure()
        return cast("CreatePoolReply", self._connection.ask(body))

    def get_pool(self, name: str) -> PoolReply:
        """The pool with its capacity, what is used and what is available. Raises PoolNotFoundError."""
        return cast("PoolReply", self._connection.ask(messages.GetPool(check_name(name, "pool name"))))

    def list_pools(self) -> PoolsReply:
        """All pools, oldest first."""
        return cast("PoolsReply", {"pools": self._connection.ask_all(messages.ListPools(), "pools")})

    def resize_pool(
        self,
        name: str,
        *,
        resources: Mapping[str, float] | None = None,
        target_agents: int | None = None,
        warm_agents: int | None = None,
        force: bool = False,
    ) -> PoolReply:
        """Change a pool's capacity, or its warm processes; what is not given stays. Units are those of `create_pool`.

        Who gives `warm_agents` has them kept in its own environment from then on; with 0 they are given back.

        True when it returns: the new capacity holds and survives a crash of the supervisor.
        Refused, with nothing changed: PoolNotEmptyError if its agents hold more than the new capacity (with `force`
        they keep what they hold, and `available_resources` is negative until some end),
        InsufficientClusterCapacityError, PoolNotFoundError, InvalidRequestError. Safe to retry.
        """
        warm = None if warm_agents is None else arguments.whole(warm_agents, "warm_agents")
        body = messages.ResizePool(
            name=check_name(name, "pool name"),
            resources=arguments.amounts(resources, "resources"),
            target_agents=None if target_agents is None else arguments.whole(target_agents, "target_agents"),
            force=arguments.flag(force, "force"),
            warm_agents=warm,
            environment=self._launcher.environment() if warm else Environment(),
        )
        if warm:
            self._launcher.ensure()
        return cast("PoolReply", self._connection.ask(body))

    def delete_pool(self, name: str, *, force: bool = False) -> PoolReply:
        """Delete a pool; with `force` its agents first, each with 30 s to end. Returns its last state.

        Refused, with nothing changed: PoolNotEmptyError while agents hold capacity, unless forced; PoolNotFoundError,
        also when it is called again after it was done.
        """
        body = messages.DeletePool(check_name(name, "pool name"), arguments.flag(force, "force"))
        return cast("PoolReply", self._connection.ask(body, timeout_s=CALL_S + _END_S))

    # -- agents -------------------------------------------------------------------------------------------------

    def create_agent(
        self,
        name: str,
        pool: str,
        actor_class: Any,
        *,
        resources: Mapping[str, float] | None = None,
        ray_options: Mapping[str, Any] | None = None,
        actor_args: Sequence[Any] | None = None,
        actor_kwargs: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
    ) -> CreateAgentReply:
        """Create an agent: a long-lived actor that is booked on a pool and outlives this driver.

        Args:
            name: unique among the living agents of the mesh.
            pool: where its resources are booked.
            actor_class: a class, plain or under `@ray.remote`. It is constructed as
                `actor_class(name, labels, supervisor, *actor_args, **actor_kwargs)`.
            resources: what it needs (cpu in cores, memory in MB, gpu, custom kinds). Left out, it gets the pool's
                default, with what `ray_options` names on top.
            ray_options: what `Actor.options()` takes in Ray. Defaults: max_restarts -1, max_task_retries 3,
                max_concurrency 1000, scheduling_strategy "DEFAULT".
            actor_args: further positional arguments of the constructor.
            actor_kwargs: keyword arguments of the constructor.
            labels: the agent's own, on top of the pool's.
            timeout_s: seconds until a start is given up.

        True when it returns: the constructor has finished, `agent["handle"]` can be called, and a crash of the
        supervisor loses nothing of it. `created` is False if `get_if_exists` was set and the same agent lives.

        Refused, with nothing changed: InsufficientPoolCapacityError, NoNodeFitsError, PoolNotFoundError,
        AgentExistsError, AgentSignatureError, InvalidRequestError. Failed, with the capacity back and the name free:
        AgentStartError (holds the constructor's traceback), AgentStartTimeoutError. After SupervisorUnavailableError
        the agent may be there or on its way: look with `get_agent`, or ask again with `get_if_exists`.
        """
        request = AgentRequest(
            name, pool, actor_class, resources, ray_options, actor_args, actor_kwargs, labels, timeout_s
        )
        body = self._body(request)
        self._launcher.ensure()
        reply = self._connection.ask(body, request_id=body.request_id, timeout_s=body.timeout_s + _END_S)
        return cast("CreateAgentReply", self._with_handle(reply))

    def create_agents(self, requests: Sequence[AgentRequest]) -> list[CreateAgentReply | ScheduleMeshError]:
        """Create several agents in one round trip, all launches under way together, admitted in order.

        Each reply stands for the request at its place: what `create_agent` returns, or the error it would raise
        (returned here, not raised). A wrong request does not keep the others from being created. At most 1,000
        requests, 256 MiB of pickled classes and arguments, and 8 MiB of all else, in one call. Guarantees are those of
        `create_agent`, agent by agent; SupervisorUnavailableError is raised, and then any of them may be there or on
        their way.
        """
        replies: list[CreateAgentReply | ScheduleMeshError] = []
        bodies: dict[int, messages.CreateAgent] = {}
        for place, request in enumerate(arguments.batch(requests, "requests")):
            try:
                bodies[place] = self._body(request)
                replies.append(cast("CreateAgentReply", {}))
            except ScheduleMeshError as error:
                replies.append(error)
        if bodies:
            self._launcher.ensure()
            longest = max(body.timeout_s for body in bodies.values())
            reply = self._connection.request(messages.CreateAgents(list(bodies.values())), timeout_s=longest + _END_S)
            if reply.replies is None:
                result_of(reply)
            for place, one in zip(bodies, reply.replies or [], strict=True):
                replies[place] = (
                    one.refusal.as_error()
                    if one.refusal is not None
                    else cast("CreateAgentReply", self._with_handle(result_of(one)))
                )
        return replies

    def get_agent(self, name: str) -> AgentReply:
        """The agent with its handle. One that ended lately is still found, in its last state and without a handle.

        While it is `starting`, the handle is None until Ray knows its actor; a call through one that is there waits
        for the constructor, and fails if the start fails. Raises AgentNotFoundError.
        """
        body = messages.GetAgent(check_name(name, "agent name"))
        reply = self._with_handle(self._connection.ask(body))
        if reply["agent"]["handle"] is None and reply["agent"]["state"] in _UP:
            reply = self._with_handle(self._connection.ask(body))  # it ended in between; another may have its name
        return cast("AgentReply", reply)

    def list_agents(self, pool: str | None = None, *, labels: Mapping[str, str] | None = None) -> AgentsReply:
        """The agents that are there or failed, of one pool or all, with all the given labels; oldest first.

        Raises PoolNotFoundError. Asked for in pages of 500: one that stays while they are asked for is listed once; one
        that comes or goes meanwhile may be or not. Agents that were deleted are not listed; `get_agent` still tells
        their last state for a while.
        """
        body = messages.ListAgents(
            None if pool is None else check_name(pool, "pool name"), check_labels(labels, "labels")
        )
        agents = self._connection.ask_all(body, "agents")
        return cast("AgentsReply", {"agents": [self._with_handle({"agent": agent})["agent"] for agent in agents]})

    def delete_agent(self, name: str, *, grace_s: float = 30.0, force: bool = False) -> AgentReply:
        """End an agent: running calls finish, its `on_stop()` hook runs, it exits; after `grace_s` seconds a kill.

        `force` kills at once, without the hook. True when it returns: the end was observed and the capacity is back;
        the agent is returned in its last state. Raises AgentNotFoundError. Calling again is safe unless someone has
        taken the name for another agent since.
        """
        grace = arguments.seconds(grace_s, "grace_s")
        body = messages.DeleteAgent(check_name(name, "agent name"), grace, arguments.flag(force, "force"))
        reply = self._connection.ask(body, timeout_s=grace + _END_S)
        return cast("AgentReply", self._with_handle(reply))

    # -- the mesh -----------------------------------------------------------------------------------------------

    def status(self) -> StatusReply:
        """The mesh at a glance: versions, the cluster's capacity, what pools are promised of it, agents by state."""
        from schedulemesh import __version__  # noqa: PLC0415 - the package's face imports this module

        return cast("StatusReply", {**self._connection.ask(messages.Status()), "client_version": __version__})

    def stop(self, *, force: bool = False) -> None:
        """End the mesh and remove every trace of it. Refused with MeshNotEmptyError while agents live, unless forced.

        With `force` each agent has 30 s to end. True when it returns: no agent, no launcher, no record and no
        supervisor is left. Safe to retry; stopping a mesh that is not there raises SupervisorNotRunningError.
        """
        self._connection.stop(messages.Stop(arguments.flag(force, "force")), timeout_s=CALL_S + _END_S)

    # -- inside -------------------------------------------------------------------------------------------------

    def _body(self, request: AgentRequest) -> messages.CreateAgent:
        """Everything that can be checked without the supervisor is checked here, before anything is sent."""
        if not issubclass(type(request), AgentRequest):  # isinstance() would ask the object, which may say anything
            raise InvalidRequestError(field="requests", problem=f"must hold AgentRequests, not {brief(request)}")
        name = check_name(request.name, "agent name")
        cls, decorator = payload.plain_class(request.actor_class)
        args = arguments.sequence(request.actor_args, "actor_args")
        kwargs = arguments.keywords(request.actor_kwargs, "actor_kwargs")
        payload.check_signature(name, cls, args, kwargs)
        return messages.CreateAgent(
            request_id=new_id(),
            name=name,
            pool=check_name(request.pool, "pool name"),
            class_name=payload.name_of(cls),
            class_blob=payload.pickle_class(cls),
            args_blob=payload.pickle_arguments(Scheduler(self._connection), args, kwargs),
            environment=self._launcher.environment(),
            namespace=current_namespace(),
            resources=arguments.amounts(request.resources, "resources"),
            options=payload.plain_options(request.ray_options, "ray_options"),
            decorator=payload.plain_options(decorator, "@ray.remote options"),
            labels=check_labels(request.labels, "labels"),
            timeout_s=arguments.seconds(request.timeout_s, "timeout_s"),
            inherited_env=given_variables(),
        )

    def _with_handle(self, reply: dict[str, Any]) -> dict[str, Any]:
        agent = reply["agent"]
        lives = agent["state"] in _LIVING
        agent["handle"] = handle_of(agent) if lives else None
        return reply


def scheduler_of(mesh: str, namespace: str) -> Scheduler:
    return Scheduler(Connection(mesh, namespace))


def _unpickled(mesh: str, namespace: str, *_: bool) -> Scheduler:
    """Return the Scheduler of an agent's `supervisor`; version 0.1 pickled a further argument."""
    return Scheduler(Connection(mesh, namespace))
