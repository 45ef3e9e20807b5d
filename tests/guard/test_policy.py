"""Policies are read strictly; an error names the line."""

import ast
import importlib
import json
import math
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from posttrain.guard.egress import policy as egress_policy
from posttrain.guard.egress.policy import Content, Destinations, EgressPolicy, Provenance, Session
from posttrain.guard.policy import Unfit, fingerprint, line_of, load, parse, schema

GOOD = """
mode = "enforce"

[destinations]
allow = ["api.example.com"]

[content]
depth = 1
patterns = ["AKIA[0-9A-Z]{16}"]

[[secrets]]
id = "first"
env = "FIRST"

[[secrets]]
id = "second"
file = "/run/second"
"""


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Destinations(unknown="Deny"), "unknown: 'Deny' must be deny or ask or allow"),
        (lambda: Destinations(schemes=("https", "ftp")), "schemes: 'ftp' must be https or http"),
        (lambda: Content(secrets="block"), "secrets: 'block' must be deny or ask or off"),
        (lambda: Provenance("yes"), "untrusted: 'yes' must be"),
        (lambda: EgressPolicy(mode="enforced"), "mode: 'enforced' must be enforce or report or open"),
    ],
)
def test_a_word_that_no_rule_knows_is_refused_in_python_too(make, sentence):
    with pytest.raises(Unfit, match=re.escape(sentence)):
        make()


def test_a_policy_is_what_the_file_says_and_defaults():
    policy = parse(EgressPolicy, GOOD)
    assert policy.destinations.allow == ("api.example.com",)
    assert policy.content.depth == 1
    assert [secret.id for secret in policy.secrets] == ["first", "second"]
    assert policy.session == EgressPolicy(destinations=policy.destinations).session


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('mode = "enforce"', 'mode = "enforced"'), "line 2: mode:"),
        (("depth = 1", "deepness = 1"), "line 8: there is no key 'content.deepness'"),
        (("depth = 1", 'depth = "1"'), "line 8: content.depth:"),
        (("depth = 1", "depth = 9"), "line 8: content.depth: 9 must lie between 0 and 4"),
        (("depth = 1", "views = 0"), "line 8: content.views: 0 must be at least 1"),
        (("AKIA[0", "AKIA([0"), "line 9: content.patterns: 'AKIA([0-9A-Z]{16}' is no regular expression"),
        (('env = "FIRST"', ""), "line 11: secrets.0: secret 'first' needs exactly one of env, file, command"),
        (('file = "/run/second"', 'fil = "/run/second"'), "line 17: there is no key 'secrets.1.fil'"),
        (('id = "second"', 'id = "first"'), "line 16: secrets.1.id: 'first' is there twice"),
        (('allow = ["api.example.com"]', "allow = []"), "line 5: destinations.allow: it is empty"),
        (("api.example.com", "*.com"), "line 5: destinations.allow: '*.com' would name hosts of many owners"),
        (("[content]", "ports = [0]\n[content]"), "line 7: destinations.ports: 0 is no port"),
        (("[content]", 'methods = ["get"]\n[content]'), "line 7: destinations.methods: 'get' must be in capitals"),
        (("[content]", 'schemes = ["ftp"]\n[content]'), "line 7: destinations.schemes.0: Input should be 'https'"),
        (("[content]", "[session]\nunknown_bits = nan\n[content]"), "line 8: session.unknown_bits: nan must be at"),
        (("[content]", "[entropy]\nlength = 4\n[content]"), "line 8: entropy.length: 4 must be at least 8"),
        (("[content]", '[entropy]\nbenign = ["hash"]\n[content]'), "line 8: entropy.benign: 'hash' is no shape"),
        (("[content]", "[limits]\nseconds = 0.0\n[content]"), "line 8: limits.seconds: 0 must be at least 0.001"),
        (("[content]", "[[content]]"), "line 7: content:"),
        (("mode", "mode = mode"), "no TOML"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(change, sentence):
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    with pytest.raises(ValueError, match=r"^policy") as error:
        parse(EgressPolicy, text)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_page_s_policy_is_one_and_its_code_has_what_it_names():
    page = (Path(__file__).parents[2] / "docs" / "egress.md").read_text("utf-8")
    kinds = dict(re.findall(r"```(toml|python)\n(.*?)```", page, re.DOTALL))
    assert parse(EgressPolicy, kinds["toml"]).provenance.untrusted == "deny"
    for node in ast.parse(kinds["python"].replace("async with", "with").replace("await ", "")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert all(hasattr(importlib.import_module(node.module), each.name) for each in node.names)


def test_a_file_that_is_not_there_or_not_utf_8(tmp_path):
    with pytest.raises(ValueError, match="There is no policy at"):
        load(EgressPolicy, tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'mode = "\xe9"')
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 8\)"):
        load(EgressPolicy, tmp_path / "latin.toml")


def test_the_fingerprint_names_values_not_their_form():
    policy = parse(EgressPolicy, GOOD)
    assert fingerprint(policy) == fingerprint(
        parse(EgressPolicy, "# a note\n" + GOOD.replace("depth = 1", "depth=0x1"))
    )
    assert fingerprint(policy) != fingerprint(parse(EgressPolicy, GOOD.replace("depth = 1", "depth = 2")))


def test_a_table_in_place_of_a_list_of_tables_is_told_how_that_is_written():
    said = "policy, line 3: secrets must be a list; for a list of tables write [[secrets]] in place of [secrets]."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        parse(EgressPolicy, '[destinations]\nallow = ["a.com"]\n[secrets]\nid = "first"\nenv = "FIRST"\n')


def test_the_schema_knows_every_key():
    found = schema(EgressPolicy)
    assert set(found["properties"]) == set(EgressPolicy.__dataclass_fields__)
    assert found["additionalProperties"] is False
    assert found["$schema"].startswith("https://json-schema.org/")


def test_the_schema_is_json_without_infinity_and_keeps_other_defaults():
    tables = json.loads(json.dumps(schema(EgressPolicy), allow_nan=False))["$defs"]
    session = {field.name: field.default for field in fields(Session)}
    assert session["known_bits"] == math.inf
    found = {name: key.get("default") for name, key in tables["Session"]["properties"].items()}
    assert found == session | {"known_bits": None}


def test_every_key_of_the_schema_says_what_it_is_in_its_field_s_words():
    """A table says it itself."""
    found = schema(EgressPolicy)
    tables = {"EgressPolicy": found, **found["$defs"]}
    written = {node.name: docstrings(node) for node in ast.parse(SOURCE.read_text()).body if type(node) is ast.ClassDef}
    for name, table in tables.items():
        assert table["description"]
        for key, value in table["properties"].items():
            assert "$ref" in value or value["description"] == written[name][key]


SOURCE = Path(egress_policy.__file__)


def docstrings(node: ast.ClassDef) -> dict[str, str]:
    """What stands below each field of a class, on one line."""
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(node.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def test_lines_of_keys_in_tables_of_tables():
    text = "a = 1\n[b]\nc = 2\n[[d]]\ne = 3\n[[d]]\ne = 4\n[f.g]\nh.i = 5\n"
    assert line_of(text, ["a"]) == 1
    assert line_of(text, ["b", "c"]) == 3
    assert line_of(text, ["d", 0, "e"]) == 5
    assert line_of(text, ["d", 1, "e"]) == 7
    assert line_of(text, ["f", "g", "h", "i"]) == 9
    assert line_of(text, ["f", "g", "other"]) == 8
    assert line_of(text, ["other"]) == 0
