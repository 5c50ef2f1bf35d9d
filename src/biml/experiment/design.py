"""Designs of experiments as TOML files: their keys, and everything that can be wrong with them.

The three experiments of the paper are the designs `few-shot`, `open-ended` and `probes`, files in
`designs/` that the same reader reads.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Example
from biml.episodes.palette import style_of
from biml.errors import FormatError, UsageError, did_you_mean, merge_errors, unknown_name
from biml.experiment.design_types import (
    FEW_SHOT,
    KEYS,
    PROBES,
    QUESTION_KINDS,
    SIMULATED,
    TABLES,
    TASK_KEYS,
    TASK_TABLES,
    TASKS,
    Codes,
    Condition,
    Design,
    Keys,
    Question,
    Stage,
)
from biml.grammar import Grammar, GrammarError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.io import read_text

BUILT_IN = TASKS
"""Designs that have a name and need no file."""


def read_design(source: str | Path) -> Design:
    """Read the built-in design of this name, or a file.

    Raises:
        FormatError: lists everything that is wrong with the file.
        UsageError: there is neither a design nor a file of this name.
    """
    path = built_in_path(str(source)) if str(source) in BUILT_IN else Path(source)
    if not path.is_file() and path.suffix == ".toml":
        raise UsageError(f"{path}: there is no such file; `biml experiment new` writes one to edit")
    if not path.is_file():
        raise unknown_name("experiment", str(source), [*BUILT_IN, "a TOML file"])
    return DesignFile(path, read_text(path)).design()


def built_in_path(name: str) -> Path:
    return Path(__file__).parent / "designs" / f"{name}.toml"


class DesignFile:
    """A design file and the errors found in it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.errors: list[FormatError] = []
        try:
            self.table: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(f"not a design in TOML: {error}", source=str(path)) from None
        self.task: str = self.table.get("task", "")
        self.check_keys()
        self.raise_errors()  # as more errors would follow from these

    def design(self) -> Design:
        get = self.table.get
        self.words = tuple(get("words", WORDS))
        self.colours = tuple(get("colours", COLOURS))
        self.check_names()
        grammar = self.grammar()
        study = self.pairs("study", get("study", []))
        self.raise_errors()
        if grammar is not None:
            self.check_study(study, grammar)
        stages = self.stages(study, grammar) if self.task == FEW_SHOT else self.trials()
        quiz, questions = get("quiz", []), get("questions", [])
        design = Design(
            name=self.table["name"],
            task=self.task,
            title=get("title", self.table["name"]),
            source=str(self.path),
            digest=sha256(self.text.encode()).hexdigest(),
            text=self.text,
            words=self.words,
            colours=self.colours,
            **{key: self.table[key].strip() for key in ("information", "consent")},
            **{key: self.table[key].strip() for key in ("instructions", "debriefing")},
            codes=Codes(**get("codes", {})),
            grammar=grammar,
            study=study,
            stages=stages,
            queries=tuple(tuple(query.split()) for query in get("queries", [])),
            practice=tuple(tuple(row.split()) for row in get("practice", [])),
            quiz=tuple(Question(q["name"], q["text"], choices=tuple(q["choices"])) for q in quiz),
            quiz_answers={question["name"]: question["answer"] for question in quiz},
            quiz_attempts=get("quiz_attempts"),
            study_cycles=get("study_cycles", 3),
            missed_catch_trials=get("missed_catch_trials"),
            questions=tuple(map(_question, questions)),
            excluding_answers={q["name"]: q["exclude"] for q in questions if "exclude" in q},
            participants=get("participants"),
            conditions=tuple(
                Condition(c["name"], c.get("quota"), tuple(c.get("include", ())))
                for c in get("conditions", [])
            ),
            parameters=tuple(get("parameters", [])),
            contact=get("contact", "").strip(),
        )
        self.check_sizes(design)
        self.check_questions()
        self.check_conditions(design)
        self.raise_errors()
        return design

    def raise_errors(self) -> None:
        if self.errors:
            raise merge_errors(sorted(self.errors, key=lambda error: error.line or 0))

    def error(
        self, problem: str, key: str = "", table: str = "", number: int = 0, near: str = ""
    ) -> None:
        """Note an error at the line of a key, in a table of that number; or of a text after it."""
        lines = list(enumerate(self.text.splitlines(), 1))
        start = None
        if table:
            header = re.compile(rf"\s*\[\[?\s*{re.escape(table)}\s*\]")
            headers = [n for n, line in lines if header.match(line)]
            start = next(iter(headers[number:]), None)
            lines = lines[start or 0 :]
            end = next((n for n, line in lines if line.startswith("[")), None)
            lines = lines[: None if end is None else end - lines[0][0]]
        at_key = re.compile(rf'\s*\[*\s*"?{re.escape(key)}\b')
        start = next((n for n, line in lines if key and at_key.match(line)), start)
        after = (n for n, line in lines if near and near in line and n >= (start or 0))
        line = next(after, start)
        self.errors.append(FormatError(problem, source=str(self.path), line=line))

    def check_keys(self) -> None:
        if self.task not in TASKS:
            hint = did_you_mean(str(self.task), TASKS) or f"write one of {', '.join(TASKS)}"
            problem = f"is {self.task!r}, but should be a task" if self.task else "is missing"
            self.error(f"task {problem}; {hint}", "task")
            return
        of_task = TASK_KEYS[self.task]
        tables = [name for name in TABLES if name not in TASK_TABLES.values()]
        if self.task in TASK_TABLES:
            tables.append(own := TASK_TABLES[self.task])
            if not self.table.get(own):
                self.error(f"there is no table [[{own}]]; write one for each")
        flat = {key: value for key, value in self.table.items() if key not in tables}
        self.check_table(flat, KEYS | of_task, also=tables)
        for name in tables:
            rows = self.table.get(name, {} if name == "codes" else [])
            brackets = f"[{name}]" if name == "codes" else f"[[{name}]]"
            if name == "codes":
                rows = [rows]
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                self.error(f"{name} must be written as tables {brackets}", name)
                continue
            for number, row in enumerate(rows):
                self.check_table(row, TABLES[name], name, number)
            names = [row.get("name") for row in rows]
            for number, twice in enumerate(names):
                if twice in names[:number] and isinstance(twice, str):
                    problem = f"two tables {brackets} have the name {twice!r}"
                    self.error(problem, "name", name, number)

    def check_table(
        self,
        given: Mapping[str, Any],
        keys: Keys,
        table: str = "",
        number: int = 0,
        also: list[str] | None = None,
    ) -> None:
        """Note unknown and missing keys of a table, and values of wrong kinds."""
        kinds = {key.removesuffix("!"): kind for key, kind in keys.items()}
        where = f" of {'[codes]' if table == 'codes' else f'[[{table}]]'}" if table else ""
        for key, value in given.items():
            if key not in kinds:
                known = [*kinds, *(also or ())]
                hint = did_you_mean(key, known) or f"there are {', '.join(known)}"
                self.error(f"unknown key {key}{where}; {hint}", key, table, number)
            elif not kinds[key].accepts(value):
                shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}…"
                wanted = kinds[key].name
                self.error(f"{key}{where} is {shown}, but must be {wanted}", key, table, number)
        for key in keys:
            if key.endswith("!") and not given.get(key[:-1]):
                self.error(f"{key[:-1]}{where} is missing", "", table, number)

    def check_names(self) -> None:
        for key, names in (("words", self.words), ("colours", self.colours)):
            if len(set(names)) < len(names) or any(name.split() != [name] for name in names):
                self.error(f"{key} must be different, each without blanks", key)
        for colour in self.colours:
            if style_of(colour) is None:
                problem = f"there is no colour {colour!r}; take {', '.join(COLOURS)} or #RRGGBB"
                self.error(problem, "colours", near=colour)
        for row in self.table.get("practice", []):
            unknown = sorted(set(row.split()).difference(self.colours))
            if unknown or not row.split():
                named = f"has {' '.join(unknown)}, which" if unknown else "is empty, and"
                problem = f"the practice row {row!r} {named} is no colour of this file"
                self.error(problem, "practice", near=row)

    def grammar(self) -> Grammar | None:
        if self.task != FEW_SHOT:
            return None
        text = self.table["grammar"]
        lines = self.text.splitlines()
        start = next(n for n, line in enumerate(lines, 1) if re.match(r"\s*grammar\b", line))
        try:
            return Grammar.parse(text, source=str(self.path), first_line=start + 1)
        except FormatError as error:
            self.errors.append(error)
            return None

    def pairs(
        self, key: str, texts: list[str], table: str = "", number: int = 0
    ) -> tuple[Example, ...]:
        """Study examples such as `2 after 3 -> 3 2`."""
        pairs = []
        for text in texts:
            words, arrow, symbols = text.partition(f" {PAIR_SEP} ")
            if not arrow or not words.split() or not symbols.split() or EXAMPLE_SEP in text:
                problem = f"{text!r} is no study example; write words {PAIR_SEP} symbols"
                self.error(problem, key, table, number, near=text)
            else:
                pairs.append(Example(tuple(words.split()), tuple(symbols.split())))
        inputs = Counter(" ".join(pair.input) for pair in pairs)
        for twice in (each for each, n in inputs.items() if n > 1):
            self.error(f"the study example {twice!r} occurs twice", key, table, number, near=twice)
        return tuple(pairs)

    def check_study(self, study: tuple[Example, ...], grammar: Grammar) -> None:
        for pair in study:
            written, given = " ".join(pair.input), " ".join(pair.output)
            target = self.target(grammar, written, "study")
            if target and target != pair.output:
                self.error(
                    f"the grammar gives {' '.join(target)!r} for the study item {written!r}, not "
                    f"{given!r}; correct the rules or the item",
                    "study",
                    near=f"{written} {PAIR_SEP}",
                )

    def target(
        self, grammar: Grammar, query: str, key: str, table: str = "", number: int = 0
    ) -> tuple[str, ...]:
        """The grammar's output; empty, with an error noted, where it gives none."""
        try:
            return grammar.interpret(query.split(), strict=True)
        except GrammarError as error:
            self.error(f"{query!r}: {error}", key, table, number, near=query)
            return ()

    def stages(self, study: tuple[Example, ...], grammar: Grammar | None) -> tuple[Stage, ...]:
        """The stages of a few-shot design."""
        by_input = {" ".join(pair.input): pair for pair in study}
        tested: set[str] = set()
        stages = []
        for number, row in enumerate(self.table["stages"]):
            place = ("stages", number)
            shown = row.get("study", list(by_input))
            for item in (item for item in shown if item not in by_input):
                problem = f"{item!r} is no study item; add it to study, or remove it"
                self.error(problem, "study", *place, near=item)
            for item in row.get("catch", []):
                if item not in shown:
                    problem = f"the catch trial {item!r} is no study item of this stage"
                    self.error(f"{problem}; choose one of them", "catch", *place, near=item)
            for query in row["test"]:
                if query in tested or query in by_input:
                    other = "a study item (a catch trial?)" if query in by_input else "a query"
                    problem = f"the query {query!r} is {other} already"
                    self.error(problem, "test", *place, near=query)
            tested.update(row["test"])
            targets = {
                query: self.target(grammar, query, "test", *place) if grammar else ()
                for query in row["test"]
            }
            stages.append(
                Stage(
                    row["name"],
                    tuple(by_input[item] for item in shown if item in by_input),
                    tuple(Example(tuple(q.split()), targets[q], item=q) for q in targets),
                    tuple(
                        by_input[q]._replace(item=q) for q in row.get("catch", []) if q in by_input
                    ),
                    row.get("shuffled", False),
                )
            )
        return tuple(stages)

    def trials(self) -> tuple[Stage, ...]:
        """The trials of a probe design."""
        stages = []
        for number, row in enumerate(self.table.get("trials", [])):
            place = ("trials", number)
            study = self.pairs("study", row["study"], *place)
            pool = tuple(row["pool"])
            if len(set(pool)) < len(pool) or any(symbol.split() != [symbol] for symbol in pool):
                self.error("symbols of a pool must be different, without blanks", "pool", *place)
            for symbol in dict.fromkeys(s for pair in study for s in pair.output):
                if symbol not in pool:
                    problem = f"the pool lacks {symbol!r} of the study examples"
                    self.error(problem, "pool", *place)
            if "/" in row["name"] or row["name"][:1] == ".":
                problem = f"the name {row['name']!r} cannot be that of a file"
                self.error(problem, "name", *place)
            query = Example(tuple(row["query"].split()), (), item=row["name"])
            stages.append(Stage(row["name"], study, (query,), pool=pool))
        return tuple(stages)

    def check_sizes(self, design: Design) -> None:
        """Note more words or symbols than participants can see."""
        parts = [("the design", design.stages)]
        if self.task == PROBES:
            parts = [(f"the trial {stage.name!r}", (stage,)) for stage in design.stages]
        for part, stages in parts:
            examples = [e for s in stages for e in (*s.study, *s.test)]
            examples += design.study if self.task == FEW_SHOT else ()
            inputs = [*(example.input for example in examples), *design.queries]
            outputs = [*(e.output for e in examples), *(stage.pool or () for stage in stages)]
            for several, key, known in (
                (inputs, "words", self.words),
                (outputs, "colours", self.colours),
            ):
                used = {token for tokens in several for token in tokens}
                if len(used) > len(known):
                    self.error(f"{part} needs {len(used)} {key}, but there are {len(known)}", key)
        queries = Counter(map(" ".join, design.queries))
        for query, n in queries.items():
            if n > 1 or not query:
                problem = f"the query {query!r} occurs twice" if query else "a query is empty"
                self.error(problem, "queries", near=query)

    def check_questions(self) -> None:
        for table in ("quiz", "questions"):
            for number, row in enumerate(self.table.get(table, [])):
                place = (table, number)
                choices, kind = row.get("choices", []), row.get("kind", "choice")
                if kind not in QUESTION_KINDS:
                    known = ", ".join(QUESTION_KINDS)
                    self.error(f"kind is {kind!r}, but must be one of {known}", "kind", *place)
                elif (kind == "choice") != bool(choices):
                    problem = "needs choices" if kind == "choice" else f"of kind {kind} has choices"
                    self.error(f"the question {row['name']!r} {problem}", "choices", *place)
                if len(set(choices)) < len(choices):
                    self.error("a choice occurs twice", "choices", *place)
                for key in ("answer", "exclude"):
                    if key in row and row[key] not in choices:
                        listed = ", ".join(choices) or "none"
                        problem = f"{key} is {row[key]!r}, which is none of the choices ({listed})"
                        self.error(problem, key, *place)

    def check_conditions(self, design: Design) -> None:
        """Note unknown names, and quotas that cannot be met."""
        if SIMULATED in design.parameters:
            problem = f"the parameter {SIMULATED!r} marks simulated participants; name another"
            self.error(problem, "parameters")
        known = [stage.name for stage in design.stages] + list(map(" ".join, design.queries))
        for number, condition in enumerate(design.conditions):
            for name in condition.include:
                if name not in known:
                    hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
                    problem = f"there is no stage, trial or query {name!r}; {hint}"
                    self.error(problem, "include", "conditions", number, near=name)
        quotas = [condition.quota for condition in design.conditions]
        total = sum(quota or 0 for quota in quotas)
        if not design.conditions or design.participants is None:
            return
        if total > design.participants or (total < design.participants and None not in quotas):
            self.error(
                f"the quotas of the conditions add up to {total}, but participants is "
                f"{design.participants}, so that they cannot be met; make them equal",
                "participants",
            )


def _question(row: Mapping[str, Any]) -> Question:
    kind, required = row.get("kind", "choice"), row.get("required", True)
    return Question(row["name"], row["text"], kind, tuple(row.get("choices", ())), required)
