"""Policies are read strictly; an error names the line."""

import pytest

from posttrain.guard.egress.policy import EgressPolicy
from posttrain.guard.policy import fingerprint, line_of, load, parse, schema

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
        (("depth = 1", "depth = 9"), "line 7: content: depth=9 must lie between 0 and 4"),
        (("AKIA[0", "AKIA([0"), "no regular expression"),
        (('env = "FIRST"', ""), "line 11: secrets.0: secret 'first' needs exactly one of env, file, command"),
        (('file = "/run/second"', 'fil = "/run/second"'), "line 17: there is no key 'secrets.1.fil'"),
        (('id = "second"', 'id = "first"'), "secrets must have different ids; first is there twice"),
        (('allow = ["api.example.com"]', "allow = []"), "destinations.allow is empty"),
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


def test_the_schema_knows_every_key():
    found = schema(EgressPolicy)
    assert set(found["properties"]) == set(EgressPolicy.__dataclass_fields__)
    assert found["additionalProperties"] is False


def test_lines_of_keys_in_tables_of_tables():
    text = "a = 1\n[b]\nc = 2\n[[d]]\ne = 3\n[[d]]\ne = 4\n[f.g]\nh.i = 5\n"
    assert line_of(text, ["a"]) == 1
    assert line_of(text, ["b", "c"]) == 3
    assert line_of(text, ["d", 0, "e"]) == 5
    assert line_of(text, ["d", 1, "e"]) == 7
    assert line_of(text, ["f", "g", "h", "i"]) == 9
    assert line_of(text, ["f", "g", "other"]) == 8
    assert line_of(text, ["other"]) == 0
