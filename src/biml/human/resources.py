"""Data that can be downloaded or imported: one row each, recognised by their contents."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from biml.errors import unknown_name

Paths = Sequence[PurePosixPath]

_LARGE_FILES = "https://www.cs.princeton.edu/~bl8144/supplemental/BIML-large-files"

_BENCHMARK_MODELS = "https://cims.nyu.edu/~brenden/supplemental/BIML-large-files/BIML_ml_models.zip"

_MEGABYTE = 2**20

_SCAN_SPLITS = (
    "simple",
    "addprim_jump",
    "addprim_turn_left",
    "template_around_right",
    "template_opposite_right",
    "length",
)
_COGS_FILES = ("train.tsv", "dev.tsv", "test.tsv")
_COGS_ONLY = (
    *("gen.tsv", "gen_lexical.tsv", "gen_structural.tsv"),
    *("vocab_common_nouns.txt", "vocab_proper_nouns.txt", "vocab_verbs_infinitive.txt"),
    *("vocab_verbs_dative_input.txt", "vocab_verbs_dative_output.txt"),
)
"""Files that no other corpus has."""


@dataclass(frozen=True)
class DataResource:
    """Data of one kind.

    Attributes:
        name: on the command line.
        folder: the folder that it becomes, inside the user's data folder or `--dest`.
        description: one line.
        urls: the published addresses of zip archives, all of which are needed.
        suffixes: ends of the names of files that belong to it; nothing else is unpacked.
        root: finds, among relative paths, the folder that becomes `folder`.
        max_files, max_bytes: limits for unpacking.
        max_download: limit for the archive, in bytes.
        merge: files join existing ones instead of replacing the whole folder.
        flat: files of subfolders are put beside one another.
        sha256: of the archive, where known.
    """

    name: str
    folder: str
    description: str
    urls: tuple[str, ...]
    suffixes: tuple[str, ...]
    root: Callable[[Paths], PurePosixPath | None]
    max_files: int
    max_bytes: int
    merge: bool = False
    flat: bool = False
    max_download: int = 2_000 * _MEGABYTE
    sha256: str | None = None


def _human_root(files: Paths) -> PurePosixPath | None:
    """The folder that holds `few_shot/val_behavior` and `open_ended_all`, wherever it is."""
    for file in files:
        if file.parts[-3:-1] == ("few_shot", "val_behavior"):
            root = file.parents[2]
            if any(other.is_relative_to(root / "open_ended_all") for other in files):
                return root
    return None


def _episodes_root(files: Paths) -> PurePosixPath | None:
    """The folder whose `train` and `val` hold files numbered like `000001.txt`."""
    parents: dict[str, set[PurePosixPath]] = {"train": set(), "val": set()}
    for file in files:
        part = file.parent.name
        if part in parents and re.fullmatch(r"\d{5,}\.txt", file.name):
            parents[part].add(file.parents[1])
            if both := parents["train"] & parents["val"]:
                return both.pop()
    return None


def _scan_root(files: Paths) -> PurePosixPath | None:
    """The folder of the folders of splits, or that of a single file."""
    names = {f"tasks_{part}_{split}.txt" for part in ("train", "test") for split in _SCAN_SPLITS}
    parents = [file.parent for file in files if file.name in names]
    return next((p.parent if p.name.endswith("_split") else p for p in parents), None)


def _cogs_root(files: Paths) -> PurePosixPath | None:
    """The folder with most files of COGS, among them one that no other corpus has."""
    found = Counter(f.parent for f in files if f.name in (*_COGS_FILES, *_COGS_ONLY))
    known = {file.parent for file in files if file.name in _COGS_ONLY}
    return next((folder for folder, _ in found.most_common() if folder in known), None)


def _benchmark_models_root(files: Paths) -> PurePosixPath | None:
    """The folder of `out_models_scan` or `out_models_cogs` with checkpoints."""
    folders = ("out_models_scan", "out_models_cogs")
    found = (f.parents[1] for f in files if f.suffix == ".pt" and f.parent.name in folders)
    return next(found, None)


def _models_root(files: Paths) -> PurePosixPath | None:
    """The first folder that holds checkpoints."""
    return next((f.parent for f in files if f.suffix in (".pt", ".safetensors")), None)


_RESOURCES = (
    DataResource(
        name="human",
        folder="data_human",
        description="human responses: few-shot, open-ended and probe tasks",
        # The host repacks this archive from time to time, so it has no fixed checksum; the CRC of
        # each member is checked when it is unpacked.
        urls=("https://codeload.github.com/brendenlake/MLC/zip/HEAD",),
        suffixes=(".txt",),
        root=_human_root,
        max_files=5_000,
        max_bytes=50 * _MEGABYTE,
    ),
    DataResource(
        name="episodes",
        folder="data_algebraic",
        description="the published 100,000 + 200 meta-training episodes",
        urls=(f"{_LARGE_FILES}/data_algebraic.zip",),
        suffixes=(".txt",),
        root=_episodes_root,
        max_files=250_000,
        max_bytes=1_000 * _MEGABYTE,
    ),
    DataResource(
        name="scan",
        folder="scan",
        description="SCAN, six splits (biml generates all but the simple one itself)",
        urls=("https://codeload.github.com/brendenlake/SCAN/zip/HEAD",),
        suffixes=tuple(f"_{split}.txt" for split in _SCAN_SPLITS),
        root=_scan_root,
        max_files=20,
        max_bytes=100 * _MEGABYTE,
        merge=True,
    ),
    DataResource(
        name="cogs",
        folder="cogs",
        description="COGS, with the word lists of MLC",
        urls=(
            "https://codeload.github.com/najoungkim/COGS/zip/HEAD",
            "https://codeload.github.com/brendenlake/MLC-ML/zip/HEAD",
        ),
        suffixes=(*_COGS_FILES, *_COGS_ONLY),
        root=_cogs_root,
        max_files=50,
        max_bytes=100 * _MEGABYTE,
        merge=True,
    ),
    DataResource(
        name="benchmark-models",
        folder="out_models_benchmarks",
        description="the published trained networks for SCAN and COGS",
        urls=(_BENCHMARK_MODELS,),
        suffixes=(".pt",),
        root=_benchmark_models_root,
        max_files=500,
        max_bytes=4_000 * _MEGABYTE,
        merge=True,
        flat=True,
    ),
    DataResource(
        name="models",
        folder="out_models",
        description="the published trained networks",
        urls=(f"{_LARGE_FILES}/BIML_top_models.zip",),
        suffixes=(".pt", ".safetensors", ".json"),
        root=_models_root,
        max_files=500,
        max_bytes=4_000 * _MEGABYTE,
        merge=True,
    ),
)

RESOURCES = {row.name: row for row in _RESOURCES}
"""By name, in the order of recognition: human data have folders that could pass for episodes, and
any of the others could lie beside checkpoints."""


def resource(name: str) -> DataResource:
    """The resource called `name`; a UsageError lists the known ones."""
    if name not in RESOURCES:
        raise unknown_name("data", name, RESOURCES)
    return RESOURCES[name]


def identify(files: Paths) -> tuple[DataResource, PurePosixPath] | None:
    """Recognise a resource by its files; return it with its root folder, or None.

    >>> files = [f"sets/mine/{part}/000001.txt" for part in ("train", "val")]
    >>> row, root = identify([PurePosixPath(file) for file in files])
    >>> row.name, str(root)
    ('episodes', 'sets/mine')
    """
    roots = ((row, row.root(files)) for row in RESOURCES.values())
    return next(((row, root) for row, root in roots if root is not None), None)
