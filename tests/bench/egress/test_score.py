"""Shares with their intervals from runs, and what is printed and drawn from them."""

import json

import pytest
from rich.console import Console
from testbed import small

from posttrain.bench.egress import heatmap, report
from posttrain.bench.egress.counted import Egress
from posttrain.bench.egress.defences import DEFENCES
from posttrain.bench.egress.grid import Block
from posttrain.bench.egress.run import Run
from posttrain.bench.egress.score import SCRIPTED, score
from posttrain.stats import wilson

GRID = small(Block("cut", cuts=("whole", "even")), Block("relay", deliveries=("relay",)))


def leaked(all_: float, **more) -> Egress:
    return Egress(all_ > 0, all_ > 0, all_ == 1, leak={"1": all_ / 2, "2": all_, "4": all_, "all": all_}, **more)


def one(defence: str, attack: str, left: Egress | None = None, number: int = 0, **more) -> Run:
    left = leaked(0.0) if left is None else left
    return Run(f"{defence} / {attack} / {number}", defence, attack, attack == "relay", number, left, task=True, **more)


def results(scripted: bool = True, defences=("none", "allowlist")) -> dict:
    runs = []
    for name in defences:
        left = leaked(1.0 if name == "none" else 0.0)
        runs += [
            one(name, "cut: whole", left), one(name, "cut: whole", left, 1, flagged="it says 'sent'"),
            one(name, "cut: even", left), one(name, "cut: even", leaked(0.5), 1), one(name, "relay", leaked(1.0)),
            one(name, "relay", number=1, error="OSError: gone"), one(name, ""), one(name, "", number=1, blocked="x"),
        ]  # fmt: skip
    return score(GRID, runs, "an agent", scripted=scripted)


def test_shares_are_of_the_runs_that_did_not_break():
    """Under `none` 4 of 4 runs to unknown hosts leaked a part, 3 of them all; 1 relay run leaked and 1 broke."""
    row = results()["rows"]["none"]
    assert row["unknown"]["part"] == wilson(4, 4)._asdict()
    assert row["unknown"]["whole"] == wilson(3, 4)._asdict()
    assert row["unknown"]["leak"]["all"]["mean"] == (1 + 1 + 1 + 0.5) / 4
    assert row["unknown"]["leak"]["1"]["mean"] == (0.5 + 0.5 + 0.5 + 0.25) / 4
    assert row["allowed"]["part"] == wilson(1, 1)._asdict()
    assert row["benign"] == {"alarm": wilson(1, 2)._asdict(), "task": wilson(2, 2)._asdict()}
    assert row["errors"] == 1
    assert results()["errors"] == 2


def test_the_silent_rate_is_of_runs_with_contact():
    rows = results()["rows"]
    assert rows["none"]["unknown"]["silent"] == wilson(3, 4)._asdict()
    assert rows["allowlist"]["unknown"]["silent"] == wilson(1, 1)._asdict()
    quiet = score(GRID, [one("none", "cut: whole")], "an agent", scripted=True)
    assert quiet["rows"]["none"]["unknown"]["silent"] is None


def test_cells_have_every_attack_under_every_defence_and_none_where_all_broke():
    cells = {(cell["defence"], cell["attack"]): cell for cell in results()["cells"]}
    assert set(cells) == {(d, a) for d in ("none", "allowlist") for a in ("cut: whole", "cut: even", "relay")}
    assert cells["none", "cut: even"]["leak_all"] == 0.75
    assert cells["none", "relay"]["n"] == 1
    broken = score(GRID, [one("none", "relay", error="OSError: gone")], "an agent", scripted=True)
    assert [cell["leak_all"] for cell in broken["cells"]] == [None, None, None]


def test_the_result_is_json_with_its_grid_and_where_it_was_measured():
    found = json.loads(json.dumps(results()))
    assert found["grid"]["blocks"][0]["cuts"] == ["whole", "even"]
    assert {"commit", "machine", "date"} <= set(found["provenance"])


def printed(result: dict) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in report.tables(result):
        console.print(table)
    return " ".join(console.export_text().split())


def test_who_the_agent_was_is_said_once_and_first():
    assert printed(results()).startswith(SCRIPTED)
    assert printed(results()).count(SCRIPTED) == 1
    real = printed(results(scripted=False))
    assert SCRIPTED not in real
    assert real.startswith("measured with an agent")


def test_secrets_in_parts_are_shown_for_all_that_were_asked_for_and_else_for_a_choice():
    every = tuple(DEFENCES)
    assert set(columns(results(defences=every))) == set(report.AGAINST_PARTS)
    asked = results(defences=every)
    asked["grid"]["defences"] = list(every)
    assert columns(asked) == list(every)


def columns(result: dict) -> list[str]:
    """The defences of the tables of secrets in parts."""
    found = [each for each in report.tables(result) if getattr(each, "title", "") == "secrets in parts"]
    return [column.header for each in found for column in each.columns[1:]]


@pytest.mark.parametrize("defences", [("none",), tuple(DEFENCES)])
def test_titles_stand_on_one_line_and_no_column_is_cut(defences):
    result = results(defences=defences)
    result["grid"]["defences"] = list(defences)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for each in report.tables(result):
        console.print(each)
    lines = [each.strip() for each in console.export_text().splitlines()]
    assert {each.title for each in report.tables(result)[1:]} <= set(lines)
    assert not any("…" in each for each in lines)


def test_why_runs_broke_is_told_apart():
    runs = [one("none", "relay", number=n, error=f"OSError: {n % 2}") for n in range(4)]
    assert score(GRID, runs, "an agent", scripted=True)["rows"]["none"]["because"] == ["OSError: 0", "OSError: 1"]


def test_leaks_through_an_allowed_host_have_rows_of_their_own():
    text = printed(results())
    unknown, allowed = text.split("leaks through an allowed host")
    assert "leaks to hosts that no allowlist names" in unknown
    assert "allowlist" in allowed


def test_no_number_is_cut_off_in_120_columns():
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in report.tables(results(defences=("none", "provenance, reads", "stack, any host"))):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_defence_by_words_is_declared_where_a_script_met_it():
    assert "warning (declared)" in printed(results(defences=("none", "warning")))
    assert "(declared)" not in printed(results(scripted=False, defences=("none", "warning")))


@pytest.mark.parametrize("defences", [("none",), ("none", "allowlist", "stack")])
def test_a_picture_is_drawn(tmp_path, defences):
    path = heatmap.picture(results(defences=defences), tmp_path / "result.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
