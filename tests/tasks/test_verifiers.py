"""`posttrain.tasks.verifiers`: right, wrong and unscored answers, and a math-verify that cannot hang."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.tasks import verifiers
from posttrain.tasks.verdict import UNSCORED, Verdict
from posttrain.tasks.verifiers import MathVerify, exact, final_answer, numeric, verifier

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("POSTTRAIN_DATA", ROOT.parent / "shared" / "data"))
RIGHT, WRONG = Verdict(1.0, 1.0), Verdict(0.0, 0.0)
HANGS = "$100000000!$"
"""sympy computes this number digit by digit, in C code that holds the interpreter's lock."""

needs_math_verify = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed"
)


def unscored(verdict: Verdict) -> bool:
    return math.isnan(verdict.reward) and math.isnan(verdict.correct)


def running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and " Z " not in status.read_text()


class TestFinalAnswer:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<answer>a</answer> then <answer> b </answer> c", "b"),
            ("<answer>a <answer>b</answer>", "b"),
            ("<answer>not closed\nlast", "last"),
            ("<answer></answer>\n#### 5", ""),
            (r"<answer>\boxed{5}</answer>", "5"),
            ("work\n#### 72\nmore", "72"),
            ("####\n72", "72"),
            ("#### 1\n#### 2", "2"),
            ("#### Step 2\nso \\boxed{\\frac{1}{2}}.", r"\frac{1}{2}"),
            (r"\boxed{1} and \boxed{\boxed{2}}", "2"),
            (r"\boxed{never closed", r"\boxed{never closed"),
            ("first\nlast  \n\n", "last"),
            ("####", "####"),
            ("", ""),
        ],
    )
    def test_extraction(self, text, expected):
        assert final_answer(text) == expected


class TestExact:
    @pytest.mark.parametrize(
        ("completion", "answer"),
        [
            ("so <answer>New  York.</answer>", "new york"),
            ("thus\nYES", "yes."),
            ("#### 72", "2 x 36 = 72\n#### 72"),
            ("<answer>one\ntwo</answer>", "one\ntwo"),
        ],
    )
    def test_right(self, completion, answer):
        assert exact(completion, answer) == RIGHT

    @pytest.mark.parametrize("completion", ["the answer is yes", "", "<answer></answer>", "yes\nno"])
    def test_wrong(self, completion):
        assert exact(completion, "yes") == WRONG

    @pytest.mark.parametrize("answer", ["", " . ", "<answer></answer>"])
    def test_an_empty_answer_column_is_unscored(self, answer):
        assert unscored(exact("yes", answer))

    @given(st.text(), st.text())
    def test_any_text_gets_a_verdict(self, completion, answer):
        assert exact(completion, answer).reward in (0.0, 1.0) or unscored(exact(completion, answer))

    @given(st.text().filter(lambda text: exact("", text) is not UNSCORED))
    def test_the_answer_itself_is_right(self, answer):
        assert exact(f"<answer>{answer}</answer>", answer) == RIGHT


class TestNumeric:
    @pytest.mark.parametrize(
        ("completion", "answer"),
        [
            ("1,000", "1000"),
            ("1000", "1e3"),
            ("0.5", "1/2"),
            ("1 1/2", "1.5"),
            (r"\frac{3}{2}", "1.5"),
            (r"1\frac{1}{2}", "3/2"),
            ("it costs $1,234.50 now.", "1234.5"),
            (r"\boxed{\$1{,}000}", "$1000"),
            ("-$5", "-5"),
            ("$-5$", "−5"),
            ("17 - 20 = -3", "-3"),
            ("it is 5-3", "3"),
            ("50%", "50"),
            (r"50\%", "50 %"),
            (".5", "0.50"),
            ("答案是5。", "5"),
            ("5kg", "5"),
            ("1\n#### 17\nbecause of 3 things", "17"),
            ("<answer>17 apples in 1 box</answer>", "1"),
        ],
    )
    def test_right(self, completion, answer):
        assert numeric(completion, answer) == RIGHT

    @pytest.mark.parametrize(
        ("completion", "answer"),
        [
            ("1 1/2", "1/2"),
            ("none", "0"),
            ("1/0", "0"),
            ("H2O", "2"),
            ("1e99999999999", "1"),
            ("9" * 5000, "9"),
            ("<answer>none</answer> 5", "5"),
            ("0.3333", "1/3"),
        ],
    )
    def test_wrong(self, completion, answer):
        assert numeric(completion, answer) == WRONG

    @pytest.mark.parametrize("answer", ["", "abc", "17 apples", "1/0", "1 or 2", "#### none", "9" * 5000, "."])
    def test_an_answer_column_that_is_not_a_number_is_unscored(self, answer):
        assert unscored(numeric("17", answer))

    @given(
        st.integers(-(10**12), 10**12),
        st.sampled_from(["{}", "{:,}", "${:,}", "{}.00", "{}%", "The answer is {:,}.", "x = {}\n", "#### {}", "{}/1"]),
    )
    def test_a_number_survives_its_formatting(self, number, form):
        assert numeric(form.format(number), str(number)) == RIGHT
        assert numeric(form.format(number + 1), str(number)) == WRONG
        assert numeric(str(number), form.format(number) if " " not in form else f"{number:,}") == RIGHT

    @given(st.fractions(max_denominator=10**6))
    def test_a_fraction_survives_its_formatting(self, number):
        over, under = abs(number.numerator), number.denominator
        sign = "-" if number < 0 else ""
        for text in (
            f"{number}",
            rf"{sign}\frac{{{over}}}{{{under}}}",
            f"{sign}{over // under} {over % under}/{under}",
        ):
            assert numeric(f"so {text}", str(number)) == RIGHT

    @given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
    def test_decimals_are_exact(self, number):
        assert numeric(f"{number:,}", str(Fraction(number))) == RIGHT
        assert numeric(f"{number}00001", str(number)) == WRONG

    @given(
        st.text() | st.text("0123456789.,/-+$%eE \\frac{}"),
        st.text() | st.text("0123456789.,/-+$%eE \\frac{}"),
    )
    def test_any_text_gets_a_verdict(self, completion, answer):
        assert numeric(completion, answer).reward in (0.0, 1.0) or unscored(numeric(completion, answer))

    @pytest.mark.parametrize("text", ["1", "1,111", "1 ", "1/", "-$", "#", "\\boxed{", "<answer>"])
    def test_a_long_text_takes_no_long_time(self, text):
        start = time.perf_counter()
        numeric(text * (200_000 // len(text)), "5")
        assert time.perf_counter() - start < 5


def gsm8k(name: str) -> list[dict]:
    file = DATA / "gsm8k" / name
    if not file.exists():
        pytest.skip(f"{file} does not exist; set POSTTRAIN_DATA to the directory that holds gsm8k/")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def answers() -> list[str]:
    return [row["answer"] for row in gsm8k("train_0_1000.jsonl")]


class TestGsm8k:
    def test_the_reference_solutions_are_right(self, answers):
        assert len(answers) == 1000
        assert {numeric(answer, answer) for answer in answers} == {RIGHT}
        assert {exact(answer, answer) for answer in answers} == {RIGHT}

    def test_the_number_alone_in_other_clothes_is_right(self, answers):
        for answer in answers:
            number = Fraction(answer.rpartition("#### ")[2].replace(",", ""))
            assert numeric(f"The answer is ${float(number):,.2f}.", answer) == RIGHT

    def test_another_number_is_wrong(self, answers):
        for answer in answers:
            number = Fraction(answer.rpartition("#### ")[2].replace(",", ""))
            for other in (number + 1, -number - 1, number * 10 + 1, number + Fraction(1, 100)):
                assert numeric(f"#### {other}", answer) == WRONG

    def test_the_authors_verdicts_on_model_solutions(self):
        """1,600 solutions that OpenAI published with `is_correct`, which compares the text after `A: `."""
        disagreements = []
        for row in gsm8k("model_solutions_250_650.jsonl"):
            answer = row["ground_truth"].rpartition("A: ")[2]
            for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
                solution = row[model]["solution"]
                if numeric(solution, answer).correct != float(row[model]["is_correct"]):
                    disagreements.append((solution[-40:], answer))
        assert disagreements == []


@pytest.fixture(scope="class")
def verify():
    with MathVerify() as verify:
        yield verify


@needs_math_verify
class TestMathVerify:
    @pytest.mark.parametrize(
        ("completion", "answer"),
        [
            (r"so \boxed{0.5}", r"\frac{1}{2}"),
            ("The answer is $1+x^2$.", "x^2+1"),
            (r"<answer>\frac{1}{2}</answer>", "1/2"),
            (r"\boxed{\{2, 1\}}", r"\{1,2\}"),
            (r"\boxed{(1,2)}", "$(1,2)$"),
            (r"$10^{-3}$", "10^{-3}"),
            ("#### 72", "2 x 36 = 72\n#### 72"),
            ("<answer>The result is 5 apples</answer>", "5"),
            (r"\boxed{2\sqrt{3}}", r"\sqrt{12}"),
        ],
    )
    def test_right(self, verify, completion, answer):
        assert verify(completion, answer) == RIGHT

    @pytest.mark.parametrize(
        ("completion", "answer"),
        [(r"\boxed{2}", "3"), ("1", "x^2+1"), ("no idea", "3"), ("", "3"), ("<answer></answer> 3", "3")],
    )
    def test_wrong(self, verify, completion, answer):
        assert verify(completion, answer) == WRONG

    def test_the_gold_comes_first(self, verify):
        """math-verify is not symmetric: a bare 5 answers x = 5, but x = 5 and y = 5 are two equations."""
        assert verify("$5$", "$x=5$") == RIGHT
        assert verify("$y=5$", "$x=5$") == WRONG

    def test_no_expression_in_the_answer_column_is_unscored(self):
        with MathVerify() as verify:
            assert unscored(verify("3", ""))
            assert verify.failures == Counter({"the answer column holds no expression": 1})

    def test_an_expression_that_never_ends_is_unscored_and_the_next_one_is_not(self):
        with MathVerify(timeout_s=0.5) as verify:
            assert verify("$2$", "2") == RIGHT
            start = time.perf_counter()
            assert unscored(verify(HANGS, "2"))
            assert time.perf_counter() - start < 5
            assert verify("$2$", "2") == RIGHT
            assert verify.failures == Counter({verifiers.DEADLINE: 1})

    def test_threads_share_the_processes_and_one_hang_holds_up_nobody(self):
        jobs = [(f"${i}$", str(i)) for i in range(20)] + [(HANGS, "2"), ("$1$", "2")]
        with MathVerify(timeout_s=1, workers=2) as verify:
            verdicts = verify.many(jobs)
            assert len(verify._running) <= 2
        assert verdicts[:20] == [RIGHT] * 20
        assert unscored(verdicts[20])
        assert verdicts[21] == WRONG

    def test_any_thread(self, verify):
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(verify, ["$1$"] * 8, ["1"] * 8)) == [RIGHT] * 8

    def test_a_long_completion_and_broken_unicode(self, verify):
        assert verify("word " * 50_000 + r"\boxed{7}", "7") == RIGHT
        assert verify("\ud800\n" + r"\boxed{7}", "7") == RIGHT

    def test_pickling_keeps_the_settings(self, verify):
        copy = pickle.loads(pickle.dumps(MathVerify(timeout_s=3, workers=2)))
        assert (copy.timeout_s, copy.workers) == (3, 2)
        assert pickle.loads(pickle.dumps(verify))._running == set()

    def test_a_fork_gets_its_own_process(self, verify):
        """Two processes that read one pipe would take each other's verdicts."""
        assert verify("$1$", "1") == RIGHT
        inherited = set(verify._running)
        child = os.fork()
        if child == 0:
            right = verify("$1$", "1") == RIGHT and inherited.isdisjoint(verify._running)
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert verify("$1$", "1") == RIGHT
        assert verify._running == inherited

    def test_closing(self):
        verify = MathVerify()
        verify("$1$", "1")
        (process,) = verify._running
        verify.close()
        verify.close()
        assert process._child.returncode is not None
        with pytest.raises(RuntimeError, match="closed; make a new one"):
            verify("$1$", "1")

    def test_a_script_without_a_main_guard_leaves_no_process_and_no_zombie(self):
        script = (
            "from posttrain.tasks.verifiers import MathVerify\n"
            "verify = MathVerify(timeout_s=0.5)\n"
            "verify('$1$', '1')\n"
            f"verify('{HANGS}', '1'); verify('$1$', '1')\n"
            "(process,) = verify._running\n"
            "import os, subprocess, sys\n"
            "assert 'torch' not in sys.modules\n"
            "assert open(f'/proc/self/task/{os.getpid()}/children').read().split() == [str(process._child.pid)]\n"
            "print(process._child.pid)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        with pytest.raises(ProcessLookupError):
            os.kill(int(done.stdout), 0)

    def test_a_job_does_not_outlive_a_killed_parent(self):
        """SIGKILL lets the parent clean up nothing; the operating system ends the job a second after its deadline."""
        script = (
            "from posttrain.tasks.verifiers import MathVerify\n"
            "import threading, time\n"
            "verify = MathVerify(timeout_s=0.5)\n"
            "verify('$1$', '1')\n"
            "(process,) = verify._running\n"
            f'process._child.stdin.write(b\'{{"gold": "1", "text": "{HANGS}"}}\\n\'); process._child.stdin.flush()\n'
            "print(process._child.pid, flush=True); time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            job = int(parent.stdout.readline())
            parent.kill()
        limit = time.monotonic() + 10
        while running(job) and time.monotonic() < limit:
            time.sleep(0.05)
        if running(job):
            os.kill(job, signal.SIGKILL)
            pytest.fail("the job outlived its parent by 10 s")


class Fake(MathVerify):
    """Runs another worker, which a test writes."""

    def __init__(self, worker: Path, source: str, **limits: float) -> None:
        super().__init__(**limits)
        worker.write_text("import json, os, sys, time\n" + source)
        self._worker = worker


READY = "print('{\"ready\": true}', flush=True)\n"
ECHO = "for line in sys.stdin:\n    text = json.loads(line)['text']\n"


@needs_math_verify
class TestBadWorkers:
    def test_a_worker_that_sleeps_meets_the_deadline(self, tmp_path):
        with Fake(tmp_path / "w.py", READY + "time.sleep(60)\n", timeout_s=0.2) as verify:
            assert unscored(verify("1", "1"))
            assert unscored(verify("1", "1"))
            assert verify.failures == Counter({verifiers.DEADLINE: 2})
            assert verify._running == set()

    @pytest.mark.parametrize("end", ["os._exit(1)", "print('half', end='', flush=True); os._exit(1)"])
    def test_a_worker_that_dies_is_replaced(self, tmp_path, end):
        source = READY + ECHO + f"    if text == 'die': {end}\n    print('{{\"right\": true}}', flush=True)\n"
        with Fake(tmp_path / "w.py", source) as verify:
            assert [verify(text, "1").correct for text in ("live", "live")] == [1.0, 1.0]
            assert unscored(verify("die", "1"))
            assert verify("live", "1") == RIGHT
            assert verify.failures == Counter({verifiers.PROCESS_ENDED: 1})

    def test_an_exception_is_unscored_with_its_name_and_keeps_the_worker(self, tmp_path):
        source = (
            "from posttrain.tasks import _math_worker as worker\n"
            "real = worker.judge\n"
            "def judge(gold, text):\n"
            "    return 1 // 0 if text == 'raise' else real(gold, text)\n"
            "worker.judge = judge\n"
            "worker.main()\n"
        )
        with Fake(tmp_path / "w.py", source) as verify:
            assert verify("$1$", "1") == RIGHT
            (process,) = verify._running
            assert unscored(verify("raise", "1"))
            assert verify("$1$", "1") == RIGHT
            assert verify._running == {process}
            assert verify.failures == Counter({"ZeroDivisionError": 1})

    def test_a_worker_that_does_not_start_is_an_error_not_a_verdict(self, tmp_path):
        with (
            Fake(tmp_path / "w.py", "raise SystemExit(1)") as verify,
            pytest.raises(RuntimeError, match=r"did not start; to see why: .*w\.py"),
        ):
            verify("1", "1")

    @pytest.mark.parametrize(
        "limits", [{"timeout_s": 0}, {"timeout_s": math.inf}, {"timeout_s": math.nan}, {"workers": 0}]
    )
    def test_impossible_limits(self, limits):
        with pytest.raises(ValueError, match="expected"):
            MathVerify(**limits)


class TestRegistry:
    def test_names(self):
        assert verifier("exact") is exact
        assert verifier("numeric") is numeric

    @needs_math_verify
    def test_math(self):
        assert isinstance(verifier("math"), MathVerify)

    def test_knights_and_knaves(self):
        right = verifier("knights-knaves")("<answer>Zoey is a knight</answer>", "Zoey is a knight.")
        assert right == RIGHT

    def test_an_unknown_name(self):
        with pytest.raises(ValueError, match="no verifier 'maths'; choose one of exact, numeric, math, knights-knaves"):
            verifier("maths")

    def test_math_without_its_extra(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"pip install 'posttrain\[tasks\]'"):
            verifier("math")
