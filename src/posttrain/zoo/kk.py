"""Train the knights-and-knaves teacher and student from nothing, on worked traces in the compact language.

The teacher solves nearly every puzzle. The student is smaller and trained briefly: it writes well-formed traces but
judges statements wrongly often enough that a group of its samples has right and wrong answers, which is what
reinforcement learning needs.

On one thread, the same configuration and library versions give identical weight files. With several threads the
sums are added in another order: the files differ and the accuracies agree within 0.03.

    build(Path("kk"), KKConfig())        # about 15 minutes on two cores
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from posttrain.tasks.knights_knaves import (
    COMPACT_TOKENS,
    Puzzle,
    compact_prompt,
    compact_trace,
    compact_verdict,
    puzzles,
    sample,
)
from posttrain.zoo.sft import Examples, SFTConfig, batches, encode, train

MAX_NEW_TOKENS = {2: 24, 3: 56, 4: 128}
"""Longest right trace with its end token, rounded up, by number of people."""
