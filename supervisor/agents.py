"""The agents' desk: answers what clients ask about agents, and refuses what pools or nodes cannot hold."""

from __future__ import annotations

from itertools import islice

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.errors import AgentExistsError, InvalidRequestError, NoNodeFitsError
from schedulemesh.core.messages import CreateAgent, DeleteAgent, ListAgents, Reply
from schedulemesh.core.names import launcher_name
from schedulemesh.core.records import AgentRecord
from schedulemesh.core.states import ENDED, LEAVING
from schedulemesh.supervisor.admission import Terms, admit, check_grace, differences, record_of
from schedulemesh.supervisor.agent import Agent
from schedulemesh.supervisor.books import Books
from schedulemesh.supervisor.effects import Decision, Note
from schedulemesh.supervisor.kits import kit_of
from schedulemesh.supervisor.lifecycle import Lifecycle, created
from schedulemesh.supervisor.roll import PAGE
from schedulemesh.supervisor.views import agent_info


class AgentDesk:
    """Handles requests about agents. A method raises one of our errors to refuse, and has then changed nothing."""

    def __init__(self, books: Books, lifecycle: Lifecycle, *, mesh: str, namespace: str) -> None:
        self._books = books
        self._lifecycle = lifecycle
        self._mesh = mesh
        self._launchers = launcher_name(mesh, "")
        self._namespace = namespace

    def create(self, body: CreateAgent, now: float, out: Decision) -> Reply | None:
        """The reply, or None while the agent is starting."""
        again = self._books.agent_asked_by(body.request_id, body.name)
        if again is not None and again.record.pool != body.pool:
            problem = f"was used before, for pool {again.record.pool!r}; take a new one"
            raise InvalidRequestError(field="request_id", problem=problem)
        if again is not None:
            return self._creation(again, body.request_id)
        pool = self._books.active_pool(body.pool)
        terms = admit(body, pool, self._namespace)
        there = self._books.living(terms.name)
        if there is not None:
            return self._existing(there, record_of(body, terms, pool, now))
        self._check_names(terms)
        self._books.ledger.check_room(pool, terms.name, terms.need)
        self._check_nodes(terms, overcommit=pool.overcommit)
        record = record_of(body, terms, pool, now)
        agent = Agent(record, now)
        for key, blob in zip(kit_of(record), (body.class_blob, body.args_blob, terms.environment), strict=True):
            self._books.kits.put(key, blob, out)
        self._books.add(agent)
        self._books.save(agent, out)
        self._books.wait(record.uid, body.request_id, creates=True)
        self._lifecycle.begin(agent, out)
        out.notes.append(Note("agent_admitted", {"agent": record.name, "pool": pool.name, "holds": str(record.need)}))
        return None

    def get(self, name: str) -> Reply:
        return Reply(result={"agent": agent_info(self._books.agent(name).record)})

    def list(self, body: ListAgents) -> Reply:
        """A page: those with these labels among so many, and where it ends."""
        roll = self._books.members(self._books.pool(body.pool) if body.pool is not None else None)
        page = list(islice(roll.after(body.after), PAGE))
        records = [self._books.agents[uid].record for uid in page]
        wanted = body.labels.items()
        return Reply(
            result={
                "agents": [agent_info(record) for record in records if wanted <= record.labels.items()],
                "next": roll.place(page[-1]) if len(page) == PAGE else None,
            }
        )

    def delete(self, request_id: str, body: DeleteAgent, now: float, out: Decision) -> Reply | None:
        """The reply, or None until the end was observed."""
        grace_s = check_grace(body.grace_s)
        agent = self._books.agent_asked_by(request_id, body.name) or self._books.agent(body.name)
        record = agent.record
        if record.state in ENDED:
            if request_id not in record.stopped_by:  # or a retry would end the next agent of this name
                self._books.dismiss(agent)
                self._books.remember(record, request_id)
                self._books.save(agent, out)
            return Reply(result={"agent": agent_info(record)})
        self._books.wait(record.uid, request_id)
        if request_id not in record.stopped_by:
            self._books.remember(record, request_id)
            out.notes.append(Note("agent_deleting", {"agent": record.name, "state": record.state.value}))
            self._lifecycle.delete(agent, grace_s, force=body.force, now=now, out=out)
        return None

    def _creation(self, agent: Agent, request_id: str) -> Reply | None:
        if agent.record.started_at is None and agent.record.state not in ENDED:
            self._books.wait(agent.record.uid, request_id, creates=True)
            return None
        return created(agent.record, request_id)

    def _existing(self, there: Agent, asked: AgentRecord) -> Reply | None:
        """Someone has the name. The same agent is handed out if that was wanted, but nothing is created."""
        differs = differences(there.record, asked)
        leaving = there.record.goal in LEAVING
        if not asked.options.get("get_if_exists") or differs or leaving:
            raise AgentExistsError(agent=asked.name, state=there.record.state.value, differs=differs)
        if there.record.started_at is None:
            self._books.wait(there.record.uid, asked.uid, creates=True)
            return None
        return Reply(result={"agent": agent_info(there.record), "created": False})

    def _check_names(self, terms: Terms) -> None:
        own = terms.actor_name == self._mesh or terms.actor_name.startswith(self._launchers)
        if own and terms.namespace == self._namespace:
            raise InvalidRequestError(
                field="name", problem=f"{terms.actor_name!r} is a name of the mesh's own; take another"
            )
        holder = self._books.holder_of(terms.namespace, terms.actor_name)
        if holder is not None:
            raise InvalidRequestError(
                field="ray_options['name']",
                problem=f"{terms.actor_name!r} is the actor name of agent {holder.record.name!r} "
                f"in namespace {terms.namespace!r}",
            )

    def _check_nodes(self, terms: Terms, *, overcommit: bool) -> None:
        if overcommit:
            return
        nodes = self._lifecycle.cluster.nodes
        for node in nodes:
            if terms.need.fits_in(node.total):
                return
        largest: dict[str, int] = {}
        for node in nodes:
            for kind, value in node.total.units.items():
                largest[kind] = max(largest.get(kind, 0), value)
        raise NoNodeFitsError(
            agent=terms.name,
            asked=terms.need.as_dict(),
            nodes=len(nodes),
            largest=Amounts(largest).as_dict(terms.need),
        )
