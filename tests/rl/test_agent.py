"""An agent in small worlds, with a scripted sampler: what was sampled is what is trained, and nothing else is."""

import asyncio
import math
import string

import pytest

import tiny
from posttrain.rl import Agent, Row, Sampled, Task, agent
from posttrain.rl.agent import environment, nearest
from posttrain.rl.turns import tokens_of, trained, unrolled
from posttrain.tasks.worlds.crowd import Crowd
from posttrain.tasks.worlds.view import ChatView, TextView
from posttrain.tasks.worlds.world import Step

BEGIN, END = 1, 2
FORMS = ["full", "window"]
every_form = pytest.mark.parametrize("form", FORMS)


class Ladder:
    """`up` climbs, earns 1, and wins on the last rung; the task says at which step it breaks, 0 at the reset."""

    def reset(self, task):
        self.task, self.height, self.steps = task, 0, 0
        self.hold()
        return f"rung 0 of {task['rungs']}"

    def step(self, action):
        self.steps += 1
        self.hold()
        self.height += action == "up"
        top = self.height == self.task["rungs"]
        return Step(f"rung {self.height} of {self.task['rungs']}", float(action == "up"), top, won=top)

    def actions(self):
        return [] if self.task.get("free") else ["up", "look down"]

    def state_key(self):
        return f"rung {self.height}"

    def close(self):
        pass

    def hold(self):
        if self.steps == self.task.get("breaks"):
            raise RuntimeError("a rung broke")


class Script:
    """A sampler of one process whose tokens are characters; it says `said[k]` at its call k, then the last again."""

    rank, ranks, training, temperature, judge = 0, 1, True, 1.0, None

    def __init__(self, *said, begin=(), logps=True):
        self.said, self.begin, self.logps = said or ("up",), list(begin), logps
        self.calls, self.given = [], []

    async def __call__(self, prompt_ids, *, max_tokens=None, temperature=None):
        said = self.said[min(len(self.calls), len(self.said) - 1)]
        self.calls.append((len(prompt_ids), max_tokens))
        found = []
        for prompt in prompt_ids:
            whole = [*self.characters(said), self.end]
            ids = whole[:max_tokens]
            logps = [-0.001 * (len(self.given) + 1) - i for i in range(len(ids))] if self.logps else []
            found.append(Sampled(ids, logps, "stop" if ids == whole else "length"))
            self.given.append((list(prompt), ids))
        return found

    end = END

    def characters(self, text):
        return [ord(character) for character in text]

    def encode(self, prompt):
        return [*self.begin, *self.characters(prompt)]

    def decode(self, ids):
        return "".join(chr(i) for i in ids if i > END)


CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] }}]{% else %}({{ m['content'] }}<eos>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}({% endif %}"
)
"""A template under which a dialogue only grows; what the agent says ends with `<eos>`."""


class ChatScript(Script):
    """The same with a tokenizer's chat template, one token per character."""

    def __init__(self, *said, template=CHAT, **options):
        super().__init__(*said, **options)
        self.tokenizer = tiny.tokenizer(string.ascii_letters + string.digits + string.punctuation + " \n", chat=True)
        self.tokenizer.chat_template = template
        self.end = self.tokenizer.eos_token_id

    def characters(self, text):
        return self.tokenizer(text=text)["input_ids"]

    def encode(self, prompt):
        return self.characters(prompt) if isinstance(prompt, str) else self.characters(self.rendered(prompt))

    def rendered(self, messages):
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def decode(self, ids):
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


def ladders(*rungs, **more):
    """Tasks; `more` is for all of them, and a number of rungs may be a dict of its own."""
    given = [r if isinstance(r, dict) else {"rungs": r} for r in rungs]
    return [Task(f"Climb {i}.", i // 2, i, {"id": f"ladder {i}", **more, **task}) for i, task in enumerate(given)]


def played(sampler, tasks, **options):
    agent = Agent(worlds=Crowd(Ladder, threads=1), **options)
    return asyncio.run(agent.rollout(tasks, sampler, None))


def turns_of(rows):
    return [turn for row in rows for turn in row.turns]


SAMPLERS = {
    "plain": lambda *said: (Script(*said), TextView()),
    "begin token": lambda *said: (Script(*said, begin=[BEGIN]), TextView()),
    "chat": lambda *said: (ChatScript(*said), ChatView()),
    "chat with a system message": lambda *said: (ChatScript(*said), ChatView(system="You climb.")),
    "chat with the template's own": lambda *said: (ChatScript(*said, template="You climb." + CHAT), ChatView()),
}
SAID = ("look down", "up", "jump", "up")


# -- token in, token out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn_tokens", [32, 4], ids=["whole", "cut off"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_in_full_form_every_prompt_is_the_rows_own_beginning(kind, turn_tokens):
    """At each turn of each episode; and each sampled token stands in the row once, marked with its turn."""
    sampler, view = SAMPLERS[kind](*SAID)
    rows = played(sampler, ladders(1, 3, 2), form="full", turns=6, view=view, turn_tokens=turn_tokens)
    for row in rows:
        assert not row.by_turn
        for k, turn in enumerate(row.turns):
            places = [i for i, of in enumerate(row.turn_of) if of == k]
            assert places == list(range(places[0], places[0] + len(turn.ids)))
            assert turn.prompt_ids == [*row.prompt_ids, *row.ids[: places[0]]]
            assert turn.ids == [row.ids[i] for i in places]
        assert len(row.ids) == len(row.turn_of)
        assert trained(row).count(1) == tokens_of(row) == sum(len(turn.ids) for turn in row.turns)
    assert sorted((turn.prompt_ids, turn.ids) for turn in turns_of(rows)) == sorted(sampler.given)


@pytest.mark.parametrize("turn_tokens", [32, 4], ids=["whole", "cut off"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_in_window_form_every_turn_is_trained_after_the_prompt_it_was_sampled_after(kind, turn_tokens):
    sampler, view = SAMPLERS[kind](*SAID)
    rows = played(sampler, ladders(1, 3, 2), form="window", turns=6, view=view, turn_tokens=turn_tokens)
    assert all(row.by_turn for row in rows)
    found = unrolled(rows)
    assert sorted((row.prompt_ids, row.ids) for row in found.rows) == sorted(sampler.given)
    assert all(trained(row) == [1] * len(row.ids) for row in found.rows)
    assert not any(row.sampled_after for row in found.rows)


@every_form
def test_a_row_never_ends_with_what_the_world_said(form):
    """Neither where the episode is won, nor at the longest episode, nor at the end of the budget."""
    for options in ({"turns": 9}, {"turns": 2}, {"budget": 100}):
        for row in played(Script(*SAID), ladders(3, 1), form=form, **options):
            assert trained(row)[-1] == 1


@pytest.mark.parametrize(
    ("said", "turn_tokens"), [("up", 32), ("up", 2), ("look", 4)], ids=["ended", "cut", "no action"]
)
@pytest.mark.parametrize("template", [CHAT, "You climb." + CHAT])
def test_a_dialogue_reads_as_the_chat_template_writes_it(said, turn_tokens, template):
    """Whether the action was ended by its end token or cut off before it."""
    sampler, view = ChatScript(said, template=template), ChatView()
    (row,) = played(sampler, ladders(9), form="full", view=view, turns=4, turn_tokens=turn_tokens)
    rungs = range(4) if said == "up" else [0] * 4
    messages = view.opening("Climb 0.", "rung 0 of 9", Ladder.actions(ladder()))
    for rung in list(rungs)[1:]:
        messages.append({"role": "assistant", "content": said})
        messages += view.then(f"rung {rung} of 9", Ladder.actions(ladder()))
    assert row.turns[-1].prompt_ids == sampler.encode(messages)


def ladder():
    world = Ladder()
    world.reset({"rungs": 9})
    return world


@pytest.mark.parametrize("actions", [True, False])
def test_a_dialogue_in_plain_text_reads_as_its_parts(actions):
    sampler, view = Script("up", begin=[BEGIN]), TextView(list_actions=actions)
    (row,) = played(sampler, ladders(3), form="full", view=view)
    listed = "\nactions: up | look down" if actions else ""
    text = "".join([f"Climb 0.\nrung 0 of 3{listed}\n> up", *(f"\nrung {k} of 3{listed}\n> up" for k in (1, 2))])
    assert sampler.decode([*row.prompt_ids, *row.ids]) == text
    assert [*row.prompt_ids, *row.ids].count(BEGIN) == 1
    assert row.ids.count(END) == 3


REWRITES = {
    "another sign for the agent's turn": tiny.CHAT,
    "only the last message is whole": CHAT.replace("{{ m['content'] }}<eos>", "{{ m['content'] if loop.last }}<eos>"),
}


@pytest.mark.parametrize("template", REWRITES.values(), ids=REWRITES)
def test_a_template_that_rewrites_earlier_turns_has_no_full_form(template):
    with pytest.raises(ValueError, match=r"chat template rewrites earlier messages.*use form='window'"):
        played(ChatScript("up", template=template), ladders(2), form="full", view=ChatView())
    (row,) = played(ChatScript("up", template=template), ladders(2), form="window", view=ChatView())
    assert row.verdict == 1.0


@every_form
def test_log_probabilities_stand_beside_the_tokens_they_are_of(form):
    rows = unrolled(played(Script(*SAID), ladders(2, 3), form=form)).rows
    for row in rows:
        assert len(row.logps) == len(row.ids)
        assert [logp != 0 for logp in row.logps] == [bool(on) for on in trained(row)]
        assert [logp for logp in row.logps if logp] == [logp for turn in row.turns for logp in turn.logps]


@every_form
def test_an_engine_without_log_probabilities_gives_none(form):
    rows = unrolled(played(Script(*SAID, logps=False), ladders(2), form=form)).rows
    assert not any(row.logps for row in rows)


# -- what a prompt shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", range(7))
def test_a_window_shows_the_last_turns(window):
    said = [f"try {k}" for k in range(6)]
    sampler = Script(*said)
    (row,) = played(sampler, ladders(9, free=True), window=window, turns=6)
    for k, turn in enumerate(row.turns):
        lines = sampler.decode(turn.prompt_ids).splitlines()
        past = said[max(k - window, 0) : k]
        assert lines == [
            "Climb 0.",
            *(line for did in past for line in ("rung 0 of 9", f"> {did}")),
            "rung 0 of 9",
            "> ",
        ]


def test_the_prompt_may_be_messages():
    task = Task([{"role": "system", "content": "!"}, {"role": "user", "content": "Climb."}], 0, 0, {"rungs": 1})
    sampler = Script("up")
    (row,) = played(sampler, [task])
    assert sampler.decode(row.prompt_ids).startswith("Climb.\nrung 0")
    assert row.prompt == task.prompt


# -- who is asked when --------------------------------------------------------------------------------------------


@every_form
def test_an_episode_that_is_over_is_not_sampled_for(form):
    sampler = Script("up")
    rows = played(sampler, ladders(1, 4, 2, 4), form=form, turns=6, turn_tokens=17)
    assert sampler.calls == [(4, 17), (3, 17), (2, 17), (2, 17), (0, 17), (0, 17)]
    assert [row.notes["turns"] for row in rows] == [1, 4, 2, 4]


@every_form
@pytest.mark.parametrize("tasks", [[], ladders(1), ladders({"rungs": 1, "breaks": 0}), ladders(3, 9)])
def test_every_process_samples_equally_often(form, tasks):
    sampler = Script("up")
    played(sampler, tasks, form=form, turns=4)
    assert len(sampler.calls) == 4


@every_form
def test_an_episode_has_no_more_turns_than_are_allowed(form):
    (row,) = played(Script("up"), ladders(9), form=form, turns=3)
    assert (len(row.turns), row.verdict, environment(row)) == (3, 0.0, 3.0)


def test_an_opening_that_exceeds_the_budget_drops_its_episode():
    (row,) = played(Script("up"), ladders(9), form="full", budget=1)
    assert math.isnan(row.verdict)
    assert "exceed budget=1; raise the budget" in row.notes["failure"]
    assert trained(row) == [0]


def test_a_mask_that_is_one_short_is_an_error():
    with pytest.raises(ValueError, match="3 tokens and 2 entries of turn_of"):
        Row([1], [2, 3, 4], 0, turn_of=[0, -1])


def test_an_agent_says_what_it_lacks():
    with pytest.raises(ValueError, match="no worlds to act in"):
        agent().check()
    with pytest.raises(ValueError, match="which these worlds do not list"):
        agent(worlds=Crowd(Ladder, listed=False), fine=0.1).check()
    assert agent(worlds=Crowd(Ladder)).check() == []


@pytest.mark.parametrize("budget", [*range(80, 400, 7), 4500])
def test_the_budget_ends_a_dialogue_before_a_turn_that_might_exceed_it(budget):
    (whole,) = played(Script(*SAID), ladders(9), form="full", turns=8)
    (row,) = played(Script(*SAID), ladders(9), form="full", turns=8, turn_tokens=12, budget=budget)
    longest = [len(turn.prompt_ids) + 12 for turn in whole.turns]
    assert len(row.turns) == max(1, sum(length <= budget for length in longest))
    assert row.ids == whole.ids[: len(row.ids)]
    assert row.turns == whole.turns[: len(row.turns)]
    if budget > 100:
        assert len(row.prompt_ids) + len(row.ids) <= budget


def test_the_budget_is_of_dialogues_alone():
    (row,) = played(Script("up"), ladders(5), form="window", budget=1)
    assert row.verdict == 1.0


# -- what a turn earns --------------------------------------------------------------------------------------------


@every_form
def test_an_action_that_is_not_listed_is_fined(form):
    (row,) = played(Script("jump", "UP", "ups", "look down", "up"), ladders(2), form=form, fine=0.1)
    assert [turn.acted.fine for turn in row.turns] == [0.1, 0, 0.1, 0, 0]
    assert [turn.acted.reward for turn in row.turns] == [0, 1, 0, 0, 1]
    assert [turn.acted.state for turn in row.turns] == ["rung 0", "rung 0", "rung 1", "rung 1", "rung 1"]
    assert environment(row) == pytest.approx(2 - 2 * 0.1)
    assert (row.verdict, row.notes["inadmissible"]) == (1.0, 2 / 5)


def test_where_no_actions_are_listed_all_are_admissible():
    (row,) = played(Script("jump"), ladders(2, free=True), fine=0.1, turns=2, invalid="snap")
    assert [turn.acted.fine for turn in row.turns] == [0, 0]
    assert "> jump" in row.completion


@every_form
def test_snapping_does_the_nearest_action_and_trains_the_written_one(form):
    sampler = Script("climb up now")
    (row,) = played(sampler, ladders(2), form=form, fine=0.1, invalid="snap")
    assert [turn.acted.reward for turn in row.turns] == [1, 1]
    assert [turn.acted.fine for turn in row.turns] == [0.1, 0.1]
    assert row.completion == "rung 0 of 2\n> up\nrung 1 of 2\n> up"
    assert {sampler.decode(turn.ids) for turn in row.turns} == {"climb up now"}


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ("take the red key", "take red key"),
        ("TAKE Red Key", "take red key"),
        ("open", "open red door"),
        ("red", "take red key"),
        ("sing", "take red key"),
        ("", "take red key"),
        ("go to the kitchen door", "go to the kitchen"),
    ],
)
def test_the_nearest_action_has_the_largest_share_of_words_in_common_and_is_the_first_of_equals(written, action):
    assert nearest(written, ["take red key", "open red door", "go to the kitchen"]) == action


def test_an_action_between_tags_is_read_from_what_was_said():
    sampler = Script("I think.\n<action> up </action>", "up")
    (row,) = played(sampler, ladders(2))
    assert [turn.acted.reward for turn in row.turns] == [1, 1]
    assert "<action> up </action>" in sampler.decode(row.turns[0].ids)


# -- worlds that fail ---------------------------------------------------------------------------------------------


@every_form
@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_a_dropped_episode_is_unscored_and_trains_nothing(form, breaks):
    """At the reset, at its first step, in its middle."""
    fails = {"rungs": 3, "breaks": breaks}
    row, _ = played(Script("up"), ladders(fails, 3), form=form)
    assert math.isnan(row.verdict)
    assert math.isnan(environment(row))
    assert row.notes["dropped"] == 1
    assert row.notes["failure"] == "RuntimeError: a rung broke"
    assert math.isnan(row.notes["won"])
    (only,) = unrolled([row]).rows
    assert len(only.ids) == len(trained(only)) == 1
    assert trained(only) == [0]
    assert only.prompt_ids


@every_form
@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_a_dropped_episode_costs_the_others_nothing(form, breaks):
    def told(rows):
        return [(row.prompt_ids, row.ids, row.turn_of, row.verdict, row.completion, row.group) for row in rows]

    fails = {"rungs": 3, "breaks": breaks}
    first, _, third = played(Script(*SAID), ladders(2, fails, 3), form=form, turns=9)
    one, _, three = played(Script(*SAID), ladders(2, 3, 3), form=form, turns=9)
    assert told([first, third]) == told([one, three])


@every_form
def test_rows_are_in_the_order_of_the_tasks_and_say_what_they_are_of(form):
    tasks = ladders(2, {"rungs": 1, "breaks": 0}, 1)
    rows = played(Script("up"), tasks, form=form)
    assert [(row.group, row.prompt, row.key) for row in rows] == [(t.group, t.prompt, t.row["id"]) for t in tasks]
    assert rows[0].completion == "rung 0 of 2\n> up\nrung 1 of 2\n> up"


def test_what_is_logged_leaves_dropped_episodes_out_where_they_say_nothing():
    agent = Agent(worlds=Crowd(Ladder))
    tasks = ladders(2, 9, {"rungs": 2, "breaks": 0})
    rows = asyncio.run(agent.rollout(tasks, Script("up", "jump", "up"), None))
    found = agent.diagnose_rows(rows)
    assert found["agent/won"][:2] == [1.0, 1.0]
    assert math.isnan(found["agent/won"][2])
    assert found["agent/turns"] == [3, 10, 0]
    assert found["agent/dropped"] == [0, 0, 1]
    assert found["agent/inadmissible"] == [1 / 3, 1 / 10, 0]
    assert all(0 <= share <= 1 for share in found["agent/world_share"])


# -- bad values ---------------------------------------------------------------------------------------------------


def test_a_row_that_no_world_judged_has_no_environment():
    (row,) = unrolled(played(Script("up"), ladders(1), form="full")).rows
    assert environment(row) == 1.0
    with pytest.raises(ValueError, match=r"not made by agent\(\.\.\.\)"):
        environment(type(row)([1], [2], 0))


def test_an_agent_without_worlds_cannot_play():
    with pytest.raises(ValueError, match=r"no worlds to act in.*worlds=Crowd\(\.\.\.\)"):
        asyncio.run(Agent().rollout(ladders(1), Script("up"), None))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"form": "long"}, "form='long' is unknown; use 'full' or 'window'"),
        ({"invalid": "drop"}, "invalid='drop' is unknown; use 'pass' or 'snap'"),
        ({"window": -1}, "window=-1 must not be negative; 0 shows the present alone"),
        ({"turns": 0}, "turns=0 must be at least 1"),
        ({"turn_tokens": 0}, "turn_tokens=0 must be at least 1"),
        ({"budget": 0}, "budget=0 must be at least 1"),
        ({"fine": -0.1}, "fine=-0.1 must be finite and not negative"),
        ({"fine": math.inf}, "fine=inf must be finite"),
        ({"fine": math.nan}, "fine=nan must be finite"),
    ],
    ids=str,
)
def test_impossible_values_are_answered_by_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Agent(**options)
    assert str(caught.value).endswith(".")
