"""A model is an async function from messages to a reply: any OpenAI-compatible server, a script, or a recording."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from posttrain.extras import need
from posttrain.files import append_line, read_lines
from posttrain.trajectory import Message


class Usage(NamedTuple):
    """Tokens of one call; None where the model does not say."""

    prompt: int | None = None
    completion: int | None = None


UNSAID = Usage()


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    messages: tuple[Message, ...]
    """The `n` alternatives."""
    usage: Usage = UNSAID
    finish_reasons: tuple[str, ...] = ()
    """One for each alternative: `stop`, `length`, `tool_calls`, ..."""

    @property
    def message(self) -> Message:
        """The first alternative."""
        return self.messages[0]

    @property
    def text(self) -> str:
        """The first alternative's content."""
        return self.message.get("content") or ""


class ChatError(OSError):
    """A model's server gave no answer, or refused the call."""


class Chat(Protocol):
    """A model. `scripted` models say so in `name`, and every number that comes from one says it too."""

    name: str

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] = (),
        n: int = 1,
        temperature: float | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
    ) -> Reply:
        """Answer a conversation.

        Args:
            messages: In the OpenAI form.
            tools: Descriptions of tools in the OpenAI form.
            n: Alternatives.
            temperature: None is the model's own.
            seed: Where the model takes one.
            max_tokens: Of the answer; None is the model's own limit.
        """
        ...


class ScriptedChat:
    """A deterministic model: a function from messages and seed to one message. It proves mechanics only."""

    def __init__(self, script: Callable[[Sequence[Message], int], Message], name: str = "scripted") -> None:
        self.script = script
        self.name = name

    async def __call__(
        self, messages: Sequence[Message], *, n: int = 1, seed: int | None = None, **unused: Any
    ) -> Reply:
        """The script's answers for the seeds `seed`, `seed + 1`, ..."""
        found = tuple(self.script(messages, (seed or 0) + i) for i in range(n))
        return Reply(found, Usage(), tuple("tool_calls" if m.get("tool_calls") else "stop" for m in found))


class OpenAIChat:
    """Any OpenAI-compatible server: vLLM, Ollama, llama.cpp, or a hosted one.

    Args:
        model: As the server calls it.
        base_url: Such as `http://127.0.0.1:11434/v1`; None is the client's own, which reads `OPENAI_BASE_URL`.
        api_key: None reads `OPENAI_API_KEY`; servers on this machine take any.
        timeout: Seconds for one call.
    """

    def __init__(
        self, model: str, base_url: str | None = None, api_key: str | None = None, timeout: float = 120.0
    ) -> None:
        if base_url is not None and "OPENAI_API_KEY" not in os.environ:
            api_key = api_key or "none"
        self.name = model
        openai = need("openai")
        try:
            self.client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout)
        except openai.OpenAIError as error:
            raise ValueError(
                f"{model} cannot be asked ({error}); set OPENAI_API_KEY, or give its server's URL."
            ) from error

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] = (),
        n: int = 1,
        temperature: float | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
    ) -> Reply:
        """One request. Only what is given is sent, since servers differ in what they take."""
        given = {
            "tools": list(tools) or None,
            "n": n if n > 1 else None,
            "temperature": temperature,
            "seed": seed,
            "max_tokens": max_tokens,
        }
        openai = need("openai")
        try:
            found = await self.client.chat.completions.create(
                model=self.name,
                messages=[_plain(m) for m in messages],
                **{name: value for name, value in given.items() if value is not None},
            )
        except openai.APIError as error:
            raise ChatError(
                f"{self.name} at {self.client.base_url} gave no answer ({error}); see to its server."
            ) from error
        usage = Usage(found.usage.prompt_tokens, found.usage.completion_tokens) if found.usage else Usage()
        return Reply(
            tuple(choice.message.model_dump(exclude_none=True) for choice in found.choices),
            usage,
            tuple(choice.finish_reason or "" for choice in found.choices),
        )


def _plain(message: Message) -> Message:
    """A message without what only posttrain knows."""
    return {name: value for name, value in message.items() if name != "passages"}


class TransformersChat:
    """A transformers model in this process, by its chat template.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, with a chat template.
        name: For results.
        max_tokens: Of an answer, unless a call says otherwise.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str = "", max_tokens: int = 512) -> None:
        if not tokenizer.chat_template:
            raise ValueError("This tokenizer has no chat template; set `tokenizer.chat_template` to the model's.")
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or model.config.name_or_path
        self.max_tokens = max_tokens

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] = (),
        n: int = 1,
        temperature: float | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
    ) -> Reply:
        """Answer in text. Calls of tools stay text: their form differs from model to model."""
        import torch

        given = self.tokenizer.apply_chat_template(
            [_plain(m) for m in messages],
            tools=list(tools) or None,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        ).to(self.model.device)
        greedy = temperature == 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            ids = await asyncio.to_thread(
                self.model.generate,
                **given,
                do_sample=not greedy,
                **({} if greedy or temperature is None else {"temperature": temperature}),
                num_return_sequences=n,
                max_new_tokens=max_tokens or self.max_tokens,
            )
        width = given["input_ids"].shape[1]
        answers = ids[:, width:]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return Reply(
            tuple({"role": "assistant", "content": text} for text in texts),
            Usage(width, int(answers.numel())),
            tuple(map(self._finish_reason, answers.tolist())),
        )

    def _finish_reason(self, answer: Sequence[int]) -> str:
        """Whether an answer ended by itself."""
        ends = self.model.generation_config.eos_token_id
        stops = {ends} if isinstance(ends, int) else set(ends or ())
        return "length" if stops.isdisjoint(answer) else "stop"


class Recorded:
    """Calls of a model written to a JSONL file, and answered from it when they come again.

    Args:
        chat: The model; None answers from the file alone.
        path: The recording. It holds whole conversations: keep it where they may be kept.
    """

    def __init__(self, chat: Chat | None, path: Path) -> None:
        self.chat = chat
        self.path = path
        self.known = {line["call"]: line["reply"] for line in read_lines(path)}
        self.name = chat.name if chat is not None else f"recorded in {path.name}"

    async def __call__(self, messages: Sequence[Message], **options: Any) -> Reply:
        """The recorded reply to the very same call, or the model's, recorded."""
        asked = {"messages": [_plain(m) for m in messages], **options}
        call = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if call not in self.known:
            if self.chat is None:
                raise ValueError(f"{self.path} holds no reply to this call; record it with the model at hand.")
            reply = asdict(await self.chat(messages, **options))
            append_line(self.path, {"call": call, "reply": reply})
            self.known[call] = reply
        found = self.known[call]
        return Reply(tuple(found["messages"]), Usage(*_usage(found["usage"])), tuple(found["finish_reasons"]))


def _usage(given: Any) -> tuple[int | None, int | None]:
    """A usage as it is in memory or in a file."""
    return (given["prompt"], given["completion"]) if isinstance(given, dict) else tuple(given)


def chat(model: str, base_url: str | None = None) -> Chat:
    """A model by its name on the command line: `openai:NAME`, at `base_url`."""
    kind, _, name = model.partition(":")
    if kind != "openai" or not name:
        raise ValueError(f"model={model!r} names no model; write openai:NAME, with --base-url for its server.")
    return OpenAIChat(name, base_url)
