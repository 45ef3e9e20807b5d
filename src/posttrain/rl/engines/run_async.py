"""Hooks are coroutines, and engines are not: run one to its end, also where a loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns; beside a running loop it runs in a thread with the device and grad mode of this one.

    Args:
        coroutine: Not awaited yet.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    device = torch.accelerator.current_device_index() if torch.accelerator.is_available() else None
    grad = torch.is_grad_enabled()

    def run() -> T:
        if device is not None:
            torch.accelerator.set_device_index(device)
        with torch.set_grad_enabled(grad):
            return asyncio.run(coroutine)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, run).result()
