"""Models on the Hugging Face Hub: a folder with `model.safetensors`, `config.json` and a card.

`config.json` is the card of `biml export`, and `README.md` says it in words, with metrics in the
form that the Hub shows. Only safetensors are read, never pickles.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from biml.episodes.data_use import CAVEAT_MARK, USES, caveat
from biml.errors import BimlError, UsageError, check_extra, first_line
from biml.evaluation.api import Model, load
from biml.evaluation.card_text import METRIC_NAMES, card_lines, uses_of_metrics
from biml.evaluation.cards import provenance
from biml.evaluation.network import NetworkResponder
from biml.io import markdown_row, read_text, write_file
from biml.networks.checkpoint import checkpoint_of, write_safetensors
from biml.paths import HUB_CONFIG, HUB_WEIGHTS, PRETRAINED, strip_suffix, upgrade_card

check_extra("hub", "models of the Hugging Face Hub need", "huggingface_hub")

from huggingface_hub import EvalResult, ModelCardData, ModelHubMixin, snapshot_download  # noqa: E402

HUB_CARD = "README.md"

_LIBRARY = "biml"
"""The Hub's name of the library that reads a model."""

_LICENSE = "mit"
"""Of the models that come with biml."""

_PAPER = "https://doi.org/10.1038/s41586-023-06668-3"

_METRICS = {"novel": "exact matches", "log_likelihood": "log-likelihood", "error_rate": "errors"}
"""What a model index has of the metrics of a card, with the names there."""


class BimlModel(Model, ModelHubMixin):
    """A `Model` that is loaded from the Hugging Face Hub, or a folder, and saved there.

    `save_pretrained(folder)` and `push_to_hub("user/name")` are those of `ModelHubMixin`.
    """

    # Not None, so that the mixin sets none: a model is frozen.
    _hub_mixin_config = {"library_name": _LIBRARY}  # noqa: RUF012

    @classmethod
    def of(cls, model: Model) -> "BimlModel":
        """The same model with the methods for the Hub; a UsageError unless it is a network."""
        if not isinstance(model.responder, NetworkResponder):
            raise UsageError(f"{model.name} has no weights to save; name a trained network")
        return cls(**vars(model))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str = "auto",
        **model_kwargs: Any,
    ) -> "BimlModel":
        """Load a folder, or a model of the Hub such as `user/name`.

        Args:
            force_download, token, cache_dir, local_files_only, revision: of the download.
        Raises:
            FormatError: a file is damaged, hostile, or of another kind of model.
            BimlError: there is no such model, or it cannot be downloaded.
        """
        if model_kwargs:
            raise UsageError(f"from_pretrained has no argument {next(iter(model_kwargs))!r}")
        name = str(pretrained_model_name_or_path)
        folder = Path(name)
        if not folder.is_dir():
            try:
                found = snapshot_download(
                    name,
                    allow_patterns=[HUB_WEIGHTS, HUB_CONFIG],
                    revision=revision,
                    force_download=force_download,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                )
                folder = Path(found)
            except Exception as error:  # of the Hub, its client, and the network
                problem = "no such folder, and no model of the Hub was loaded"
                raise BimlError(f"{name}: {problem} ({first_line(error)})") from error
        if not (folder / HUB_WEIGHTS).is_file():
            raise BimlError(f"{name}: has no {HUB_WEIGHTS}; weights of other formats are not read")
        loaded = cls.of(load(folder / HUB_WEIGHTS, device))
        return cls(**{**vars(loaded), "name": str(loaded.card.get("name") or Path(name).name)})

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model as a folder; `options` are those of `ModelHubMixin`.

        Raises:
            UsageError: the folder has files of something else, which would be lost.
        """
        _check_own(Path(save_directory))
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self.responder, NetworkResponder)
        contents = checkpoint_of(self.responder.network, self.episode_type, info=self.info)
        contents |= {"card": dict(self.card)} if self.card else {}
        write_hub_folder(save_directory, contents, strip_suffix(self.name))


def _check_own(folder: Path) -> None:
    """Raise UsageError if a folder has the files of another model or project."""
    found = [name for name in (HUB_WEIGHTS, HUB_CONFIG, HUB_CARD) if (folder / name).exists()]
    if found and not _is_own_card(folder / HUB_CARD):
        raise UsageError(
            f"{folder} holds {' and '.join(found)} that biml did not write; name another folder"
        )


def _is_own_card(card: Path) -> bool:
    with suppress(BimlError):
        return f"\nlibrary_name: {_LIBRARY}\n" in read_text(card)
    return False


def write_hub_folder(
    folder: Path,
    contents: Mapping[str, Any],
    name: str,
    dtype: torch.dtype = torch.float32,
    *,
    license: str = "",
) -> None:
    """Write a checkpoint's contents as a folder for the Hub.

    Args:
        license: the Hub's name of one, such as `cc-by-4.0`; by default that of the models that come
            with biml, and none for others.
    """
    if (contents.get("card") or {}).get("name") in PRETRAINED:
        license = license or _LICENSE
    if not contents.get("card"):
        contents = {**contents, "card": {"name": name, **provenance(contents, name)}}
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / HUB_WEIGHTS, contents, dtype, card_file=folder / HUB_CONFIG)
    card = model_card(contents, name, license=license)
    write_file(folder / HUB_CARD, card)


def model_card(contents: Mapping[str, Any], name: str, *, license: str = "") -> str:
    """The text of `README.md`, with the metadata that the Hub reads on top."""
    card = upgrade_card(contents.get("card"))
    uses = uses_of_metrics(contents)
    data = ModelCardData(
        license=license or None,
        library_name=_LIBRARY,
        tags=["biml", "meta-learning", "compositionality", "cognitive-science"],
        model_name=name,
        eval_results=list(_eval_results(card.get("metrics", {}), uses)) or None,
    )
    about = [line for line in card_lines(contents, name) if line[0] not in ("model", "sha256")]
    rows = "".join(f"{markdown_row(*line)}\n" for line in about)
    marked = [use for use in USES if any(use in of_metric for of_metric in uses.values())]
    note = f"\n{CAVEAT_MARK} in the metadata: {caveat(marked)}\n" if marked else ""
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {name}\n\nA network trained by meta-learning for "
        f"compositionality (MLC; [Lake & Baroni 2023]({_PAPER})) with biml. From study examples of "
        "a small language it infers what new phrases mean.\n\n```python\nimport biml\n\n"
        f'model = biml.BimlModel.from_pretrained("{name}")  # a folder, or user/name\n'
        'model.respond([("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")], "wif fep")\n'
        f"```\n\n| | |\n| --- | --- |\n| licence | {license or 'not stated'} |\n{rows}{note}"
    )


def _eval_results(
    metrics: Mapping[str, Any], uses: Mapping[str, tuple[str, ...]]
) -> Iterator[EvalResult]:
    """Metrics of a card as the Hub has them; marked where the model was made with the data."""
    for name, of_data in metrics.items():
        for key, label in _METRICS.items():
            if of_data.get(key) is not None:
                lapse = f" (lapse {of_data['p_lapse']:g})" if key == "log_likelihood" else ""
                unit = "" if key == "log_likelihood" else ", %"
                yield EvalResult(
                    task_type="text2text-generation",
                    dataset_type=str(of_data.get("episode_type") or name),
                    dataset_name=METRIC_NAMES.get(name, name).partition(",")[0],
                    metric_type=key.replace("novel", "exact_match"),
                    metric_name=f"{label}{unit}{lapse}{CAVEAT_MARK * bool(uses.get(name))}",
                    metric_value=of_data[key],
                )
