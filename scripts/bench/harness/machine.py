"""The machine and the versions that a run was made with, and how busy the machine was."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cores: int
    cpu: str
    memory_gb: float
    kernel: str


class Run(msgspec.Struct, kw_only=True):
    """What stands above the table."""

    machine: Machine
    versions: dict[str, str]
    date: str
    load_at_begin: tuple[float, float, float]
    load_at_end: tuple[float, float, float]
    quick: bool


def machine() -> Machine:
    fields = dict(
        line.split(":", 1)
        for line in Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        if ":" in line
    )
    model = next((value for name, value in fields.items() if name.strip() == "model name"), platform.machine())
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=model.strip(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        kernel=f"{platform.system()} {platform.release()}",
    )


def begun(*, quick: bool) -> Run:
    return Run(
        machine=machine(),
        versions={
            "python": platform.python_version(),
            "ray": version("ray"),
            "schedulemesh": version("schedulemesh"),
        },
        date=dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        load_at_begin=os.getloadavg(),
        load_at_end=os.getloadavg(),
        quick=quick,
    )
