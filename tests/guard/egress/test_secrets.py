"""Coverage of secrets: against a slow reference, by hand, and on harmless traffic; and no value is ever shown."""

import os
import random
import string
import sys
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guard.egress.benign import registered
from posttrain.guard.egress import secrets as module
from posttrain.guard.egress.facts import Covered
from posttrain.guard.egress.policy import SecretSource
from posttrain.guard.egress.secrets import Secrets, read, run_length

HEX = "9f86d081884c7d659a2feaa0c55ad015"
KEY = "kZ8qT3vXw1LmN0pRs7YbCdEfGh2JuA"
NOTHING = Covered(1, 0)


def bits(*stretches: tuple[int, int]) -> int:
    """A bitmap of some stretches [start, end)."""
    return sum(1 << i for start, end in stretches for i in range(start, end))


def share(secret: str, *texts: str) -> float:
    return Secrets({"s": secret}).carried(text.encode() for text in texts).get("s", NOTHING).share


# -- how long a run must be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("characters", "size"),
    [
        ("0123456789", 10), ("0123456789abcdef", 16), ("0123456789ABCDEF", 16), ("ABCXYZ234567", 32),
        ("abcxyz234567", 32), ("abcdefABCDEF019", 62), (string.ascii_letters + "01289", 62), ("aZ09-_", 64),
        ("aZ09+/", 64), ("aZ09-_.", 64),
        ("aZ09 ", 95), ("aZ09+-", 95), (string.printable[:95], 95), ("pässword", 95),
    ],
)  # fmt: skip
def test_the_run_length_follows_the_alphabet(characters, size):
    m = run_length(characters)
    assert size**m >= 2**32 > size ** (m - 1)


def test_the_run_lengths_of_common_alphabets():
    assert [run_length(text) for text in ("123", "12ab", "abz", "aZ0", "a_Z", "a b")] == [10, 8, 7, 6, 6, 5]


@pytest.mark.parametrize("value", ["", "short", "0123456789" * 2, HEX[:16], "aB3dE6gH9jK1", "p@ss: w0rd"])
def test_one_character_less_than_fits_is_refused(value):
    least = max(8, 2 * run_length(value))
    if len(value) >= least:
        Secrets({"s": value})
    with pytest.raises(ValueError, match=rf"^Secret 'my key' has \d+ characters, and with its alphabet {least} are"):
        Secrets({"my key": value[: least - 1]})


def test_regular_and_endless_values_are_refused():
    with pytest.raises(ValueError, match=r"^Secret 's' has only 2 different characters"):
        Secrets({"s": "01" * 40})
    with pytest.raises(ValueError, match=r"^Secret 's' has 8320 characters, and 8192 are the most"):
        Secrets({"s": HEX * 260})


# -- coverage by hand ---------------------------------------------------------------------------------------------


def test_runs_of_m_characters_count_and_shorter_ones_do_not():
    secrets = Secrets({"s": HEX})
    assert secrets.carried([f"x={HEX[:8]}".encode()]) == {"s": Covered(32, bits((0, 8)))}
    assert secrets.carried([f"{HEX[3:12]}, {HEX[20:28]}".encode()]) == {"s": Covered(32, bits((3, 12), (20, 28)))}
    assert secrets.carried([f"{HEX[:7]} z {HEX[10:17]}".encode()]) == {}
    assert secrets.carried([HEX[:16].encode(), HEX[16:].encode()])["s"].share == 1.0
    assert secrets.carried([]) == {}


def test_a_text_is_also_read_backwards_and_folded():
    assert share(KEY, KEY[::-1]) == 1.0
    assert share(KEY, KEY.lower()) == share(KEY, KEY.swapcase()) == 1.0
    assert share(KEY, "-".join(KEY)) == share(KEY, "\n".join(KEY[::-1].upper())) == 1.0


def test_what_folding_removes_counts_with_the_letter_before_it():
    secret = "--ab_cd+ef/gh:ij-kl~mn--"
    assert share(secret, "ABCDEFGHIJKLMN") == 1.0
    (covered,) = Secrets({"s": secret}).carried([b"CDEFGHI"]).values()
    assert secret[5:15] == "cd+ef/gh:i"
    assert covered.bits == bits((5, 15))


def test_a_secret_of_few_letters_is_looked_for_as_it_is_only():
    secret = "a!!!!b????c....d;;;;e"
    assert share(secret, "abcde") == 0.0
    assert share(secret, secret) == 1.0


def test_a_common_run_covers_both_secrets():
    first, second = "sk-proj-" + KEY, "sk-proj-" + KEY[::-1].swapcase()
    found = Secrets({"a": first, "b": second}).carried([b"keys begin with sk-proj-"])
    assert found == {"a": Covered(38, bits((0, 8))), "b": Covered(38, bits((0, 8)))}
    assert found["a"].share < 0.5


@pytest.mark.parametrize("secret", [HEX, KEY, "sk-proj-Wq_8ZrT2-kLxV0nB", "p@ss: w0rd+%41{Tr0ub4dor}"])
def test_shards_of_m_characters_add_up_and_shorter_ones_tell_nothing(secret):
    m, secrets = run_length(secret), Secrets({"s": secret})
    starts = [*range(0, len(secret) - m, m), len(secret) - m]
    other = next(letter for letter in string.ascii_lowercase if letter not in secret.lower())
    whole = NOTHING
    for i, at in enumerate(starts):
        (covered,) = secrets.carried([f"https://example.com/{i}/{other}{secret[at : at + m]}{other}".encode()]).values()
        assert covered.bits == bits((at, at + m))
        whole = Covered(len(secret), whole.bits | covered.bits)
    assert whole.share == 1.0
    places = range(len(secret) - m + 2)
    short = [f"https://example.com/{i}/{other}{secret[i : i + m - 1]}{other}".encode() for i in places]
    assert secrets.carried(short) == {}


# -- against a slow reference -------------------------------------------------------------------------------------


def slow(secret: str, text: bytes) -> int:
    """The bitmap, by looking for every run."""
    found = 0
    letters = [(i, c.lower()) for i, c in enumerate(secret) if c in string.ascii_letters + string.digits]
    folded = "".join(
        c.lower() for c in text.decode("utf-8", "replace") if c in string.ascii_letters + string.digits + "\ufffd"
    )
    m = run_length(secret)
    for at in range(len(secret) - m + 1):
        run = secret[at : at + m].encode()
        if run in text or run in text[::-1]:
            found |= bits((at, at + m))
    form = "".join(c for _, c in letters)
    n = run_length(form)
    if len(form) < max(8, 2 * n) or len(set(form)) < 5:
        return found
    for at in range(len(form) - n + 1):
        if form[at : at + n] in folded or form[at : at + n] in folded[::-1]:
            start = letters[at][0] if at else 0
            found |= bits((start, letters[at + n][0] if at + n < len(letters) else len(secret)))
    return found


@st.composite
def cases(draw):
    """Secrets of one alphabet with much in common, and bytes made of their pieces."""
    alphabet = draw(st.sampled_from(["abcde", "abcdeABC", "01234", "aB3-_", "ab C:d"]))
    piece = st.text(alphabet, min_size=3, max_size=12)
    common = draw(piece)
    values = [draw(piece) + common + draw(piece) + draw(piece) + common for _ in range(draw(st.integers(1, 3)))]
    assume(all(len(set(v)) >= 5 and len(v) >= 2 * run_length(v) for v in values))
    text = b""
    for _ in range(draw(st.integers(0, 6))):
        value = draw(st.sampled_from(values))
        start, end = sorted((draw(st.integers(0, len(value))), draw(st.integers(0, len(value)))))
        how = draw(st.sampled_from([str, str.upper, lambda t: t[::-1], lambda t: "-".join(t), lambda t: t + "!"]))
        text += how(value[start:end]).encode()
        text += draw(st.sampled_from([b"", b"", b" ", b"x", "é\u200b".encode(), b"\xff", common[:2].encode()]))
    return values, text


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from([1, 3, 17, 1 << 16]))
def test_coverage_is_that_of_the_slow_reference(case, chunk):
    values, text = case
    secrets = Secrets({str(i): value for i, value in enumerate(values)})
    wanted = {str(i): Covered(len(value), slow(value, text)) for i, value in enumerate(values)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        assert secrets.carried([text]) == {name: one for name, one in wanted.items() if one.bits}


@settings(max_examples=100, deadline=None)
@given(cases())
def test_after_redaction_nothing_is_carried(case):
    values, text = case[0], case[1].decode("utf-8", "replace")
    secrets = Secrets(dict(zip("xyz", values, strict=False)))
    redacted = secrets.redact(text)
    assert secrets.carried([redacted.encode()]) == {}
    assert redacted != text or secrets.carried([text.encode()]) == {}


# -- redaction, and what must not be shown ------------------------------------------------------------------------


def test_redaction_by_hand():
    secrets = Secrets({"hex": HEX, "key": KEY})
    assert secrets.redact(f"é {HEX} and {KEY[4:12]}!") == "é <secret:hex> and <secret:key>!"
    assert secrets.redact(f"{KEY.lower()}.evil.test") == "<secret:key>.evil.test"
    assert secrets.redact(f"{HEX[:7]} stays \ud800") == f"{HEX[:7]} stays \ud800"
    assert Secrets({"a": HEX, "b": HEX}).redact(HEX) == "<secret:a,b>"


def test_no_value_is_shown():
    secrets = Secrets({"key": KEY})
    shown = (repr(secrets), str(secrets), repr(secrets.carried([KEY.encode()])), str(vars(secrets)))
    assert all(KEY[:6] not in text for text in shown)
    assert repr(secrets) == "Secrets(key)"
    assert secrets.lengths == {"key": 30}
    with pytest.raises(ValueError, match="'key'") as error:
        Secrets({"key": KEY[:11]})
    assert KEY[:6] not in repr(error.value)
    with pytest.raises(ValueError, match=r"^Secret 'key' holds half of a surrogate pair") as error:
        Secrets({"key": KEY + "\ud800"})
    assert KEY[:6] not in repr((error.value, error.value.__context__))


def test_there_may_be_no_secrets():
    assert Secrets({}).carried([b"text"]) == {}
    assert Secrets({}).redact("text") == "text"


def test_bytes_that_are_no_utf8_are_a_secret_too():
    raw = b"\xff\xfe binary \x00 key \x80"
    secrets = Secrets({"s": os.fsdecode(raw)})
    assert secrets.carried([b"<" + raw + b">"])["s"].share == 1.0


# -- where values come from ---------------------------------------------------------------------------------------


def test_values_are_read_from_environment_file_and_command(monkeypatch, tmp_path):
    monkeypatch.setenv("A_KEY", KEY)
    (tmp_path / "key").write_text(f" {KEY}\n\n")
    sources = (
        SecretSource("env", env="A_KEY"),
        SecretSource("file", file=str(tmp_path / "key")),
        SecretSource("command", command=(sys.executable, "-c", f"print({KEY!r})")),
    )
    assert read(sources) == {"env": KEY, "file": f" {KEY}", "command": KEY}


FAILING = f"import sys; print({KEY!r}); print({KEY!r}, file=sys.stderr); sys.exit(3)"
SLOW = f"import time; print({KEY!r}, flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SecretSource("s", env="NOT_SET"), "there is no environment variable NOT_SET."),
        (SecretSource("s", env="EMPTY"), "its value is empty."),
        (SecretSource("s", file="/none/such"), "/none/such cannot be read (No such file or directory)."),
        (SecretSource("s", file="/"), "/ cannot be read (Is a directory)."),
        (SecretSource("s", command=("/none/such",)), "'/none/such' cannot be run (No such file or directory)."),
        (SecretSource("s", command=("true",)), "its value is empty."),
        (SecretSource("s", command=(sys.executable, "-c", FAILING)), "ended with 3; run it by hand to see why."),
        (SecretSource("s", command=(sys.executable, "-c", SLOW)), "did not end within 0.5 seconds."),
        (SecretSource("s", command=("sh", "-c", "sleep 60; echo")), "its command 'sh' did not end within 0.5 seconds."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence_without_the_value(source, sentence, monkeypatch, capfd):
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setattr(module, "SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"^Secret 's': ") as error:
        read([source])
    assert str(error.value).endswith(sentence)
    assert KEY[:6] not in f"{error.value!r}{error.value.__context__!r}{capfd.readouterr()}"


# -- harmless traffic ---------------------------------------------------------------------------------------------


def test_a_hundred_secrets_are_told_apart():
    values = registered(100)
    secrets = Secrets(values)
    for name in random.Random(0).sample(sorted(values), 20):
        found = secrets.carried([f"key={values[name]}".encode()])
        assert found[name].share == 1.0
        assert all(covered.share < 0.5 for other, covered in found.items() if other != name)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_the_line_ends_after_a_value_are_not_of_it(end, tmp_path, monkeypatch):
    """They would make its alphabet larger, and so its runs shorter."""
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbf" + (HEX + end).encode())
    monkeypatch.setenv("KEY", HEX + end)
    values = read((SecretSource("file", file=str(tmp_path / "key")), SecretSource("env", env="KEY")))
    assert values == {"file": HEX, "env": HEX}


def test_a_value_in_utf_16_is_refused(tmp_path):
    (tmp_path / "key").write_bytes(KEY.encode("utf-16"))
    with pytest.raises(ValueError, match="'k': its value is written in UTF-16"):
        read((SecretSource("k", file=str(tmp_path / "key")),))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_other_spellings_of_letters_are_the_same_secret(form, written, case):
    secret = unicodedata.normalize(form, "Gr\u00fc\u00dfe-K\u00e4se-\u00d6l-\u00c4rger-\u0444\u0438\u043b\u044c\u043c")
    given = unicodedata.normalize(written, case(secret))
    assert Secrets({"k": secret}).carried([given.encode()])["k"].share == 1.0
