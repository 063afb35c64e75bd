"""Clean processes: a module of ours run in a process that inherits nothing of this one's job."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# What would give the new process a runtime_env, a namespace or a job of this one's. Access (RAY_AUTH_*, RAY_TLS_*)
# and Ray's own settings stay.
_INHERITED = (
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_RUNTIME_ENV_HOOK",
    "RAY_ADDRESS",
    "RAY_NAMESPACE",
    "RAY_JOB_ID",
    "RAY_JOB_NAME",
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
)


def run_module(module: str, arguments: Sequence[str], *, timeout_s: float, given: bytes = b"", folder: str = "") -> str:
    """Run `python -m module` to its end.

    Args:
        module: one of this package.
        arguments: of its command line.
        timeout_s: seconds until it is killed.
        given: its standard input.
        folder: its current directory; an empty temporary one if there is no such folder.

    Returns:
        What went wrong, in one line, or an empty text.
    """
    clean = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    clean["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else Ray copies the environment of a parent `uv run`
    with tempfile.TemporaryDirectory(prefix="schedulemesh-") as empty:
        try:
            done = subprocess.run(  # noqa: S603 - our own module, with our own arguments
                [sys.executable, "-m", module, *arguments],
                cwd=folder if folder and Path(folder).is_dir() else empty,
                env=clean,
                input=given,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not up after {timeout_s:g} s"
    errors = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (errors or ["no reason given"])[-1]
