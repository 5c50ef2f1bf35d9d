"""Language models by name: `hf:PATH_OR_NAME[@revision]` and `openai:BASE_URL#MODEL`."""

import re
from hashlib import blake2b
from pathlib import Path

from biml.evaluation.registry import is_language_model
from biml.llm.backend import Backend
from biml.llm.log import LOG_SUFFIX, AnswerLog
from biml.llm.openai import PREFIX as OPENAI
from biml.llm.openai import OpenAIBackend
from biml.llm.prompts import DEFAULT_TEMPLATE, open_template
from biml.llm.responder import LanguageModel
from biml.paths import user_cache_folder
from biml.progress import Progress, no_progress

__all__ = ["is_language_model", "log_path", "open_language_model"]


def open_language_model(
    name: str,
    device: str = "auto",
    *,
    prompt: str = DEFAULT_TEMPLATE,
    log: str | Path | None = None,
    normalise: bool = False,
    progress: Progress = no_progress,
) -> LanguageModel:
    """Open the language model called `name`; a BimlError if anything is wrong.

    Args:
        device: of a local model.
        prompt: the name of a template, or the path of one.
        log: the folder of logs; by default in the user's cache folder.
        normalise: see `LanguageModel`.
    """
    _check_name(name)
    template = open_template(prompt)
    answers = AnswerLog(log_path(name, log))
    return LanguageModel(
        _open_backend(name, device, progress),
        template,
        answers,
        normalise=normalise,
        progress=progress,
    )


def _check_name(name: str) -> None:
    """Raise a UsageError for a wrong name, also where the packages that it needs are missing."""
    if name.startswith(OPENAI):
        OpenAIBackend.from_name(name)
    else:
        from biml.llm.hugging_face import split_name

        split_name(name)


def _open_backend(name: str, device: str, progress: Progress) -> Backend:
    if name.startswith(OPENAI):
        return OpenAIBackend.from_name(name)
    from biml.llm.hugging_face import HuggingFaceBackend

    return HuggingFaceBackend.from_name(name, device, progress)


def log_path(name: str, folder: str | Path | None = None) -> Path:
    """The log of a model, whose name it has as far as files can.

    >>> log_path("hf:models/tiny@main", "logs").name
    'hf-models-tiny-main-df3fe4.jsonl'
    """
    parent = Path(folder) if folder else user_cache_folder() / "language_models"
    readable = re.sub(r"[^\w.-]+", "-", name).strip("-")[-80:]
    return parent / f"{readable}-{blake2b(name.encode(), digest_size=3).hexdigest()}{LOG_SUFFIX}"
