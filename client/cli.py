"""The command line: `schedulemesh up`, `status`, `pools`, `agents`, `delete`, `down`.

Decides what is asked, what is printed where, and the exit code. Answers go to stdout; progress, questions and errors
go to stderr. It creates no launcher and looks up no agent's handle, so no user's class is loaded for it.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import click
import ray
from ray.exceptions import RayError
from rich.console import Console, RenderableType

from schedulemesh.client import birth, tables
from schedulemesh.client.connection import Connection
from schedulemesh.client.scheduler import NAME, NAMESPACE, Scheduler
from schedulemesh.core import messages
from schedulemesh.core.errors import ScheduleMeshError, SupervisorNotRunningError
from schedulemesh.core.infos import AgentInfo, PoolInfo, StatusReply
from schedulemesh.core.names import check_name
from schedulemesh.core.states import HOLDING, MeshState

_UP_S = 60.0
_NOT_FOUND = "none runs on this machine, or it does not answer; name one with --address or RAY_ADDRESS"
_UNREACHABLE = (
    "something listens there, but Ray cannot connect (no cluster, another version of Ray, or another token: "
    "see RAY_AUTH_MODE and RAY_AUTH_TOKEN)"
)
_LISTENS_S = 5.0
_CLIENT_PORT = 10001
_WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing is to be folded for want of room."""
_IN_A_SHELL = {
    "pass force=True": "pass --force",
    "list_pools() shows": "`schedulemesh pools` shows",
    "list_agents() shows": "`schedulemesh agents` shows",
}
"""What error messages advise to a Python program, and what does the same here."""


class FailureError(click.ClickException):
    """Ends the command with one line on stderr."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", err=file is None, file=file)


class NotThereError(FailureError):
    """No cluster, or no supervisor in it."""

    exit_code = 3


@dataclass(frozen=True)
class Target:
    """Which mesh of which cluster."""

    address: str
    name: str
    namespace: str


def _on_a_mesh(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that every command has; the command gets them as its first argument, a Target."""

    @click.option(
        "--address",
        envvar="RAY_ADDRESS",
        show_envvar=True,
        default="auto",
        show_default=True,
        help="The Ray cluster: host:port of its GCS, ray://host:port, or auto for the one on this machine.",
    )
    @click.option("--name", default=NAME, show_default=True, help="Ray name of the supervisor.")
    @click.option("--namespace", default=NAMESPACE, show_default=True, help="Ray namespace of the mesh.")
    @functools.wraps(command)
    def with_target(address: str, name: str, namespace: str, **options: Any) -> None:
        command(Target(address or "auto", name, namespace), **options)

    return with_target


def _finite(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number")
    return value


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="schedulemesh")
def main() -> None:
    """Quotas, an owner and an address for long-lived Ray actors.

    A mesh is one supervisor with its pools and agents. A cluster may hold several, told apart by --name and
    --namespace. No command ever starts a cluster.

    \b
    Exit codes:
      0  done
      1  refused or failed; stderr has one line that begins with `error:`
      2  wrong usage
      3  no cluster there, or no supervisor in it
    """  # noqa: D301 - click reads the \b


@main.command()
@_on_a_mesh
@click.option(
    "--headroom",
    type=click.FloatRange(0, 0.9),
    callback=_finite,
    help="Share of the cluster (0 to 0.9) that pools may not have. Without it: 0, or what a running one has.",
)
def up(target: Target, headroom: float | None) -> None:
    """Start a supervisor, if there is none. Returns when it answers."""
    with _attached(target) as connection:
        started = False
        try:
            connection.find()
        except SupervisorNotRunningError:
            with _progress(f"starting supervisor {target.name!r}"):
                birth.start_supervisor(target.name, target.namespace, headroom=headroom or 0.0, timeout_s=_UP_S)
            started = True
        status = _status(connection)
        _check_as_wanted(status, headroom)
        click.echo(
            f"supervisor {target.name!r} {'is up' if started else 'was up already'}: "
            f"headroom {status['headroom']:.4g}, {tables.count_of(status['pools'], 'pool')}, "
            f"{tables.count_of(_living(status), 'living agent')}"
        )


@main.command()
@_on_a_mesh
@_as_json
def status(target: Target, *, as_json: bool) -> None:
    """Show the mesh, its pools and its agents."""
    with _attached(target) as connection:
        mesh = _status(connection)
        pools = cast("list[PoolInfo]", connection.ask_all(messages.ListPools(), "pools"))
        agents = cast("list[AgentInfo]", connection.ask_all(messages.ListAgents(None, {}), "agents"))
        if as_json:
            _print_json({"mesh": mesh, "pools": pools, "agents": tables.shown(agents)})
        else:
            _print(tables.mesh_view(mesh, pools, agents, now=time.time()))


@main.command()
@_on_a_mesh
@_as_json
def pools(target: Target, *, as_json: bool) -> None:
    """List the pools: their capacity and how much of it is used."""
    with _attached(target) as connection:
        found = cast("list[PoolInfo]", connection.ask_all(messages.ListPools(), "pools"))
        if as_json:
            _print_json({"pools": found})
        else:
            _print(tables.pools_table(found))


@main.command()
@_on_a_mesh
@click.option("--pool", help="Only the agents of this pool.")
@_as_json
def agents(target: Target, pool: str | None, *, as_json: bool) -> None:
    """List the agents that live or have failed."""
    with _attached(target) as connection:
        wanted = None if pool is None else check_name(pool, "pool name")
        found = cast("list[AgentInfo]", connection.ask_all(messages.ListAgents(wanted, {}), "agents"))
        if as_json:
            _print_json({"agents": tables.shown(found)})
        else:
            _print(tables.agents_table(found, now=time.time()))


@main.command()
@click.argument("agent", metavar="NAME")
@_on_a_mesh
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=30.0,
    show_default=True,
    help="Seconds for on_stop() and the calls under way, until it is killed.",
)
@click.option("--force", is_flag=True, help="Kill it at once, without on_stop().")
def delete(target: Target, agent: str, grace: float, *, force: bool) -> None:
    """End the agent NAME. Returns when its end was observed and its capacity is back."""
    with _attached(target) as connection, _progress(f"ending agent {agent!r}"):
        last = _scheduler(connection).delete_agent(agent, grace_s=grace, force=force)["agent"]
    cause = f" ({tables.first_line(last['cause'])})" if last["cause"] and last["state"] == "failed" else ""
    click.echo(f"agent {agent!r} {last['state']}{cause}")


@main.command()
@_on_a_mesh
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="End living agents too; each has 30 s to stop.")
def down(target: Target, *, yes: bool, force: bool) -> None:
    """End the mesh: its agents (with --force), its pools and its supervisor. Returns when no trace is left."""
    with _attached(target) as connection:
        mesh = _status(connection)
        living = tables.count_of(_living(mesh), "living agent")
        if _living(mesh) and not force and mesh["state"] == MeshState.SERVING.value:
            raise FailureError(
                f"mesh {target.name!r} has {living}; `schedulemesh agents` shows them, --force ends them too"
            )
        if not yes:
            _confirm(f"End mesh {target.name!r} with {tables.count_of(mesh['pools'], 'pool')} and {living}?")
        with _progress(f"ending mesh {target.name!r}"):
            _scheduler(connection).stop(force=force)
    click.echo(f"mesh {target.name!r} ended")


@contextmanager
def _attached(target: Target) -> Iterator[Connection]:
    """A connection to the mesh; every error of ours or of Ray's inside ends the command with one line."""
    was_a_driver = ray.is_initialized()
    try:
        check_name(target.name, "--name")
        check_name(target.namespace, "--namespace")
        with _progress("connecting"):
            _join(target.address)
        yield Connection(target.name, target.namespace)
    except SupervisorNotRunningError as error:
        raise NotThereError(_in_a_shell(error)) from None
    except ScheduleMeshError as error:
        raise FailureError(_in_a_shell(error)) from None
    except RayError as error:
        raise FailureError(f"Ray: {tables.first_line(str(error)) or type(error).__name__}") from None
    finally:
        if not was_a_driver:  # called from inside a program, it leaves that program's Ray alone
            ray.shutdown()


def _join(address: str) -> None:
    """Become a driver of the cluster that is there; never start one."""
    if address == "local":
        raise click.BadParameter("'local' would start a cluster; name one that runs", param_hint="--address")
    try:
        _check_listens(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from None
    except OSError as error:
        raise NotThereError(f"no Ray cluster at {address!r}: {error.strerror or error}") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from None
    except RuntimeError as error:
        raise FailureError(f"the Ray cluster at {address!r} cannot be used: {tables.first_line(str(error))}") from None
    except (ConnectionError, SystemExit):
        # Ray ends the process where it gets no answer.
        reason = _NOT_FOUND if address == "auto" else _UNREACHABLE
        raise NotThereError(f"no Ray cluster at {address!r}: {reason}") from None


def _check_listens(address: str) -> None:
    """Raises OSError if nobody listens there, which `ray.init` takes two minutes over; ValueError if it is no address.

    What "auto" and the schemes of Ray's plug-ins stand for is known to Ray alone, and left to it.
    """
    if address == "auto" or ("://" in address and not address.startswith("ray://")):
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or (_CLIENT_PORT if parts.scheme else None)
    if not parts.hostname or port is None:
        raise ValueError(f"{address!r} is neither host:port, ray://host:port, nor auto")
    socket.create_connection((parts.hostname, port), timeout=_LISTENS_S).close()


def _status(connection: Connection) -> StatusReply:
    return _scheduler(connection).status()


def _scheduler(connection: Connection) -> Scheduler:
    return Scheduler(connection)


def _living(status: StatusReply) -> int:
    return sum(status["agents"].get(state.value, 0) for state in HOLDING)


def _check_as_wanted(status: StatusReply, headroom: float | None) -> None:
    if status["state"] != MeshState.SERVING.value:
        raise FailureError(f"mesh {status['mesh']!r} is being stopped; try again when it has ended")
    if headroom is not None and not math.isclose(headroom, status["headroom"]):
        raise FailureError(
            f"supervisor {status['mesh']!r} runs with headroom {status['headroom']:.4g}, not {headroom:.4g}; "
            "it is set at the start: end the mesh with `schedulemesh down`, then start it again"
        )


def _confirm(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        agreed = False
    if not agreed:
        raise FailureError("not confirmed, nothing was changed; --yes goes without asking")


def _in_a_shell(error: ScheduleMeshError) -> str:
    message = str(error)
    for python, shell in _IN_A_SHELL.items():
        message = message.replace(python, shell)
    return message


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Show that something is under way, to those who watch."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{what} …"):
            yield
    else:
        yield


def _print(view: RenderableType) -> None:
    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if fixed else _WIDE, highlight=False).print(view)


def _print_json(answer: Any) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
