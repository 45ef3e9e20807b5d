"""What tuning on one task takes from it with examples, and from other tasks: before and after, 0 to n examples.

Fine-tuning without examples can make a model worse at using them (Lee et al. 2026, arXiv:2602.23197): in its linear
model the fully tuned one answers its own task worse the more examples it is shown, and an opposite task worst of all.
The report asks a scorer for one number per question and shows each task's mean with its interval, and the change with
the interval of paired differences, question by question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from posttrain import stats
from posttrain.bench import figures
from posttrain.bench.record import provenance
from posttrain.bench.table import interval, table
from posttrain.extras import need

Kind = Literal["target", "opposite", "unrelated"]
KINDS = ("target", "opposite", "unrelated")
Score = Callable[[Any, str, int], Sequence[float]]
"""`score(model, task, shots)`: one number per question, in the same order for every model; larger is better."""
Scores = dict[str, dict[int, list[float]]]
"""Task to shots to one number per question."""

SHOTS = (0, 1, 2, 4, 7)
COLORS = {"before": "#6b7280", "after": "#1f6fb2"}


def scores(
    model: Any,
    tasks: Iterable[str],
    score: Score,
    *,
    shots: Sequence[int] = SHOTS,
    show: Callable[[str], None] | None = None,
) -> Scores:
    """Ask a scorer for everything.

    Args:
        model: To judge.
        tasks: Names that the scorer knows.
        score: See `Score`.
        shots: Numbers of examples.
        show: Called after each task and number with a line.
    """
    found: Scores = {}
    for task in tasks:
        for many in shots:
            values = [float(value) for value in score(model, task, many)]
            if not values:
                raise ValueError(f"The task {task!r} has no question; give at least one.")
            found.setdefault(task, {})[many] = values
            if show is not None:
                show(f"{task}, {many} shots: {sum(values) / len(values):.3f}")
    return found


def from_json(path: Path) -> Scores:
    """Scores that were written with `posttrain.files.write_json`, where shots became text."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return {task: {int(many): values for many, values in by_shots.items()} for task, by_shots in held.items()}


def report(before: Scores, after: Scores, kinds: Mapping[str, Kind], **more: Any) -> dict[str, Any]:
    """Before and after as one result, ready for JSON.

    Args:
        before: Of the model as it was.
        after: Of the tuned model, on the same questions.
        kinds: Task to what it is to the tuned one.
        **more: What else belongs in the file, such as settings.

    Raises:
        ValueError: The two are not of the same tasks, shots and questions, or a task has no kind.
    """
    tasks: dict[str, Any] = {}
    for task, by_shots in before.items():
        if kinds.get(task) not in KINDS:
            raise ValueError(f"The task {task!r} is {kinds.get(task)!r}; say for each one of {', '.join(KINDS)}.")
        other = after.get(task, {})
        if {many: len(v) for many, v in by_shots.items()} != {many: len(v) for many, v in other.items()}:
            raise ValueError(f"Before and after differ in the shots or questions of {task!r}; score both alike.")
        tasks[task] = {
            "kind": kinds[task],
            "shots": {
                str(many): {
                    "before": stats.bootstrap(by_shots[many])._asdict(),
                    "after": stats.bootstrap(other[many])._asdict(),
                    "change": stats.paired(other[many], by_shots[many]).difference._asdict(),
                }
                for many in by_shots
            },
        }
    ordered = dict(sorted(tasks.items(), key=lambda item: KINDS.index(item[1]["kind"])))
    return {"provenance": provenance(), **more, "tasks": ordered}


def tables(result: Mapping[str, Any]) -> list[Any]:
    """For the terminal: before, after and the change, by task and number of examples."""
    shots, escape = list(next(iter(result["tasks"].values()))["shots"]), need("rich.markup").escape
    out = []
    for what in ("before", "after", "change"):
        caption = "Means over questions with 95 % intervals." if what != "change" else "After - before, by question."
        shown = table(f"{what}, by examples in the prompt", caption, shots, first="task")
        for task, of in result["tasks"].items():
            shown.add_row(escape(f"{task} ({of['kind']})"), *(_cell(of["shots"][many][what], what) for many in shots))
        out.append(shown)
    return out


def _cell(value: Mapping[str, float], what: str) -> str:
    if what == "change" or value["low"] < 0 or value["high"] > 1:
        return f"{value['mean']:+.2f} [dim]{value['low']:+.2f}..{value['high']:+.2f}[/dim]"
    return interval(dict(value))


def picture(result: Mapping[str, Any], path: Path) -> Path:
    """A panel per task: the mean over examples in the prompt, before and after; whole or not there."""
    tasks = result["tasks"]
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    pyplot = figures.pyplot()
    size = (3.6 * columns, 2.9 * rows + 0.4)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    ends = [cell[when] for of in tasks.values() for cell in of["shots"].values() for when in COLORS]
    shares = all(0 <= end["low"] <= end["high"] <= 1 for end in ends)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis, (task, of) in zip(axes.flat, tasks.items(), strict=False):
        shots = [int(many) for many in of["shots"]]
        for when, color in COLORS.items():
            cells = [of["shots"][str(many)][when] for many in shots]
            axis.plot(shots, [cell["mean"] for cell in cells], color=color, marker="o", ms=4, label=when)
            low, high = [cell["low"] for cell in cells], [cell["high"] for cell in cells]
            axis.fill_between(shots, low, high, color=color, alpha=0.18, lw=0)
        axis.set_title(f"{task} ({of['kind']})", loc="left", fontsize=10)
        axis.set_xticks(shots)
        if shares:
            axis.set_ylim(-0.03, 1.03)
        figures.frame(axis)
    axes[0, 0].legend(frameon=False, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("examples in the prompt")
    for axis in axes[:, 0]:
        axis.set_ylabel("right answers" if shares else "mean score")
    return figures.saved(figure, path)
