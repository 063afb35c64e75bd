"""The table and the document that keeps it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from harness import document
from harness.machine import begun
from harness.rows import at_most, count_row, ratio_row
from harness.subject import failed
from harness.table import END, START, MarkerError, heading, markdown, renewed

ROWS = [
    ratio_row(8, "reconnect", [(1.0, 2.0)] * 3, unit="s", rival="raw", target=at_most(1.5), note="in a fresh driver"),
    count_row(5, "calls to the supervisor", 2, target=at_most(0), note="in a fresh driver"),
    failed(2, "warm | pool", "Traceback\nNotImplementedError: no warm pools"),
]


def test_every_row_is_one_line_in_the_order_of_the_numbers() -> None:
    assert markdown(ROWS).splitlines() == [
        "| # | subject | ours | rival | ratio or value [95 %] | target | met? |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| 2 | warm \\| pool |  |  | error: NotImplementedError: no warm pools |  | no result |",
        "| 5 | calls to the supervisor (1) | 2 | — | 2 | ≤ 0 | **no** |",
        "| 8 | reconnect (1) | 1 s | raw: 2 s | 0.5 | ≤ 1.5 | yes |",
        "",
        "1. in a fresh driver",
    ]


def test_an_interval_stands_beside_its_value() -> None:
    row = ratio_row(1, "create", [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)], unit="s", rival="raw", target=None)
    assert "| 1 [0.5, 1.5] | — | — |" in markdown([row])


def test_a_new_table_takes_the_place_of_the_old_and_nothing_else() -> None:
    before = f"above\n{START}\nold\n{END}\nbelow\n"
    assert renewed(before, "new") == f"above\n{START}\nnew\n{END}\nbelow\n"
    assert renewed(renewed(before, "new"), "old") == before


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(MarkerError):
        renewed(f"above\n{END}", "new")


def test_the_heading_names_machine_versions_load_and_date() -> None:
    about = begun(quick=True)
    text = heading(about)
    assert about.machine.cores >= 1
    for part in (about.machine.cpu, about.versions["ray"], about.date, f"{about.load_at_begin[0]:.2f}"):
        assert part in text


def test_a_run_leaves_its_rows_its_table_and_its_picture(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# By hand\n{START}\n{END}\nAlso by hand.\n")
    document.write(tmp_path, begun(quick=True), ROWS)
    assert page.read_text().startswith("# By hand\n")
    assert page.read_text().endswith("Also by hand.\n")
    assert "| 8 | reconnect" in page.read_text()
    assert len(msgspec.json.decode((tmp_path / "performance.json").read_bytes())["rows"]) == len(ROWS)
    assert (tmp_path / "performance.svg").read_text().count("reconnect") >= 1
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
