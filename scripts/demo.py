"""The demo: two drivers, one after the other, and agents that outlive the first, a kill and the supervisor's death.

Starts a local cluster of its own, which shares no port, folder or token with any other on this machine, and leaves
nothing of it behind, also when interrupted. The drivers are in `demo/`, each in its own folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent / "demo"
WORD = "heappush"
_CLUSTER_UP_S = 120.0
_TOO_SLOW = "timed out during startup"
"""What Ray says when its own node was not up after 30 s, as on a machine that others keep busy."""
_DRIVER_S = 90.0
_GONE_S = 20.0
_LOOK_S = 0.05
_CLUSTER_LOG = "ray-start.log"
_PORTS = range(20_000, 32_000)
"""Above those that Ray gives to its workers, below those of outgoing connections."""
_LONGEST_BASE = 24
"""Ray's sockets lie under the temporary folder, and the path of a socket may have 107 characters."""


class Interrupted(Exception):  # noqa: N818 - not an error
    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Notes signals; they are raised where nothing is half done, so that what was started is always known."""

    def __init__(self) -> None:
        self._number: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def check(self) -> None:
        if self._number is not None:
            raise Interrupted(self._number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._number = number


class Processes:
    """What this demo started, each in a session of its own: whatever comes of it stays in that session."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], *, folder: Path, env: dict[str, str], log: Path | None = None) -> int:
        """Returns the place of the process in the order of starts."""
        with open(log or os.devnull, "ab") as output:  # noqa: PTH123 - os.devnull is no Path
            self._started.append(
                subprocess.Popen(  # noqa: S603 - our own scripts and this environment's ray
                    command,
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output if log else None,
                    stderr=output if log else None,
                    start_new_session=True,
                )
            )
        return len(self._started) - 1

    def exit_code(self, place: int) -> int | None:
        """None while it runs. Raises Interrupted."""
        self._interrupts.check()
        return self._started[place].poll()

    def end_all(self) -> list[int]:
        """Kill everything that was started and all that came of it; returns the ids of what would not go."""
        until = time.monotonic() + _GONE_S
        sessions = {process.pid for process in self._started}
        while left := living(sessions):
            for pid in left:
                kill(pid)
            for process in self._started:
                process.poll()
            if time.monotonic() > until:
                break
            time.sleep(_LOOK_S)
        return left


def living(sessions: set[int]) -> list[int]:
    """Ids of the processes of these sessions, without those that only wait for their parent to notice their end."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we looked
        if int(session) in sessions and state not in "ZX":
            found.append(int(folder.name))
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)


def start_cluster(processes: Processes, home: Path) -> dict[str, str]:
    """Start a cluster whose files are all in `home`; returns the environment of its drivers."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {
        "RAY_TMPDIR": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # in the environment only: nothing is written to the user's home
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # no idle processes: they would be of an environment that no agent has
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={home}"]
    command += ["--port=0", f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0"]
    command += ["--min-worker-port=0", "--max-worker-port=0", "--include-dashboard=false"]
    command += ["--num-cpus=2", f"--object-store-memory={80 * 1024 * 1024}"]
    log = home / _CLUSTER_LOG
    place = processes.start(command, folder=home, env=env, log=log)
    address = home / "ray_current_cluster"
    until = time.monotonic() + _CLUSTER_UP_S
    while not (address.exists() and address.read_text().strip()):
        if processes.exit_code(place) is not None and _TOO_SLOW in log.read_text() and time.monotonic() < until:
            say("this machine is busy: Ray gave up waiting for its own node; again")
            place = processes.start(command, folder=home, env=env, log=log)
        elif processes.exit_code(place) is not None or time.monotonic() > until:
            raise SystemExit(f"the cluster did not start:\n{log.read_text()[-2000:]}")
        time.sleep(_LOOK_S)
    return {**env, "RAY_ADDRESS": address.read_text().strip()}


def drive(processes: Processes, env: dict[str, str], script: str, *arguments: str) -> None:
    """Run a driver in its own folder, to its end."""
    path = HERE / script
    place = processes.start([sys.executable, path.name, *arguments], folder=path.parent, env=env)
    until = time.monotonic() + _DRIVER_S
    while (code := processes.exit_code(place)) is None:
        if time.monotonic() > until:
            raise SystemExit(f"the demo failed: {script} was not done after {_DRIVER_S:g} s")
        time.sleep(_LOOK_S)
    if code != 0:
        cluster = (Path(env["RAY_TMPDIR"]) / _CLUSTER_LOG).read_text()[-1000:]
        raise SystemExit(f"the demo failed: {script} ended with exit code {code}; the cluster said last:\n{cluster}")


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to no outgoing connection while the cluster starts."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def new_folder() -> Path:
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="mesh-demo-", dir=base if len(base) <= _LONGEST_BASE else "/tmp"))  # noqa: S108


def say(text: str) -> None:
    print(text, flush=True)


def run(processes: Processes, home: Path, word: str) -> None:
    say(f"== a local cluster of our own, in {home}")
    env = start_cluster(processes, home)
    say(f"cluster up at {env['RAY_ADDRESS']}")
    say("\n== driver A makes agents and exits")
    drive(processes, env, "driver_a/ingest.py")
    say(f"\n== driver B, another process in another folder, asks all three for {word!r}")
    drive(processes, env, "driver_b/ask.py", word)
    say("\n== driver B kills processes, asks for too much, and deletes everything")
    drive(processes, env, "driver_b/harm.py")


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else WORD
    began = time.monotonic()
    interrupts = Interrupts()
    processes = Processes(interrupts)
    home = new_folder()
    try:
        run(processes, home, word)
    except Interrupted as interrupted:
        say(f"\ninterrupted ({interrupted})")
        code = 128 + interrupted.number
    else:
        code = 0
    finally:
        left = processes.end_all()
        shutil.rmtree(home, ignore_errors=True)
        what = f"processes {left}" if left else "no process"
        say(f"\n== cleaned up after {time.monotonic() - began:.0f} s: {what}, no file left")
    return code or (1 if left else 0)


if __name__ == "__main__":
    sys.exit(main())
