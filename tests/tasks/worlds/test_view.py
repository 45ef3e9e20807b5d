"""How episodes are written down, and how actions are read."""

import pytest

from posttrain.tasks.worlds.view import ChatView, Past, TextView, read_action

PAST = [Past("You see a red lamp.", "go forward"), Past("A bare corridor.", "look around")]
SEEN, ACTIONS = "A junction.", ["turn left", "turn right"]


def content(messages):
    """The text of a single user message."""
    (message,) = messages
    assert message["role"] == "user"
    return message["content"]


# -- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("go forward", "go forward"),
        ("  go forward \n", "go forward"),
        ("", ""),
        (" \n\t\n", ""),
        ("<action>go forward</action>", "go forward"),
        ("I walk: <action> go\n  forward </action> and see.", "go forward"),
        ("<action>turn left</action> No, <action>turn right</action>.\nThat is it.", "turn right"),
        ("The <action> tag holds it.\n<action>turn left</action>", "turn left"),
        ("turn right\n<action></action>", ""),
        ("<action>turn left", "<action>turn left"),
        ("turn left</action>", "turn left</action>"),
    ],
)
def test_an_action_is_in_the_last_tags_or_on_a_line(completion, action):
    assert read_action(completion) == action
    assert TextView().action(completion) == action
    assert ChatView().action(completion) == action


def test_a_chat_model_thinks_first_and_a_plain_one_goes_on_too_long():
    said = "\nturn left\nYou see a lamp.\n> go forward\n\n"
    assert TextView().action(said) == "turn left"
    assert ChatView().action("I see a lamp.\nSo I walk.\n\ngo forward\n\n") == "go forward"


# -- plain text ---------------------------------------------------------------------------------------------------


def test_a_window_of_text():
    assert TextView().window("Reach the garden.", PAST, SEEN, ACTIONS, ["left after red", "be quick"]) == (
        "Reach the garden.\n"
        "tip: left after red\n"
        "tip: be quick\n"
        "You see a red lamp.\n"
        "> go forward\n"
        "A bare corridor.\n"
        "> look around\n"
        "A junction.\n"
        "actions: turn left | turn right\n"
        "> "
    )


def test_a_dialogue_of_text_is_the_window_of_all_turns_where_actions_are_not_listed():
    view = TextView(list_actions=False)
    dialogue = view.opening("Reach the garden.", PAST[0].observation, ["go forward"])
    for before, after in zip(PAST, [*PAST[1:], Past(SEEN, "")], strict=True):
        dialogue += before.action + view.then(after.observation, ACTIONS)
    assert dialogue == view.window("Reach the garden.", PAST, SEEN, ACTIONS)


def test_the_opening_of_text_is_the_window_without_a_past():
    assert TextView().opening("Reach it.", SEEN, ACTIONS) == TextView().window("Reach it.", [], SEEN, ACTIONS)


# -- chat ---------------------------------------------------------------------------------------------------------


def test_a_window_of_chat():
    messages = ChatView(reply="Reply.").window("Reach the garden.", PAST, SEEN, ACTIONS, ["left after red", "be quick"])
    assert content(messages) == (
        "Your task: Reach the garden.\n\n"
        "Tips from earlier attempts:\n- left after red\n- be quick\n\n"
        "Your last steps:\n"
        "Observation: You see a red lamp.\nAction: go forward\n"
        "Observation: A bare corridor.\nAction: look around\n\n"
        "Observation: A junction.\n\n"
        "Admissible actions: turn left, turn right\n\n"
        "Reply."
    )


def test_the_opening_of_chat_is_the_window_without_a_past():
    view = ChatView(system="You are an agent.")
    assert view.opening("Reach it.", SEEN, ACTIONS) == view.window("Reach it.", [], SEEN, ACTIONS)


def test_what_is_added_to_a_dialogue_says_what_is_seen_and_not_the_task_again():
    added = content(ChatView(system="You are an agent.").then(SEEN, ACTIONS))
    assert added.startswith("Observation: A junction.")
    assert "task" not in added


def test_every_user_message_ends_with_how_to_reply():
    view = ChatView(system="You are an agent.", reply="Reply.")
    for messages in (view.window("t", PAST, SEEN, ACTIONS), view.opening("t", SEEN, ACTIONS), view.then(SEEN, ACTIONS)):
        assert messages[-1]["content"].endswith("\n\nReply.")


def test_a_system_message_opens_a_prompt_and_is_not_said_twice():
    view = ChatView(system="You are an agent.")
    for messages in (view.window("t", PAST, SEEN, ACTIONS), view.opening("t", SEEN, ACTIONS)):
        assert messages[0] == {"role": "system", "content": "You are an agent."}
        assert [message["role"] for message in messages] == ["system", "user"]
    assert [message["role"] for message in view.then(SEEN, ACTIONS)] == ["user"]
    assert [message["role"] for message in ChatView().opening("t", SEEN, ACTIONS)] == ["user"]


# -- both ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [TextView, ChatView])
def test_actions_are_listed_if_there_are_any_and_it_is_wanted(view):
    def listed(view, actions):
        prompts = [view.window("t", [], SEEN, actions), view.opening("t", SEEN, actions), view.then(SEEN, actions)]
        return {"turn left" in str(prompt) for prompt in prompts}

    assert listed(view(), ACTIONS) == {True}
    assert listed(view(list_actions=False), ACTIONS) == {False}
    assert view().window("t", PAST, SEEN, []) == view(list_actions=False).window("t", PAST, SEEN, ACTIONS)


@pytest.mark.parametrize("view", [TextView(), ChatView()])
def test_tips_are_shown_in_order_and_leave_no_trace_if_there_are_none(view):
    told = str(view.window("t", PAST, SEEN, ACTIONS, ["first", "second"]))
    assert 0 < told.index("first") < told.index("second") < told.index("red lamp")
    assert "tip" not in str(view.window("t", PAST, SEEN, ACTIONS)).lower()
