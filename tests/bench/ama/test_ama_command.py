"""`posttrain bench ama` from its flags to its files; resume, bad input, and a model that reads."""

import asyncio
import json
from collections import Counter

import pytest

from posttrain.bench.ama.methods import baselines
from posttrain.bench.ama.plan import Plan
from posttrain.bench.ama.rows import Row
from posttrain.bench.ama.runner import Readers, run
from posttrain.bench.ama.score import score
from posttrain.bench.claims import memory
from posttrain.chat import ScriptedChat
from posttrain.commands.bench import main
from posttrain.files import read_lines

FEW = ("ours", "ours without edges", "BM25", "address, ±1, BM25")
FLAGS = ["ama", "--lengths", "8K", "--seeds", "2", "--forms", "prose", "--methods", *FEW]


def episode(number, **more):
    turns = [{"turn_idx": at, "action": f"go {at}", "observation": f"You see the lamp {at}."} for at in range(12)]
    questions = [
        {"question": "What happened at step 3?", "answer": "It led to step 7.", "type": "B", "question_uuid": "x"},
        {"question": "How many lamps?", "answer": "Many.", "type": "D", "question_uuid": "y"},
    ]
    return {"episode_id": number, "task": "look", "task_type": "toy", "domain": "Game", "success": True,
            "num_turns": 12, "total_tokens": 99, "trajectory": turns, "qa_pairs": questions, **more}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(episode(number)) + "\n" for number in range(3)))
    return path


def test_it_prints_the_tables_and_writes_the_rows_the_result_and_the_picture(tmp_path, capfd):
    out = tmp_path / "out"
    main([*FLAGS, "--out", str(out)])
    said = capfd.readouterr()
    assert said.out == ""
    assert "no model: retrieval only" in said.err
    assert "answers by rules" in said.err
    result = json.loads((out / "result.json").read_text())
    assert list(result["methods"]) == list(FEW)
    assert result["errors"] == 0
    for row in result["methods"].values():
        assert row["all"]["rules, needle"]["mean"] == 1
        assert row["all"]["rules, stored"]["mean"] == 1
    assert result["methods"]["ours"]["all"]["all"]["mean"] > result["methods"]["BM25"]["all"]["all"]["mean"]
    assert result["methods"]["ours"]["fidelity"]["n"] > 100
    assert (out / "result.png").read_bytes().startswith(b"\x89PNG")
    lines = (out / "rows.jsonl").read_text()
    main([*FLAGS, "--out", str(out)])
    assert (out / "rows.jsonl").read_text() == lines, "nothing is run twice"
    for name in ("ama-sample", "ama-rooms"):
        assert memory.section(result, name)[-1].startswith("| address, ±1, BM25 |")
    cells = [claim.measured(result) for claim in memory.CLAIMS]
    assert all(cells)
    assert "not measured: an ablation is missing" in cells


def test_a_killed_run_goes_on_and_what_broke_is_run_again(tmp_path, monkeypatch):
    plan = Plan(lengths=("8K",), seeds=2, forms=("prose",), methods=("BM25", "last turns"))
    built = Counter()
    original = baselines.Last.build

    def counted(self, turns):
        built[type(self).__name__] += 1
        if built["Last"] == 1:
            raise OSError("gone")
        original(self, turns)

    monkeypatch.setattr(baselines.Last, "build", counted)
    rows = asyncio.run(run(plan, tmp_path))
    assert [bool(row.error) for row in rows] == [False, True, False, False]
    assert rows[1].error == "OSError: gone"
    path = tmp_path / "rows.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])  # a kill in the middle of the last line
    again = asyncio.run(run(plan, tmp_path))
    assert not any(row.error for row in again)
    assert len(list(read_lines(path))) == 1 + 4
    assert again[0] == rows[0]
    assert built["Last"] == 4, "one broke, one was whole at first; then both again, for one was cut short"


def test_rows_of_other_budgets_are_not_mixed(tmp_path):
    asyncio.run(run(Plan(lengths=("8K",), seeds=1, forms=("prose",), methods=("BM25",)), tmp_path))
    with pytest.raises(ValueError, match="rows of other data, budgets or models"):
        asyncio.run(run(Plan(lengths=("8K",), seeds=1, forms=("prose",), methods=("BM25",), k=5), tmp_path))


def test_the_same_log_gives_the_same_rows(tmp_path):
    plan = Plan(lengths=("8K",), seeds=1, forms=("json",), methods=("ours", "TF-IDF"))
    first, second = (asyncio.run(run(plan, tmp_path / name)) for name in "ab")

    def told(rows: list[Row]):
        return [[(each.turns, each.within, each.rules) for each in row.asked] for row in rows]

    assert told(first) == told(second)


def test_episodes_are_scored_by_the_turns_that_are_cited_and_no_text_of_them_is_kept(tmp_path, data):
    out = tmp_path / "out"
    main(["ama", "--data", str(data), "--methods", "address, BM25", "last turns", "--out", str(out)])
    result = json.loads((out / "result.json").read_text())
    rows = [Row.from_record(line) for line in list(read_lines(out / "rows.jsonl"))[1:]]
    assert len(rows) == 6
    assert [each.needle for each in rows[0].asked] == [((3,), (7,)), ()]
    assert rows[0].asked[0].named == (3,)
    assert result["methods"]["address, BM25"]["kinds"]["B"]["all"]["questions"] == 3
    assert "rules, end" not in result["methods"]["address, BM25"]["all"]
    assert result["silver"]["labels"]["toy-0"] == ["0 B: 3 7 | 7"]
    for name in ("result.json", "rows.jsonl", "silver.json"):
        text = (out / name).read_text()
        assert "lamp" not in text
        assert "led to" not in text


def test_a_model_reads_and_a_judge_that_says_neither_leaves_it_unscored(tmp_path, data):
    def reader(messages, seed):
        return {"role": "assistant", "content": "It led to step 7."}

    said = iter(["yes", "no", "perhaps"] * 10)

    def judging(messages, seed):
        return {"role": "assistant", "content": next(said)}

    readers = Readers(ScriptedChat(reader, "toy"), ScriptedChat(judging, "judge"), ("needle", "end"))
    plan = Plan(data=data, methods=("BM25", "long context"), readers=True)
    rows = asyncio.run(run(plan, tmp_path / "out", readers))
    assert not any(row.error for row in rows)
    result = score(plan, rows, readers.names)
    found = result["methods"]["BM25"]
    assert found["all"]["f1, end"]["mean"] == pytest.approx(0.5), "word for word, and nothing in common with Many"
    assert found["unscored"] > 0
    assert found["all"]["model, end"]["questions"] + found["all"]["model, needle"]["questions"] + found["unscored"] == 9
    assert result["says"] == "read by toy, judged by judge"
    assert "all" not in result["methods"]["long context"]["all"], "it finds nothing, it fills a context"
    assert "model, end" in result["methods"]["long context"]["all"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--world", "castle"], "no world 'castle'; choose among rooms, babyai, textworld"),
        (["--lengths", "8"], "length '8' is none"),
        (["--forms", "xml"], "rooms has no form 'xml'; choose among prose, json, table"),
        (["--methods", "guess"], "no method 'guess'; choose among ours"),
        (["--methods", "long context"], "give --model too"),
        (["--k", "0"], "k=0, tokens=2048 and seeds=5 must all be at least 1"),
        (["--model", "qwen"], "write openai:NAME"),
        (["--judge", "openai:x"], "give --model too"),
        (["--data", "nowhere"], "There is nothing at nowhere"),
        (["--model", "openai:x", "--base-url", "http://127.0.0.1:1", "--settings", "all"], "no setting 'all'"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_sentence(flags, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        main(["ama", *flags])
    assert not list(tmp_path.iterdir())


def test_bad_data_is_said_with_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(episode(0)) + "\n{broken\n")
    with pytest.raises(ValueError, match=r"data\.jsonl, line 2"):
        main(["ama", "--data", str(path), "--methods", "BM25"])
    assert [file.name for file in tmp_path.iterdir()] == ["data.jsonl"]


def test_when_every_run_broke_the_reason_is_said_and_the_exit_code_is_1(tmp_path, capfd, monkeypatch):
    def broken(self, turns):
        raise OSError("no space")

    monkeypatch.setattr(baselines.Last, "build", broken)
    flags = ["ama", "--lengths", "8K", "--seeds", "1", "--methods", "last turns", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="all 3 runs broke"):
        main(flags)
    assert "broken under last turns: OSError: no space" in capfd.readouterr().err
    assert not (tmp_path / "result.json").exists()
