"""`posttrain.tasks.dataset`: every kind of source gives the same rows, and bad input says what to do."""

from __future__ import annotations

import builtins
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.tasks.dataset import Broken, Columns, DatasetError, Loaded, load

ROWS = [
    {"prompt": "1+1?", "answer": "2", "id": "a", "level": 1},
    {"prompt": [{"role": "user", "content": "2+2?"}], "answer": "4", "id": "b", "level": 2},
]


def jsonl(path, *lines) -> str:
    """Write lines, given as text or as objects."""
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(line + "\n" for line in text))
    return str(path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data.jsonl"


class TestSources:
    def test_jsonl(self, file):
        assert load(jsonl(file, *ROWS)) == Loaded(ROWS, [], 0)

    def test_a_list_of_mappings(self):
        assert load(ROWS) == Loaded(ROWS, [], 0)

    @pytest.mark.parametrize("kind", ["object", "torch format", "iterable", "directory", "parquet"])
    def test_datasets_and_parquet(self, kind, tmp_path):
        datasets = pytest.importorskip("datasets")
        rows = [{"question": f"{i}+1?", "answer": i + 1.0, "tag": [i]} for i in range(3)]
        data = datasets.Dataset.from_list(rows)
        source = {
            "object": lambda: data,
            "torch format": lambda: data.with_format("torch"),
            "iterable": data.to_iterable_dataset,
            "directory": lambda: data.save_to_disk(tmp_path / "saved") or tmp_path / "saved",
            "parquet": lambda: data.to_parquet(tmp_path / "d.parquet") and tmp_path / "d.parquet",
        }[kind]()
        loaded = load(source, Columns(prompt="question"))
        assert [row["answer"] for row in loaded.rows] == ["1", "2", "3"]
        assert loaded.rows[2].keys() == {"prompt", "answer", "id", "tag"}
        assert loaded.rows[2]["prompt"] == "2+1?"
        assert loaded.rows[2]["tag"] == [2]

    def test_messages_survive_parquet(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        prompt = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1?"}]
        datasets.Dataset.from_list([{"prompt": prompt, "answer": 2}]).to_parquet(tmp_path / "d.parquet")
        assert load(tmp_path / "d.parquet").rows[0]["prompt"] == prompt

    def test_blank_lines_bom_crlf_and_line_separators_inside_text(self, file):
        file.write_bytes('\ufeff{"prompt": "a\u2028b", "answer": 1}\r\n\n  \n{"prompt": "c", "answer": 2}'.encode())
        assert [row["prompt"] for row in load(file).rows] == ["a\u2028b", "c"]

    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "prompt": st.text(min_size=1).filter(str.strip),
                    "answer": st.text(min_size=1).filter(str.strip),
                    "extra": st.none() | st.integers() | st.text() | st.lists(st.booleans()),
                }
            ),
            min_size=1,
        ),
        st.booleans(),
    )
    def test_a_jsonl_round_trip_keeps_every_text(self, tmp_path_factory, rows, ascii_only):
        file = tmp_path_factory.getbasetemp() / "round.jsonl"
        lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
        file.write_text("\n".join(lines), encoding="utf-8", newline="")
        loaded = load(file)
        assert [{key: row[key] for key in ("prompt", "answer", "extra")} for row in loaded.rows] == rows
        assert loaded.duplicates == len(rows) - len({row["prompt"] for row in rows})


class TestRows:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [(7, "7"), (7.0, "7"), (0.5, "0.5"), (-3, "-3"), (1e300, "1e+300"), ("07", "07"), (Decimal("1.50"), "1.50")],
    )
    def test_answers_become_text(self, given, expected):
        assert load([{"prompt": "p", "answer": given}]).rows[0]["answer"] == expected

    def test_a_missing_id_is_a_stable_hash_of_the_prompt(self):
        """The first 16 hexadecimal digits of sha256("p")."""
        rows = [{"prompt": "p", "answer": 1}, {"prompt": "q", "answer": 1, "id": 5}]
        assert [row["id"] for row in load(rows).rows] == ["148de9c5a7a44d19", "5"]

    def test_repeated_prompts_are_kept_and_counted(self):
        loaded = load([{"prompt": p, "answer": 1} for p in "aabaa"])
        assert len(loaded.rows) == 5
        assert loaded.duplicates == 3

    def test_message_order_of_keys_does_not_matter_for_the_id(self):
        one, two = {"role": "user", "content": "p"}, {"content": "p", "role": "user"}
        loaded = load([{"prompt": [one], "answer": 1}, {"prompt": [two], "answer": 1}])
        assert loaded.duplicates == 1

    def test_the_mapped_column_replaces_one_of_that_name(self):
        loaded = load([{"question": "q", "answer": "long", "final": "2"}], Columns("question", "final"))
        assert loaded.rows[0]["answer"] == "2"
        assert loaded.rows[0].keys() == {"prompt", "answer", "id"}


class TestErrors:
    @pytest.mark.parametrize("names", [("", "answer", "id"), ("a", "a", "id"), ("a", "b", "a")])
    def test_impossible_columns(self, names):
        with pytest.raises(ValueError, match="Columns"):
            Columns(*names)

    def test_no_such_path(self, tmp_path):
        with pytest.raises(DatasetError, match=r"gone\.jsonl does not exist; give"):
            load(tmp_path / "gone.jsonl")

    @pytest.mark.parametrize(("name", "said"), [("d.csv", "'.csv'"), ("data", "'nothing'")])
    def test_unknown_extension(self, tmp_path, name, said):
        (tmp_path / name).write_text("x")
        with pytest.raises(DatasetError, match=rf"ends in {said}; expected a \.jsonl or \.parquet file"):
            load(tmp_path / name)

    def test_a_directory_that_is_not_a_saved_data_set(self, tmp_path):
        with pytest.raises(DatasetError, match=r"was not written by Dataset\.save_to_disk"):
            load(tmp_path)

    def test_several_splits(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS[:1])})
        with pytest.raises(DatasetError, match="DatasetDict holds 'train', not rows; pass one"):
            load(splits)
        splits.save_to_disk(tmp_path / "saved")
        with pytest.raises(DatasetError, match=r"splits train; give one, e\.g\. .*saved/train"):
            load(tmp_path / "saved")
        assert len(load(tmp_path / "saved" / "train").rows) == 1

    def test_a_parquet_file_that_is_none(self, tmp_path):
        pytest.importorskip("pyarrow")
        (tmp_path / "d.parquet").write_text("nonsense, and long enough to have a footer")
        with pytest.raises(DatasetError, match="is not a Parquet file"):
            load(tmp_path / "d.parquet")

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_no_rows(self, file, text):
        file.write_text(text)
        with pytest.raises(DatasetError, match="has no rows; give a data set with at least one prompt"):
            load(file)

    def test_missing_columns_are_named_with_how_to_map_them(self, file):
        path = jsonl(file, {"question": "q", "solution": "s"})
        with pytest.raises(DatasetError) as error:
            load(path)
        assert str(error.value) == (
            f"{path} has no column 'prompt' or 'answer', it has question, solution; say which holds what, "
            "e.g. --columns.prompt question --columns.answer solution"
        )

    def test_a_column_that_can_hold_no_answer_is_not_suggested(self, file):
        with pytest.raises(DatasetError, match=r"it has prompt, task; .* e.g. --columns.answer NAME$"):
            load(jsonl(file, {"prompt": "q", "task": "s"}))

    def test_an_id_column_that_was_asked_for_must_exist(self):
        with pytest.raises(DatasetError, match=r"no column 'uid'"):
            load(ROWS, Columns(id="uid"))

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{oops", "it is not JSON"),
            ("9" * 5000, "it is not JSON"),
            ("[1]", "it is list, expected an object"),
            ('{"answer": 1}', "column 'prompt' is missing"),
            ('{"prompt": "p", "answer": null}', "column 'answer' is null"),
            ('{"prompt": " ", "answer": 1}', "column 'prompt' is empty"),
            ('{"prompt": "p", "answer": ""}', "column 'answer' is empty"),
            ('{"prompt": 3, "answer": 1}', "column 'prompt' is int, expected a text or a list of messages"),
            ('{"prompt": "p", "answer": true}', "column 'answer' is bool, expected a text or a number"),
            ('{"prompt": "p", "answer": NaN}', "column 'answer' is nan, expected a finite number"),
            ('{"prompt": "p", "answer": [1]}', "column 'answer' is list, expected a text or a number"),
            ('{"prompt": "\\ud800", "answer": 1}', "half of a surrogate pair"),
            ('{"prompt": [], "answer": 1}', "column 'prompt' is empty"),
            ('{"prompt": ["p"], "answer": 1}', "message 1 of column 'prompt' is not an object"),
            ('{"prompt": [{"from": "human", "value": "p"}], "answer": 1}', "message 1 of column 'prompt' is not"),
            ('{"prompt": [{"role": "human", "content": "p"}], "answer": 1}', "has the role 'human', expected one"),
            ('{"prompt": [{"role": "user", "content": null}], "answer": 1}', "has content of type NoneType"),
            ('{"prompt": [{"role": "user", "content": "p", "tool": 1}], "answer": 1}', "also has tool"),
            ('{"prompt": [{"role": "user", "content": " "}], "answer": 1}', "column 'prompt' is empty"),
        ],
    )
    def test_a_broken_line_is_named_or_listed(self, file, line, reason):
        path = jsonl(file, {"prompt": "p", "answer": 1}, "", line, {"prompt": "q", "answer": 2})
        with pytest.raises(DatasetError, match=r"data\.jsonl, line 3: ") as error:
            load(path)
        assert reason in str(error.value)
        loaded = load(path, skip_broken=True)
        assert [row["prompt"] for row in loaded.rows] == ["p", "q"]
        (broken,) = loaded.skipped
        assert broken.line == 3
        assert reason in broken.reason

    def test_a_line_that_is_not_utf8(self, file):
        file.write_bytes(b'{"prompt": "\xff", "answer": 1}\n{"prompt": "p", "answer": 1}\n')
        assert load(file, skip_broken=True).skipped == [Broken(1, "it is not UTF-8")]

    def test_nothing_but_broken_lines(self, file):
        with pytest.raises(DatasetError, match=r"all 2 rows are broken, the first \(line 1\) because it is not JSON"):
            load(jsonl(file, "{", "{"), skip_broken=True)

    def test_one_id_for_two_prompts(self, file):
        rows = [{"prompt": p, "answer": 1, "id": "x"} for p in "aab"]
        with pytest.raises(DatasetError, match=r"lines 1 and 3 have one id, 'x', for two different prompts"):
            load(jsonl(file, *rows), skip_broken=True)

    def test_a_missing_extra_is_named(self, tmp_path, monkeypatch):
        real = builtins.__import__

        def without_pyarrow(name, *args, **kwargs):
            if name.partition(".")[0] in ("pyarrow", "datasets"):
                raise ImportError(name)
            return real(name, *args, **kwargs)

        (tmp_path / "d.parquet").touch()
        saved = tmp_path / "saved"
        saved.mkdir()
        for name in ("dataset_info.json", "state.json"):
            (saved / name).touch()
        monkeypatch.setattr(builtins, "__import__", without_pyarrow)
        for source in (tmp_path / "d.parquet", saved):
            with pytest.raises(ImportError, match=r"pip install 'posttrain\[trl\]'"):
                load(source)
