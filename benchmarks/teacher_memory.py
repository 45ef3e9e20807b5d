"""Peak memory of the teacher pass at a vocabulary of 151,936, beside plain logits and log_softmax.

Each pass runs in a fresh process; the figure is the peak resident memory above what stood before the pass.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

VOCABULARY, ROWS, TOKENS, HIDDEN = 151_936, 4, 512, 64


def measure() -> dict[str, Any]:
    """Both peaks in MiB and their ratio."""
    found = {kind: _in_a_process(kind) for kind in ("plain", "ours")}
    return {
        "plain_mib": found["plain"]["mib"],
        "ours_mib": found["ours"]["mib"],
        "ratio": round(found["ours"]["mib"] / found["plain"]["mib"], 4),
        "at_most": 0.3,
        "largest_difference": round(abs(found["ours"]["sum"] - found["plain"]["sum"]), 6),
        "setting": f"{ROWS} x {TOKENS} tokens, vocabulary {VOCABULARY}, hidden size {HIDDEN}, float32, rows one by one",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    return [("teacher pass, peak memory / plain log_softmax", found["ratio"], found["at_most"])]


def _in_a_process(kind: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.teacher_memory", kind], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _main(kind: str) -> None:
    import torch
    from accelerate import Accelerator
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl.trainer import add_fused_lm_head

    from posttrain.rl.engines import scoring
    from posttrain.rl.engines.trl import RecipeTrainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    ids = torch.randint(0, VOCABULARY, (ROWS, TOKENS + 1))
    batch = {"prompt_ids": ids[:, :1], "completion_ids": ids[:, 1:]}
    batch |= {"prompt_mask": torch.ones_like(ids[:, :1]), "completion_mask": torch.ones_like(ids[:, 1:])}
    add_fused_lm_head(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        if kind == "plain":
            logp = model(input_ids=ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        else:
            trainer: Any = RecipeTrainer.__new__(RecipeTrainer)
            trainer.args = SimpleNamespace(per_device_train_batch_size=1, report_to=[])
            trainer.model = SimpleNamespace(training=True)
            trainer.accelerator = Accelerator(cpu=True)
            logp = scoring.under_model(trainer, model, batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"mib": round((peak - before) / 1024, 1), "sum": logp.mean().item()}))


if __name__ == "__main__":
    _main(sys.argv[1])
