"""Models as functions: a script, a recording, and the OpenAI client against a server on this machine."""

import asyncio
import json

import pytest

from posttrain.chat import ChatError, OpenAIChat, Recorded, Reply, ScriptedChat, TransformersChat, Usage, chat
from posttrain.serve import serving


def echo(messages, seed):
    return {"role": "assistant", "content": f"{messages[-1]['content']} {seed}"}


ASKED = [{"role": "user", "content": "hello"}]


def test_a_script_answers_with_its_seeds():
    reply = asyncio.run(ScriptedChat(echo)(ASKED, n=3, seed=5))
    assert [m["content"] for m in reply.messages] == ["hello 5", "hello 6", "hello 7"]
    assert reply.text == "hello 5"
    assert reply.finish_reasons == ("stop",) * 3


def test_a_recording_answers_the_same_call_and_no_other(tmp_path):
    calls = []

    def counted(messages, seed):
        calls.append(seed)
        return echo(messages, seed)

    path = tmp_path / "calls.jsonl"
    model = Recorded(ScriptedChat(counted), path)
    first = asyncio.run(model(ASKED, seed=1))
    assert asyncio.run(model(ASKED, seed=1)) == first
    asyncio.run(model(ASKED, seed=2))
    assert calls == [1, 2]
    again = Recorded(None, path)
    assert asyncio.run(again(ASKED, seed=1)) == first
    with pytest.raises(ValueError, match="holds no reply to this call"):
        asyncio.run(again(ASKED, seed=3))


def server(seen):
    starlette = pytest.importorskip("starlette.applications")
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def complete(request):
        asked = await request.json()
        seen.append(asked)
        message = {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"x": 1})}}
        ]}  # fmt: skip
        return JSONResponse(
            {
                "id": "1", "object": "chat.completion", "created": 0, "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            }
        )  # fmt: skip

    return starlette.Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])


def test_the_openai_client_sends_what_is_given_and_nothing_else(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen = []

    async def ask() -> Reply:
        async with serving(server(seen)) as port:
            model = OpenAIChat("tiny", f"http://127.0.0.1:{port}/v1")
            return await model([{**ASKED[0], "passages": []}], temperature=0.5)

    reply = asyncio.run(ask())
    assert seen == [{"model": "tiny", "messages": ASKED, "temperature": 0.5}]
    assert reply.usage == Usage(7, 3)
    assert reply.finish_reasons == ("tool_calls",)
    assert reply.message["tool_calls"][0]["function"]["name"] == "look"


def test_a_server_that_is_not_there_or_refuses_is_one_sentence(monkeypatch):
    pytest.importorskip("openai")
    starlette = pytest.importorskip("starlette.applications")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr("openai._constants.INITIAL_RETRY_DELAY", 0.0)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)

    async def ask() -> Reply:
        async with serving(starlette.Starlette(routes=[])) as port:
            return await OpenAIChat("tiny", f"http://127.0.0.1:{port}/v1")(ASKED)

    with pytest.raises(ChatError, match=r"^tiny at http://127.0.0.1:\d+/v1/ gave no answer \(.*404.*its server.$"):
        asyncio.run(ask())
    with pytest.raises(ChatError, match=r"gave no answer .Connection error"):
        asyncio.run(OpenAIChat("tiny", "http://127.0.0.1:9/v1")(ASKED))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="set OPENAI_API_KEY, or give its server"):
        OpenAIChat("tiny")


def test_a_model_has_a_kind_and_a_name():
    with pytest.raises(ValueError, match="write openai:NAME"):
        chat("qwen")


def test_a_model_in_this_process_answers_by_its_template_and_seed():
    from posttrain import zoo
    from posttrain.zoo.models import load

    model, tokenizer = load(zoo.path("critique/start"))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    here = TransformersChat(model, tokenizer, "tiny", max_tokens=21)
    asked = [{"role": "user", "content": "G:7+5-3=", "passages": []}]
    greedy = asyncio.run(here(asked, temperature=0))
    assert greedy == asyncio.run(here(asked, temperature=0, seed=3))
    assert "=" in greedy.text
    sampled = asyncio.run(here(asked, n=6, seed=1))
    assert sampled == asyncio.run(here(asked, n=6, seed=1))
    assert len({message["content"] for message in sampled.messages}) > 1
    assert set(sampled.finish_reasons) <= {"stop", "length"}
    assert asyncio.run(here(asked, max_tokens=2)).finish_reasons == ("length",)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        TransformersChat(model, tokenizer)
