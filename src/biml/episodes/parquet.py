"""Sets of episodes as Parquet files with a dataset card, which `datasets.load_dataset` reads."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biml.episodes.episode import Episode
from biml.errors import check_extra

CARD = "README.md"

COLUMNS = {
    "study": "the study examples, each with `input` (words) and `output` (symbols)",
    "queries": "the inputs of the queries",
    "targets": "their outputs",
    "grammar": "the rules of the episode's grammar, one a line",
}

Row = dict[str, Any]


def row(episode: Episode) -> Row:
    """The cells of an episode; words and symbols are separated by blanks.

    >>> from biml.episodes.episode_type import gold_episode
    >>> row(gold_episode())["study"][0]
    {'input': '1', 'output': '1'}
    """
    return {
        "study": [
            {"input": " ".join(e.input), "output": " ".join(e.output)} for e in episode.study
        ],
        "queries": [" ".join(query.input) for query in episode.queries],
        "targets": [" ".join(query.output) for query in episode.queries],
        "grammar": str(episode.grammar or ""),
    }


def write_split(folder: Path, name: str, chunks: Iterable[Sequence[Row]]) -> int:
    """Write the file of a split, in parts; return its number of episodes."""
    check_extra("analysis", "Parquet files need", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pair = pa.struct({"input": pa.string(), "output": pa.string()})
    texts = pa.list_(pa.string())
    types = {"study": pa.list_(pair), "queries": texts, "targets": texts, "grammar": pa.string()}
    schema = pa.schema([(column, types[column]) for column in COLUMNS])
    n_rows = 0
    (folder / "data").mkdir(exist_ok=True)
    with pq.ParquetWriter(folder / "data" / f"{name}.parquet", schema) as writer:
        for rows in chunks:
            writer.write_table(pa.Table.from_pylist(list(rows), schema))
            n_rows += len(rows)
    return n_rows


def dataset_card(splits: Mapping[str, tuple[int, str]], title: str, about: str) -> str:
    """The text of `README.md`, with the metadata that `load_dataset` and the Hub read on top.

    Args:
        splits: the number of episodes and what they are, by name.
    """
    total = sum(n for n, _ in splits.values())
    bounds = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
    size = next((name for bound, name in bounds.items() if total < bound), "n>1M")
    files = "".join(f"  - split: {name}\n    path: data/{name}.parquet\n" for name in splits)
    rows = "".join(f"| `{name}` | {n:,} | {what} |\n" for name, (n, what) in splits.items())
    columns = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in COLUMNS.items())
    return _CARD.format(
        title=title, about=about, size=size, files=files, rows=rows, columns=columns
    )


_CARD = """---
pretty_name: {title}
tags:
- meta-learning
- compositionality
- cognitive-science
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{files}---

# {title}

{about}

| split | episodes | |
| --- | --- | --- |
{rows}
| column | |
| --- | --- |
{columns}
Words and symbols are separated by blanks.

```python
from datasets import load_dataset

episodes = load_dataset("FOLDER")
```
"""
