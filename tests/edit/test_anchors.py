"""Anchors: what makes pairs, and what users get wrong."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.edit.anchors import AnchorError, Prompt, load, once, paired, read


def prompts(**more):
    """Two harmful and two harmless prompts in English and Bengali."""
    return [
        Prompt(f"{kind[4]}{n}", language, kind, f"{language} {kind} {n}")
        for kind in ("harmful", "harmless")
        for language in ("en", "bn")
        for n in range(2)
    ]


def lines(path, records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def test_prompts_pair_by_id_in_the_order_of_english():
    found = paired(reversed(prompts()), english="en")
    assert found.languages == ("bn",)
    assert [p.id for p in found.harmful["en"]] == [p.id for p in found.harmful["bn"]]
    assert found.notes == []


def test_a_file_gives_what_was_written(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", [*(p._asdict() for p in prompts()[:3]), "", *(p._asdict() for p in prompts()[3:])]
    )
    assert read(path) == prompts()
    assert load(path).harmful == paired(prompts()).harmful


def test_a_line_separator_within_a_text_is_no_end_of_line(tmp_path):
    told = {"id": 7, "language": "en", "kind": "harmful", "text": "one\u2028two"}
    path = lines(tmp_path / "a.jsonl", [json.dumps(told, ensure_ascii=False)])
    assert read(path) == [Prompt("7", "en", "harmful", "one\u2028two")]


def test_a_table_has_a_column_for_each_language(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,source,en,bn,zh-CN,tags\n4,x,"a, b","c\nd",e,t\n5,x,f,g,h,t\n', encoding="utf-8")
    found = read(path)
    assert found[:3] == [
        Prompt("4", name, "harmful", t) for name, t in (("en", "a, b"), ("bn", "c\nd"), ("zh-CN", "e"))
    ]
    assert {p.id for p in found} == {"4", "5"}
    plain = tmp_path / "b.tsv"
    plain.write_text("en\tbn\nu\tv\nw\tx\n")
    assert [p.id for p in read(plain, "harmless")] == ["b 1", "b 1", "b 2", "b 2"]
    assert load(path, harmless=[plain]).languages == ("bn", "zh-CN")


@pytest.mark.parametrize("head", ["ID,Kind,ind,fil,zh_Hans", " id , kind , ind , fil , zh_Hans "])
def test_columns_are_read_by_their_names(tmp_path, head):
    path = tmp_path / "a.csv"
    path.write_text(f"{head},url,idx,no,response\n7,harmless,a,b,c,http://x,0,1,d\n")
    assert [(p.id, p.kind, p.language, p.text) for p in read(path)] == [
        ("7", "harmless", "ind", "a"), ("7", "harmless", "fil", "b"), ("7", "harmless", "zh_Hans", "c"),
    ]  # fmt: skip


def test_rows_of_two_tables_without_ids_are_different_prompts(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"en,bn\n{name}1,{name}2\n")
    found = [p for name in ("a", "b") for p in read(tmp_path / f"{name}.csv")]
    assert once(found) == found
    with pytest.raises(AnchorError, match=r"'a 1' \(en, harmful\) is there twice"):
        once([*found, found[0]])


def test_languages_to_edit_are_others_and_named_once():
    found = paired(prompts())
    with pytest.raises(AnchorError, match="'en' is what the others are aligned to"):
        found.of(("en",))
    with pytest.raises(AnchorError, match="each language once"):
        found.of(("bn", "bn"))


def test_what_there_is_in_a_sentence():
    assert paired(prompts()).said == "harmful prompts: en 2, bn 2; harmless prompts: en 2, bn 2"


def test_a_language_without_harmless_prompts_is_told_with_the_reason():
    found = paired(p for p in prompts() if (p.language, p.kind) != ("bn", "harmless"))
    assert len(found.notes) == 1
    assert "no harmless prompt in bn" in found.notes[0]
    assert "refuse harmless questions" in found.notes[0]


def test_texts_that_repeat_are_told():
    assert (
        "1 harmful in en"
        in paired([p._replace(text="x") if p.id == "f0" or p.id == "f1" else p for p in prompts()]).notes[0]
    )


def test_fewer_languages():
    many = [*prompts(), *(p._replace(language="he") for p in prompts() if p.language == "bn")]
    found = paired(many).of(("he",))
    assert found.languages == ("he",)
    assert list(found.harmful) == ["en", "he"]
    assert list(found.harmless) == ["en", "bn", "he"]
    with pytest.raises(AnchorError, match="no harmful prompts in ja; the anchors have bn, he"):
        paired(many).of(("ja",))


@given(many=st.integers(8, 40), share=st.floats(0.25, 0.75), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_parts_share_no_id_and_lose_none(many, share, seed):
    made = [
        Prompt(f"{k}{n}", lang, k, f"{lang}{k}{n}")
        for k in ("harmful", "harmless")
        for lang in ("en", "bn")
        for n in range(many)
    ]
    whole = paired(made)
    parts = whole.split(share, seed)
    ids = [{p.id for kind in (part.harmful, part.harmless) for each in kind.values() for p in each} for part in parts]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == {p.id for p in made}
    assert [p.id for p in parts[1].harmful["en"]] == [p.id for p in parts[1].harmful["bn"]]
    assert len(parts[1].harmful["en"]) == round(share * many)


def test_too_few_to_hold_some_out():
    with pytest.raises(AnchorError, match=r"too few to hold a share of 0\.5 out"):
        paired(prompts()).split(0.5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ps: ps[:3] + ps[4:], r"do not pair: 2 in 'en', 1 in 'bn'; by id, 'bn' lacks f1"),
        (lambda ps: [p._replace(id="z") if p == ps[3] else p for p in ps], "'bn' lacks f1 and 'en' lacks z"),
        (lambda ps: [p for p in ps if p.language == "en"], "All harmful prompts are in 'en'"),
        (lambda ps: [p for p in ps if p.language == "bn"], "no harmful prompt in 'en'"),
        (lambda ps: [p for p in ps if p.kind == "harmful"], "0 harmless prompts in 'en'"),
        (lambda ps: [p for p in ps if p.id != "f1"], "1 harmful prompts in 'en'"),
        (lambda ps: [*ps, ps[0]], r"'f0' \(en, harmful\) is there twice"),
        (lambda ps: [*ps, ps[0]._replace(kind="harmless")], "cannot be of both kinds"),
        (lambda ps: [], "no harmful prompt in 'en'"),
    ],
)
def test_prompts_that_make_no_anchors(change, sentence):
    with pytest.raises(AnchorError, match=sentence):
        paired(change(prompts()))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "\n[1]", "line 2 is no object"),
        ("a.jsonl", '{"id": "1", "language": "en", "kind": "harmful"}', "line 1: text is missing"),
        ("a.jsonl", '{"id": "1", "language": "en", "kind": "harmful", "text": " "}', "text is empty"),
        ("a.jsonl", '{"id": "1", "language": "en", "kind": "bad", "text": "x"}', "kind is 'bad'; write harmful or"),
        ("a.jsonl", '{"id": "1", "language": 3, "kind": "harmful", "text": "x"}', "language is 3"),
        ("a.csv", "question,answer\nx,y\n", "no column that is a language"),
        ("a.csv", "en,bn\nx,\n", "row 1, bn: text is empty"),
        ("a.csv", "en,bn\nx\n", "row 1, bn: text is missing"),
        ("a.csv", "", "is empty"),
        ("a.csv", "idx,url,set\n1,http://a,x\n", "no column that is a language"),
        ("a.csv", "en,zza\na,1\nb,2\n", "column 'zza' reads as a language and has no prompts .such as '1'"),
        ("a.csv", "en,bn\nx," + "y" * 140_000 + "\n", "a.csv is no table"),
        ("a.jsonl", '{"id": "1", "language": "en", "kind": "harmful", "text": "a\\ud800b"}', "line 1: text has half"),
    ],
)
def test_a_broken_file_says_where(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(AnchorError, match=sentence):
        read(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(AnchorError, match="does not exist"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnchorError, match="not UTF-8"):
        read(tmp_path / "a.jsonl")
