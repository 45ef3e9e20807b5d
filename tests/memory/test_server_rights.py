"""Rights: which runs a token opens, and what a rights file must say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.memory.server.rights import Forbidden, Keys, Rights, from_file, from_variable

FILE = """
[[token]]
name = "planner"
env = "PLANNER_TOKEN"
runs = ["shop-1"]
prefixes = ["team-a/"]
write = false

[[token]]
name = "owner"
env = "OWNER_TOKEN"
prefixes = [""]
"""
VARIABLES = {"PLANNER_TOKEN": "one", "OWNER_TOKEN": "two"}


def write(tmp_path, text, mode=0o600):
    path = tmp_path / "rights.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_gives_each_token_its_rights(tmp_path):
    keys = from_file(write(tmp_path, FILE, 0o644), VARIABLES)
    assert keys.find(b"one") == Rights(("shop-1",), ("team-a/",), write=False)
    assert keys.find(b"two") == Rights()
    for wrong in (b"", b"on", b"one ", b"onee", b"One", b"three", "öne".encode()):
        assert keys.find(wrong) is None


def test_runs_by_name_and_by_prefix():
    rights = Rights(("shop-1",), ("team-a/",), write=False)
    for run in ("shop-1", "team-a/", "team-a/x"):
        rights.check(run)
        with pytest.raises(Forbidden, match="may only read"):
            rights.check(run, write=True)
    for run in ("shop-10", "shop", "team-a", "Team-a/x", "xteam-a/", ""):
        with pytest.raises(Forbidden, match="is not open to this client"):
            rights.check(run)


def test_no_prefix_and_no_name_is_no_run():
    assert not Rights((), ()).covers("anything")


@given(st.text(max_size=20), st.text(max_size=5), st.booleans())
def test_a_prefix_covers_what_begins_with_it_and_nothing_else(run, prefix, write):
    assert Rights((), (prefix,), write).covers(run) == (run[: len(prefix)] == prefix)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "token is missing"),
        ("token = []", "at least one token"),
        ('[[token]]\nname = "a"\nprefixes = [""]', "needs one of env"),
        ('[[token]]\nname = "a"\nenv = "A"\ntoken = "x"\nprefixes = [""]', "needs one of env"),
        ('[[token]]\nname = "a"\nenv = "PLANNER_TOKEN"', 'prefixes = [""] is every run'),
        ('[[token]]\nname = "a"\nenv = "NO_SUCH"\nprefixes = [""]', "'a' reads the variable NO_SUCH, which is not set"),
        ('[[token]]\nname = "a"\nenv = "PLANNER_TOKEN"\nprefixes = ""', "should be a valid array"),
        ('[[token]]\nname = "a"\nenv = "PLANNER_TOKEN"\nprefixes = [""]\nwrte = false', "line 5: there is no key"),
        ('[[token]]\nname = "a"\nenv = "PLANNER_TOKEN"\nprefixes = [""]\nwrite = "no"', "line 5: token.0.write"),
        (FILE.replace("OWNER_TOKEN", "PLANNER_TOKEN"), "'owner' has the token of another entry"),
        (FILE.replace("owner", "planner"), "two tokens have the name 'planner'"),
        ("[[token]", "is no TOML"),
        (
            '[[token]]\nname = "a"\ntoken = 31337\nprefixes = [""]',
            "line 3: token.0.token: Input should be a valid string.",
        ),
        ('[[token]]\nname = "a"\ntoken = "with space"\nprefixes = [""]', "printed ASCII characters"),
    ],
)
def test_what_a_file_must_not_say(tmp_path, text, words):
    with pytest.raises(ValueError, match=r"rights\.toml|printed ASCII") as error:
        from_file(write(tmp_path, text), VARIABLES)
    said = str(error.value)
    assert "with space" not in said
    assert "31337" not in said
    assert "\n" not in said
    assert words in said


def test_a_file_with_tokens_in_it_is_for_its_owner_alone(tmp_path):
    text = '[[token]]\nname = "a"\ntoken = "secret"\nprefixes = [""]'
    assert from_file(write(tmp_path, text), {}).find(b"secret") == Rights()
    for mode in (0o640, 0o604):
        with pytest.raises(ValueError, match="chmod 600") as error:
            from_file(write(tmp_path, text, mode), {})
        assert "secret" not in str(error.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ValueError, match="There is no rights file at"):
        from_file(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not UTF-8"):
        from_file(tmp_path / "bytes.toml")


def test_a_token_from_a_variable():
    assert from_variable("T", Rights(("a",), ()), {"T": "x"}).find(b"x") == Rights(("a",), ())
    for environment in ({}, {"T": ""}):
        with pytest.raises(ValueError, match="--token-env T"):
            from_variable("T", Rights(), environment)


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ü"])
def test_a_token_that_no_header_can_carry(token):
    with pytest.raises(ValueError, match="printed ASCII"):
        Keys({token: Rights()})
