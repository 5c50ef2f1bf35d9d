"""Who gave which answer: `responses.csv` beside the episode files of an imported experiment.

The text format of episodes has no place for participants or for names of items. The published files
do without; `biml data import` keeps them in this table.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from biml.episodes.episode import Episode
from biml.episodes.text import read_text
from biml.errors import BimlError, FormatError

RESPONSES_FILE = "responses.csv"

RESPONSE_COLUMNS = ("file", "item", "participant", "query", "response", "target")
"""Of the table: a row for each answer, in the order of the files and of their queries."""


class Respondent(NamedTuple):
    """Of one answer: the name of its item, and who gave it (empty where unknown)."""

    item: str
    participant: str


Respondents = Mapping[str, tuple[Respondent, ...]]
"""For each episode, by its name, who gave the answers that its queries hold, in their order."""


def read_respondents(folder: Path, episodes: Iterable[Episode]) -> Respondents:
    """What `responses.csv` says of the episodes of a folder; nothing where there is none.

    Raises:
        FormatError: it cannot be read, or tells of other answers than the episode files.
    """
    path = folder / RESPONSES_FILE
    if not path.is_file():
        return {}
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in RESPONSE_COLUMNS if name not in (reader.fieldnames or ())]:
        raise FormatError(
            f"lacks the column {missing[0]}; {_REIMPORT_HINT}", source=str(path), line=1
        )
    rows: dict[str, list[dict[str, str]]] = {}
    for row in reader:
        rows.setdefault(str(row["file"]), []).append(row)
    found = {}
    for episode in episodes:
        file = Path(episode.name).name
        told = rows.get(file, [])
        given = [(" ".join(q.input), " ".join(q.output)) for q in episode.queries]
        if given != [(row["query"], row["response"]) for row in told]:
            raise FormatError(
                f"tells of other answers than {file}; {_REIMPORT_HINT}", source=str(path)
            )
        found[episode.name] = tuple(Respondent(r["item"], r["participant"]) for r in told)
    return found


def format_respondents(
    files: Iterable[tuple[str, Episode, Sequence[Respondent]]],
    targets: Mapping[str, str],
) -> str:
    """The table as text.

    Args:
        sheets: file name, episode and who gave its answers.
        targets: the right answer to each item, where there is one.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(RESPONSE_COLUMNS)
    for file, episode, answerers in files:
        for query, (item, who) in zip(episode.queries, answerers, strict=True):
            words, symbols = " ".join(query.input), " ".join(query.output)
            writer.writerow((file, item, who, words, symbols, targets.get(item, "")))
    return out.getvalue()


_REIMPORT_HINT = "import the experiment again: biml data import, with --overwrite"


def ambiguous_item_error(item: str, file: str) -> BimlError:
    """That measures would not know by which of two grammars to judge an item's answers."""
    return BimlError(
        f"the item {item!r} stands in files of different grammars, of which {file} is one; "
        "give it a name for each of them: biml data import TABLE --study FOLDER, with the files "
        "named after the items"
    )
