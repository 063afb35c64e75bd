"""Spy: a stack belongs to the part that its innermost known frame belongs to."""

from __future__ import annotations

import subprocess
import sys

from harness.spy import OTHER, Spy, read, shares

RAW = """run (asyncio/base_events.py:1);step (supervisor/mesh.py:60);encode (msgspec/x.py:2) 6
run (asyncio/base_events.py:1);select (selectors.py:9) 3
main (elsewhere.py:1) 1
"""


def test_a_stack_is_of_the_part_that_its_innermost_known_frame_belongs_to() -> None:
    parts = {"the core": ("supervisor/mesh.py",), "the loop": ("asyncio/",)}
    assert shares(read(RAW), parts) == {"the core": 0.6, "the loop": 0.3, OTHER: 0.1}


def test_stacks_that_stand_there_twice_are_added_up() -> None:
    assert read("a (b.py:1) 2\na (b.py:1) 3\n") == {("a (b.py:1)",): 5}


def test_it_sees_what_a_process_does() -> None:
    code = "print('begun', flush=True)\ndef spin():\n    while True:\n        pass\nspin()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        spy = Spy(child.pid)
        subprocess.run([sys.executable, "-c", "import ray"], check=True)  # some time goes by
        stacks = spy.seen()
        child.kill()
    assert any("spin" in frame for frames in stacks for frame in frames)
