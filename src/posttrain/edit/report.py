"""What an edit did: report.json, a picture of the spectra, a model card, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.record import provenance
from posttrain.bench.table import table
from posttrain.edit.safety import Edit
from posttrain.files import write_json, write_whole

REPORT, PICTURE, CARD = "report.json", "spectrum.png", "README.md"
PAPER = "Liang, Wang, Wang, Multilingual Safety Alignment Via Sparse Weight Editing, 2026, arXiv:2602.22554"


def report(edit: Edit, *, model: str = "", rounding: Mapping[str, float] | None = None) -> dict[str, Any]:
    """All there is to say about an edit.

    Args:
        edit: Of a model.
        model: Its name.
        rounding: Of an edit in place, see `Applied`.
    """
    changes = []
    for each in edit.changes:
        projection = each.projection
        changes.append(
            {
                "layer": projection.layer, "part": projection.part, "module": projection.module,
                "units": len(each.units), "of": len(projection.rows), **each.measured._asdict(),
                "index": each.units.tolist(), "spectrum": each.energy.tolist(),
            }
        )  # fmt: skip
    return {
        "provenance": provenance(), "method": "sparse weight editing", "paper": PAPER, "model": model,
        "config": asdict(edit.config), "anchors": edit.anchors, "changes": changes, "english": edit.english,
        "rounding": dict(rounding or {}), "before": edit.before, "overlap": edit.overlap, "search": list(edit.search),
        "notes": list(edit.notes),
    }  # fmt: skip


def write(found: dict[str, Any], out: Path, *, adapter: bool) -> None:
    """The report, its picture and a model card, into a folder."""
    write_json(out / REPORT, found)
    picture(found, out / PICTURE)
    write_whole(out / CARD, card(found, adapter=adapter))


def picture(found: dict[str, Any], path: Path) -> Path:
    """How much of the gap changes of each rank close: the spectra, added up."""
    pyplot = figures.pyplot()
    figure, axis = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for change in found["changes"]:
        gap, left = change["gap"] ** 2, [1.0]
        for energy in change["spectrum"]:
            left.append(left[-1] - energy / gap if gap else 0.0)
        (line,) = axis.plot(left, label=f"layer {change['layer']} {change['part']}, {change['units']} units")
        axis.plot(change["rank"], left[change["rank"]], "o", color=line.get_color(), clip_on=False)
    axis.set(xlabel="rank (a dot: the one taken)", ylabel="objective / |gap|^2", ylim=(0, 1.03), xscale="symlog")
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    return figures.saved(figure, path)


def tables(found: dict[str, Any]) -> Iterable[Any]:
    """For the terminal."""
    anchors = found["anchors"]
    many = f"{anchors['harmful'][anchors['english']]} harmful prompts in {', '.join(anchors['languages'])}"
    out = table(
        "what the edit does to its anchors",
        f"{many}; {sum(anchors['harmless'].values())} harmless ones. Gap left: |X Delta - D| / |D|. Leakage: "
        "how far a harmless prompt is moved, in units of the gap. English: what is left of the units' rise there.",
        ("units", "rank", "gamma", "gap left", "leakage", "size", "English"),
        first="projection",
    )
    for each in found["changes"]:
        out.add_row(
            f"layer {each['layer']} {each['part']}",
            f"{each['units']} of {each['of']:,}",
            str(each["rank"]),
            f"{each['gamma']:g}",
            *(f"{each[name]:.3f}" for name in ("remaining", "leakage", "size", "english")),
        )
    yield out


def card(found: dict[str, Any], *, adapter: bool) -> str:
    """README.md of the folder."""
    anchors, config = found["anchors"], found["config"]
    base = found["model"]
    head = ["---", *([f"base_model: {base}"] if base else []), "tags: [posttrain, safety, weight-editing]"]
    head += ["library_name: peft"] if adapter else []
    lines = [
        *head, "---", "", f"# {base or 'A model'}, edited for safety in {', '.join(anchors['languages'])}", "",
        "Units of the gated MLP that rise on harmful prompts in English were changed in closed form, so that harmful",
        f"prompts in the other languages give what their English translations give ({PAPER}).", "",
        "| projection | units | rank | gap left | leakage on harmless anchors | size of the change |", "|---" * 6 + "|",
    ]  # fmt: skip
    for each in found["changes"]:
        lines.append(
            f"| `{each['module']}` ({each['part']}) | {each['units']} of {each['of']} | {each['rank']} "
            f"| {each['remaining']:.3f} | {each['leakage']:.3f} | {each['size']:.4f} |"
        )
    lines += [
        "", "No other weight differs from what was loaded. These numbers are of the anchors, not of attacks: measure",
        "attacks, false refusals and utility in every language before use.", "",
        f"Token `{config['position']}`, ridge {config['ridge']:g}; harmful anchors {_counts(anchors['harmful'])};",
        f"harmless anchors {_counts(anchors['harmless'])}. `{REPORT}` has the rest, and `{PICTURE}` the spectra.",
    ]  # fmt: skip
    if found["notes"]:
        lines += ["", "To know:", "", *(f"- {note}" for note in found["notes"])]
    how = (
        "Load it with PEFT, or serve it with vLLM (`--enable-lora`, and `--max-lora-rank` of at least the `r` in "
        "`adapter_config.json`). Without it the model is as it was. It goes with that model alone: on one that is "
        "edited already the edit would be made twice."
        if adapter
        else "`posttrain edit undo` of this folder gives the model as it was, bit for bit."
    )
    return "\n".join([*lines, "", how, ""])


def _counts(many: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in many.items())
