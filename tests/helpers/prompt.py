"""A driver that does what it is told, line after line, while its test does things to the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOOP = """
import json, sys, time
import ray, schedulemesh
for line in sys.stdin:
    code = json.loads(line)
    try:
        try:
            answer = {"value": eval(code)}
        except SyntaxError:
            exec(code)
            answer = {"value": None}
    except BaseException as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write("\\x00" + json.dumps(answer, default=repr) + "\\n")
    sys.stdout.flush()
"""


class DriverError(Exception):
    """What was told to the driver raised there; the text begins with the type's name."""


class Prompt:
    """One driver process. `tell` runs an expression or statements in it and returns the value."""

    def __init__(self, folder: Path, env: dict[str, str], preamble: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.printed: list[str] = []
        """What it showed, apart from its answers; read while an answer is waited for."""
        script = folder / "driver.py"
        script.write_text(preamble + _LOOP)
        self._errors = (folder / "stderr.txt").open("a+")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, code: str) -> None:
        """Have it start on something; `answer` waits for the outcome."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("\x00"):
                answer = json.loads(line[1:])
                if "error" in answer:
                    raise DriverError(f"{answer['error']}: {answer['message']}")
                return answer["value"]
            self.printed.append(line)
        self._errors.seek(0)
        raise AssertionError(f"the driver ended: {self._errors.read()[-3000:]}")

    def tell(self, code: str) -> Any:
        self.begin(code)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
