"""Tables: how a mesh looks in a terminal. Decides the wording and the layout; asks nobody and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schedulemesh.core.infos import AgentInfo, PoolInfo, StatusReply

_BAR_WIDTH = 12
_ID_LENGTH = 8
"""Characters of a node id: enough to tell nodes apart, as in Ray's own dashboards."""
_CAUSE_LENGTH = 60
_LARGE = 1000
_STYLES = {
    "serving": "green",
    "active": "green",
    "running": "green",
    "starting": "cyan",
    "restarting": "yellow",
    "recovering": "yellow",
    "stopping": "yellow",
    "deleting": "yellow",
    "stopped": "dim",
    "failed": "red",
}
_UNITS = {"memory": " MB"}


def mesh_view(
    status: StatusReply, pools: Sequence[PoolInfo], agents: Sequence[AgentInfo], *, now: float
) -> RenderableType:
    """The mesh at a glance: its own line, what of the cluster is promised, its pools and its agents."""
    return Group(mesh_line(status, now=now), promised_line(status), pools_table(pools), agents_table(agents, now=now))


def mesh_line(status: StatusReply, *, now: float) -> Text:
    counts = ", ".join(f"{count} {state}" for state, count in status["agents"].items() if count)
    warm = status["warm_agents"]
    return Text.assemble(
        (status["mesh"], "bold"),
        f" in {status['namespace']}: ",
        _state(status["state"]),
        f" · up {duration(now - status['started_at'])} · pid {status['pid']}",
        f" · {count_of(status['pools'], 'pool')} · agents: {counts or 'none'}",
        f" · {warm['ready']} of {warm['wanted']} warm" if warm["wanted"] else "",
        f" · version {status['version']} (Ray {status['ray_version']})",
    )


def promised_line(status: StatusReply) -> Text:
    """What pools are promised of the cluster, kind by kind; headroom is what they may never have."""
    kinds = [kind for kind, total in status["cluster"].items() if total or status["committed"].get(kind)]
    promised = ", ".join(share(kind, status["committed"].get(kind, 0.0), status["cluster"][kind]) for kind in kinds)
    headroom = f" · headroom {status['headroom']:.0%}" if status["headroom"] else ""
    return Text(f"promised to pools: {promised or 'nothing'}{headroom}")


def pools_table(pools: Sequence[PoolInfo]) -> RenderableType:
    if not pools:
        return Text("no pools", style="dim")
    with_warm = any(pool["warm_agents"] for pool in pools)
    table = _table("pool", "state", ">agents", *([">warm"] if with_warm else []), "used of capacity", "labels")
    for pool in sorted(pools, key=lambda pool: pool["name"]):
        heads = f"{pool['agents']}/{pool['target_agents']}" if pool["target_agents"] else str(pool["agents"])
        table.add_row(
            Text(pool["name"]),
            _state(pool["state"]),
            heads,
            *([f"{pool['warm_ready']}/{pool['warm_agents']}"] if with_warm else []),
            capacity_bars(pool["used_resources"], pool["capacity"]),
            Text(", ".join(f"{key}={value}" for key, value in pool["labels"].items())),
        )
    return table


def capacity_bars(used: Mapping[str, float], capacity: Mapping[str, float]) -> RenderableType:
    """One bar for each kind that the pool has or owes."""
    grid = Table.grid(padding=(0, 1))
    for kind in {**capacity, **used}:
        has, holds = capacity.get(kind, 0.0), used.get(kind, 0.0)
        if not has and not holds:
            continue
        full = "red" if holds > has else "yellow" if holds == has else "green"
        bar = ProgressBar(
            total=has or 1.0,
            completed=min(holds, has) if has else 1.0,
            width=_BAR_WIDTH,
            complete_style=full,
            finished_style=full,
        )
        grid.add_row(bar, Text(share(kind, holds, has)))
    return grid if grid.row_count else Text("no capacity", style="dim")


def agents_table(agents: Sequence[AgentInfo], *, now: float) -> RenderableType:
    if not agents:
        return Text("no agents", style="dim")
    with_cause = any(agent["cause"] for agent in agents)
    table = _table("agent", "pool", "state", "node", ">pid", ">restarts", ">age", *(["cause"] if with_cause else []))
    for agent in sorted(agents, key=lambda agent: (agent["pool"], agent["name"])):
        row: list[Text] = [
            Text(agent["name"]),
            Text(agent["pool"]),
            _state(agent["state"]),
            Text((agent["node_id"] or "-")[:_ID_LENGTH]),
            Text(str(agent["pid"] or "-")),
            Text(str(agent["restarts"])),
            Text(duration(now - agent["created_at"])),
        ]
        if with_cause:
            row.append(Text(_cut(first_line(agent["cause"] or ""))))
        table.add_row(*row)
    return table


def share(kind: str, used: float, capacity: float) -> str:
    """`cpu 1.5/4`, `memory 512/2,048 MB`."""
    return f"{kind} {amount(used)}/{amount(capacity)}{_UNITS.get(kind, '')}"


def amount(value: float) -> str:
    """A number as fine as it is booked; from a thousand on, to one digit."""
    text = f"{value:,.4f}" if abs(value) < _LARGE else f"{value:,.1f}"
    return text.rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Time passed, in its two largest units: `42s`, `3m 05s`, `2h 07m`, `9d 04h`. Clocks that differ show `0s`."""
    whole = max(0, int(seconds))
    for size, unit, below, lesser in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // below:02}{lesser}"
    return f"{whole}s"


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def shown(infos: Iterable[AgentInfo]) -> list[dict[str, object]]:
    """Agents as plain data for a program to read: all but the handle, which means nothing outside its process."""
    return [{name: value for name, value in info.items() if name != "handle"} for info in infos]


def _cut(line: str) -> str:
    return line if len(line) <= _CAUSE_LENGTH else f"{line[: _CAUSE_LENGTH - 1]}…"


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _table(*headings: str) -> Table:
    """An empty table; a heading that begins with `>` is a column of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        numbers = heading.startswith(">")
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if numbers else "left",
            no_wrap=numbers or heading in ("state", "node"),
            overflow="fold",
        )
    return table
