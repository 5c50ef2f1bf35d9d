"""Rows of responses from the columns of any table, in the words and symbols of the study files."""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path

from biml.analysis.responses import FileRow
from biml.episodes.episode import Episode
from biml.episodes.transforms import symbols_used
from biml.errors import FormatError, UsageError, unknown_name
from biml.human.foreign_tables import (
    ForeignTable,
    folded,
    json_response,
    read_foreign_table,
    same_case,
)
from biml.human.web_experiment import QUERY_NAMES, recognise_web_experiment
from biml.vocabulary import UNDEFINED

RESPONSE_TABLE_COLUMNS = ("item", "participant", "query", "response")
"""The columns that are imported."""

POSITION = "position"
"""Of a symbol in its response, in tables with a row for each symbol."""

SIMILAR_COLUMNS = {
    "item": "trial, trial id, trial number, item id, stimulus id, question id, spreadsheet row",
    "participant": "participant id, participant private id, participant no, participant number, "
    "subject, subject id, subject no, subject number, subj, id, user, user id, worker id, "
    "workerid, prolific pid, prolific id, responseid, response id, sona id, email, email address, "
    "vp, vpn",
    "query": "question, input, instruction, stimulus, prompt, command, sentence, phrase, "
    "utterance, aufgabe",
    "response": "answer, output, participant response, response text, given answer, typed, "
    "key resp keys, resp resp, symbol, antwort",
    POSITION: "pos, index, symbol position, symbol number, place",
}
"""Names in use elsewhere, for suggestions."""

MISSING_TEXTS = (
    *("na", "n a", "nan", "null", "none", "nil", "undefined", "missing", "unknown"),
    *("don t know", "dont know", "do not know", "i don t know", "i dont know", "i do not know"),
    *("idk", "dk", "no idea", "not sure", "unsure", "no response", "no answer"),
    *("skip", "skipped", "timeout", "timed out"),
    *("weiss nicht", "weiß nicht", "ich weiss nicht", "k a", "keine angabe", "keine ahnung"),
)
"""Responses (folded) that mean that there is none, unless they are symbols of the study set."""

MISSING_POLICIES = ("error", "skip")

_PUNCTUATION = string.punctuation + "…。、“”„‘’«»"
_BETWEEN = f"[{re.escape(_PUNCTUATION.replace('_', ''))}]+"  # symbols


@dataclass
class ResponseRows:
    """The rows of a table, with the cells of `RESPONSE_TABLE_COLUMNS`.

    Attributes:
        ignored: columns that were not read.
        notes: what was recognised and changed.
        errors: the rows that are not in `rows`, and why.
    """

    rows: list[FileRow] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)


def read_response_rows(
    path: Path,
    study: Sequence[Episode],
    *,
    per_item: bool,
    columns: Mapping[str, str],
    missing: str,
) -> ResponseRows:
    """Read the rows of a table of responses to the queries of study files.

    Args:
        per_item: items are named after their study files, and otherwise after their queries.
        columns: names of columns in the file, by `RESPONSE_TABLE_COLUMNS` or by query, if each
            query has a column with the responses to it.
        missing: what to do where there is no response or no query, one of `MISSING_POLICIES`.
    Raises:
        FormatError: the file is no table, or lacks a column.
        UsageError: `columns` has an unknown name.
    """
    queries = dict.fromkeys(query.input for episode in study for query in episode.queries)
    chosen = _keys(columns, queries)
    names = [chosen.get(name, name) for name in ("query", "response")]
    table = read_foreign_table(path, [*names, *QUERY_NAMES, *map(" ".join, queries)])
    has_catch_trials = recognise_web_experiment(table)
    found = {key: _column(table, name) for key, name in chosen.items()}
    for name in RESPONSE_TABLE_COLUMNS:
        found |= {} if name in found else _named_alike(table, name)
    by_query = {query: found[query] for query in map(" ".join, queries) if query in found}
    if not by_query and "query" not in found and "response" not in found:
        by_query = _columns_of_queries(table, queries)
    items = _items_of_queries(study) if per_item else {}
    required = () if by_query else ("query", "response")
    if items is None:
        required = ("item", *required)
    if absent := [name for name in required if name not in found]:
        raise _lacking(table, absent, found, queries)
    reader = _RowReader(table, study, found, by_query, items or {}, missing)
    if has_catch_trials:
        reader.catch_trials = {example.input for episode in study for example in episode.study}
    read = reader.read()
    used = {*found.values(), *by_query.values()}
    read.ignored = tuple(name for name in table.columns if name and name not in used)
    renamed = [f"{key} from '{name}'" for key, name in (found | by_query).items() if key != name]
    if "participant" not in found and (other := _similar(table, "participant")):
        read.notes.append(
            f"no column is the participant; is it '{other}'? --columns participant=\"{other}\""
        )
    if renamed:
        read.notes.insert(len(table.notes), f"columns: {', '.join(renamed)}")
    return read


def _keys(columns: Mapping[str, str], queries: Iterable[tuple[str, ...]]) -> dict[str, str]:
    known = {
        folded(name): name for name in (*map(" ".join, queries), *RESPONSE_TABLE_COLUMNS, POSITION)
    }
    keys = {}
    for key, name in columns.items():
        if folded(key) not in known:
            raise unknown_name("column or query", key, reversed(known.values()), "--columns")
        keys[known[folded(key)]] = name
    return keys


def _column(table: ForeignTable, name: str) -> str:
    if name in table.columns:
        return name
    alike = [column for column in table.columns if folded(column) == folded(name)]
    if len(alike) == 1:
        return alike[0]
    names = [column for column in table.columns if column]
    raise UsageError(f"{table.source}: {unknown_name('column', name, names, '--columns')}")


def _named_alike(table: ForeignTable, name: str) -> dict[str, str]:
    """The column of this name in any spelling, if there is one."""
    alike = [column for column in table.columns if folded(re.sub(r" \(\d+\)$", "", column)) == name]
    if len(alike) > 1:
        raise table.error(
            f"the columns {' and '.join(map(repr, alike))} may both be the {name}; choose one: "
            f"--columns {name}={alike[0]!r}"
        )
    return {name: alike[0]} if alike else {}


def _columns_of_queries(table: ForeignTable, queries: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """The columns whose name or question is a query, or else is the only one that contains it.

    Of several queries in a name the longest counts, and none if they do not contain each other.
    """
    known = {folded(" ".join(query)): " ".join(query) for query in queries}
    exact: dict[str, str] = {}
    containing: dict[str, list[str]] = defaultdict(list)
    for column in table.columns:
        for text in map(folded, (column, table.labels.get(column, ""))):
            if text in known:
                exact[known[text]] = column
                continue
            inside = [query for query in known if f" {query} " in f" {text} "]
            longest = max(inside, key=len, default="")
            if inside and all(f" {query} " in f" {longest} " for query in inside):
                containing[known[longest]].append(column)
    only = {query: names[0] for query, names in containing.items() if len({*names}) == 1}
    return only | exact


def _items_of_queries(study: Sequence[Episode]) -> dict[tuple[str, ...], str] | None:
    """The study file of each query; None if a query is in several."""
    pairs = {(query.input, Path(e.name).stem) for e in study for query in e.queries}
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


def _lacking(
    table: ForeignTable,
    absent: Sequence[str],
    found: Collection[str],
    queries: Iterable[tuple[str, ...]],
) -> FormatError:
    guesses = []
    optional = [name for name in ("participant", POSITION) if name not in found]
    for name in (*absent, *optional):
        alike = _similar(table, name)
        if alike or name in absent:
            guesses.append(f'{name}="{alike or "NAME"}"')
    names = ", ".join(f"'{name}'" for name in table.columns if name) or "none"
    or_by_query = ""
    if {"query", "response"} <= {*absent}:
        first = " ".join(next(iter(queries), ()))
        or_by_query = f'; or, where each query has a column, name these: "{first}=NAME"'
    return table.error(
        f"lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}; it has {names}. "
        f"Name the columns with --columns {' '.join(guesses)}{or_by_query}"
    )


def _similar(table: ForeignTable, name: str) -> str:
    """The first column with a usual name of another program, if there is one."""
    similar = SIMILAR_COLUMNS[name].split(", ")
    return next((column for column in table.columns if folded(column) in similar), "")


class _RowReader:
    """Takes the cells of a table apart, and counts what it changes."""

    def __init__(
        self,
        table: ForeignTable,
        study: Sequence[Episode],
        columns: Mapping[str, str],
        by_query: Mapping[str, str],
        items: Mapping[tuple[str, ...], str],
        missing: str,
    ) -> None:
        used = [symbols_used(episode) for episode in study]
        self.words = Spelling(word for words, _ in used for word in words)
        self.symbols = Spelling([*(s for _, symbols in used for s in symbols), UNDEFINED])
        self.table = table
        self.columns = columns
        self.by_query = by_query
        self.items = items
        self.missing = missing
        self.skipped: Counter[str] = Counter()
        self.respelled: list[str] = []
        self.n_json = 0
        self.catch_trials: set[tuple[str, ...]] = set()

    def read(self) -> ResponseRows:
        found = ResponseRows(notes=list(self.table.notes), errors=list(self.table.errors))
        known: set[tuple[str, ...]] = set()
        for number, cells in self.table.rows:
            if self._cell(cells, "participant") and POSITION not in self.columns:
                if (same := tuple(cells.values())) in known:
                    self.skipped["the cells of a row above"] += 1
                    continue
                known.add(same)
            for query, response in self._responses(cells):
                try:
                    row = self._row(number, cells, query, response)
                except FormatError as error:
                    found.errors.append(error)
                else:
                    found.rows += [row] if row else []
        if POSITION in self.columns:
            self._join(found)
        if self.n_json:
            found.notes.append(f"{self.n_json:,} responses were taken out of JSON")
        if self.respelled:
            found.notes.append(
                f"{len(self.respelled):,} cells were written as in the study set "
                f"({'; '.join(list(dict.fromkeys(self.respelled))[:3])})"
            )
        if self.skipped:
            kinds = [f"{n:,} with {kind}" for kind, n in self.skipped.most_common()]
            more = f" and {len(kinds) - 10} more kinds" if len(kinds) > 10 else ""
            found.notes.append(f"rows left out: {', '.join(kinds[:10])}{more}")
        if not found.rows and not found.errors:
            raise FormatError("there is no response in it", source=self.table.source)
        return found

    def _responses(self, cells: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The query and the response of a row, or of each column that is a query."""
        if self.by_query:
            yield from ((query, cells[column]) for query, column in self.by_query.items())
        else:
            yield cells[self.columns["query"]], cells[self.columns["response"]]

    def _row(
        self, number: int, cells: Mapping[str, str], query: str, response: str
    ) -> FileRow | None:
        """A row, or None if it is left out; a FormatError if it cannot be read."""
        place = FileRow({}, self.table.source, number, self.table.unit)
        words = self._spelled(self.words, query)
        if self._is_missing("query", query.strip(), words, place):
            return None
        try:
            text = json_response(response.strip())
        except ValueError as error:
            raise place.error(f"{error}; write the response alone into a column") from None
        self.n_json += text != response.strip()
        symbols = self._spelled(self.symbols, text)
        if self._is_missing("response", text, symbols, place):
            return None
        if words in self.catch_trials:
            self.skipped["a study example as the query (catch trials)"] += 1
            return None
        query = " ".join(words)
        item = self._cell(cells, "item") if "item" in self.columns else self.items.get(words, query)
        if folded(item) == folded(query):
            item = query
        given = {
            "item": item,
            "participant": self._cell(cells, "participant"),
            "query": query,
            "response": " ".join(symbols),
            POSITION: self._cell(cells, POSITION),
        }
        return FileRow(given, self.table.source, number, self.table.unit)

    def _is_missing(self, kind: str, text: str, tokens: Sequence[str], place: FileRow) -> bool:
        """Whether a row is left out for this text; a FormatError if it may not be."""
        known = self.words if kind == "query" else self.symbols
        is_other = kind == "query" and tokens and not known.known & {*tokens}
        if not is_other and not (_means_missing(text) and not (tokens and known.has(tokens))):
            return False
        if self.missing == "skip":
            self.skipped[f"the {kind} '{text}'" if text else f"an empty {kind}"] += 1
            return True
        problem = f" '{text}' means that there is none" if text else " is empty"
        if is_other and not _means_missing(text):
            problem = f" '{text}' has no word of the study set ({' '.join(sorted(known.known))})"
        more = f", {UNDEFINED} stands for a symbol outside the study set"
        raise place.error(
            f"the {kind}{problem}; --missing skip leaves such rows out"
            f"{more if kind == 'response' else ''}"
        )

    def _join(self, found: ResponseRows) -> None:
        """Make one row of those with the symbols of a response, in the order of their positions."""
        parts: dict[tuple[str, ...], list[tuple[float, FileRow]]] = defaultdict(list)
        for row in found.rows:
            try:
                place = float(str(row.cells[POSITION]).replace(",", "."))
            except ValueError:
                problem = f"the position '{row.cells[POSITION]}' is not a number"
                found.errors.append(row.error(problem))
                continue
            of_response = parts[row.participant, row.item, *row.input]
            if any(place == other for other, _ in of_response):
                problem = (
                    f"a second symbol at position {place:g} of the response to item '{row.item}'; "
                    "does the column of the participant, or of the item, have a name in --columns?"
                )
                found.errors.append(row.error(problem))
            of_response.append((place, row))
        n_rows, found.rows = len(found.rows), []
        for of_response in parts.values():
            first = of_response[0][1]
            ordered = sorted(of_response, key=itemgetter(0))
            response = " ".join(" ".join(row.output) for _, row in ordered)
            found.rows.append(replace(first, cells={**first.cells, "response": response}))
        found.notes.append(f"{n_rows:,} rows of symbols are {len(found.rows):,} responses")

    def _cell(self, cells: Mapping[str, str], name: str) -> str:
        return " ".join(cells[self.columns[name]].split()) if name in self.columns else ""

    def _spelled(self, spelling: "Spelling", text: str) -> tuple[str, ...]:
        tokens = spelling(text)
        if spelling.has(tokens) and list(tokens) != text.split():
            self.respelled.append(f"'{text.strip()}' is '{' '.join(tokens)}'")
        return tokens


class Spelling:
    """Known tokens, found in other case, with punctuation between or around them, or in HTML.

    Glyphs are found without blanks too, and so are letters where each symbol is a single one.

    >>> Spelling(["blicket", "lug"])("<p> Blicket lug. </p>")
    ('blicket', 'lug')
    >>> Spelling("▲ ■ ●".split())("▲■, ★ ")
    ('▲', '■', '★')
    >>> Spelling("R G".split())("gr-R")
    ('G', 'R', 'R')
    """

    def __init__(self, known: Iterable[str]) -> None:
        self.known = frozenset(known)
        by_fold: dict[str, set[str]] = defaultdict(set)
        for token in self.known:
            by_fold[_fold_token(token)].add(token)
        self.by_fold = {f: names.pop() for f, names in by_fold.items() if f and len(names) == 1}
        self.single = all(len(token) == 1 for token in self.known - {UNDEFINED})

    def has(self, tokens: Iterable[str]) -> bool:
        return self.known.issuperset(tokens)

    def __call__(self, text: str) -> tuple[str, ...]:
        tokens: list[str] = []
        for part in re.sub("<[^<>]+>", " ", text).split():
            for token in [part] if part in self.known else re.split("[,;/]", part):
                tokens += self._tokens(token)
        return tuple(tokens)

    def _tokens(self, token: str) -> Iterable[str]:
        if token in self.known:
            return [token]
        bare = _fold_token(token)
        if bare in self.by_fold:
            return [self.by_fold[bare]]
        if self.has(token) and not any(map(str.isalnum, token)):
            return token  # such as ▲▲
        parts = re.split(_BETWEEN, bare)
        parts = list("".join(parts)) if self.single else parts
        if self.by_fold.keys() >= {*parts}:
            return [self.by_fold[part] for part in parts]
        return [token] if bare else []


def _means_missing(text: str) -> bool:
    return not text.strip(_PUNCTUATION + string.whitespace) or folded(text) in MISSING_TEXTS


def _fold_token(token: str) -> str:
    return same_case(token.strip(_PUNCTUATION))
