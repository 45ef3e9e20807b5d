"""Scoring models for TRL: loaded frozen, checked against the student's vocabulary, with a fused head.

The fused head gives the log-probabilities of the sampled tokens without (tokens x vocabulary) logits, at the
trainer's temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import AutoTokenizer, PreTrainedModel
from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer import add_fused_lm_head
from trl.trainer.utils import create_model_from_path, disable_dropout_in_model

from posttrain.rl.engines import vocabulary
from posttrain.rl.method import Score

if TYPE_CHECKING:
    from posttrain.rl.engines.trl import RecipeTrainer


def check_references(scores: Sequence[Score]) -> None:
    """Raise for a local path that is not there, before anything is loaded."""
    for score in scores:
        check_reference(score.model, f"the model of score {score.name!r}")


def check_reference(model: Any, what: str) -> None:
    """Raise for a local path that is not there or holds no model; hub ids and modules pass."""
    if isinstance(model, nn.Module):
        return
    text = str(model)
    path = Path(text).expanduser()
    local_parent = "/" in text and path.parent.is_dir()
    looks_local = isinstance(model, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1 or local_parent
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"{text} ({what}) has no config.json; give the folder that save_pretrained wrote.")
    if looks_local and not path.exists():
        raise ValueError(f"{text} ({what}) does not exist; give a folder with a saved model, or a hub id.")


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a path or hub id; a sentence that names it if it cannot be had."""
    try:
        return AutoTokenizer.from_pretrained(source)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{source} is not a folder here, and no tokenizer could be loaded for it ({reason})") from error


def check_vocabularies(scores: Sequence[Score], student: Any, processing_class: Any) -> list[str]:
    """Compare the token maps before a model is loaded; returns what is worth telling the user.

    Args:
        scores: With their models.
        student: The model to train: a path, a hub id or a module.
        processing_class: Its tokenizer or processor; None for the one it was saved with.
    """
    if not scores:
        return []
    source = _source(student)
    if processing_class is None and not source:
        raise ValueError("The model to train was built in memory; pass its tokenizer as processing_class.")
    tokenizer = load_tokenizer(source) if processing_class is None else processing_class
    return [note for score in scores for note in _check_vocabulary(score.model, tokenizer)]


def load(scores: Sequence[Score], trainer: RecipeTrainer) -> dict[str, Any]:
    """The prepared models by score name. A module is changed: frozen, without dropout, with a fused head."""
    if any(score.model is trainer.model for score in scores):
        raise ValueError("The teacher is the very module that is trained; give a copy of it, or a path.")
    return {score.name: _prepare(_load_one(score.model, trainer), trainer) for score in scores}


def _load_one(model: Any, trainer: RecipeTrainer) -> PreTrainedModel:
    """A module as it is, or one loaded in the type it was saved in: it is never trained."""
    if isinstance(model, nn.Module):
        return model  # pyright: ignore[reportReturnType]
    kwargs = {
        "dtype": "auto",
        "trust_remote_code": trainer.args.trust_remote_code,
        "attn_implementation": trainer.model.config._attn_implementation,
    }
    if trainer.args.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
        kwargs["device_map"] = None
    loaded = create_model_from_path(str(model), **kwargs)
    _check_width(loaded, trainer.processing_class, str(model))
    return loaded


def _prepare(model: PreTrainedModel, trainer: RecipeTrainer) -> Any:
    """Frozen, without dropout, with a fused head at the trainer's temperature, where the engine wants it."""
    model.requires_grad_(False)
    model.eval()
    disable_dropout_in_model(model)
    fp32 = trainer.args.cast_lm_head_to_fp32
    add_fused_lm_head(model, temperature=trainer.temperature, cast_lm_head_to_fp32=fp32)
    if trainer.is_deepspeed_enabled:
        return prepare_deepspeed(model, trainer.accelerator)
    if trainer.is_fsdp_enabled:
        return prepare_fsdp(model, trainer.accelerator)
    return trainer.accelerator.prepare_model(model, evaluation_mode=True)


def _check_vocabulary(model: Any, student: Any) -> list[str]:
    """Compare the token maps; a module brings its tokenizer only through the path it was loaded from."""
    student = getattr(student, "tokenizer", student)
    source = _source(model)
    if isinstance(model, PreTrainedModel):
        _check_width(model, student, source or "given as a module")
    if not source:
        return ["The teacher is a module without a path, so its vocabulary was not compared with the student's."]
    return vocabulary.check(student, load_tokenizer(source), name=source)


def _check_width(model: PreTrainedModel, student: Any, name: str) -> None:
    """Raise if the head has fewer rows than the student has tokens; more are fine."""
    head: Any = model.get_output_embeddings()
    tokens = len(getattr(student, "tokenizer", student))
    if head is not None and head.weight.shape[0] < tokens:
        raise vocabulary.VocabularyMismatch(
            f"The teacher {name} scores {head.weight.shape[0]} ids, but the student's tokenizer has {tokens}; "
            "use a teacher with the student's tokenizer."
        )


def _source(model: Any) -> str:
    """Where a model came from: its path or hub id, empty for a module that was built in memory."""
    if isinstance(model, nn.Module):
        return getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(model)
