"""Design files to edit: a built-in design, or one with the contents of study files."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from biml.episodes.episode import Episode
from biml.episodes.packed import read_episodes
from biml.episodes.text_format import read_episode
from biml.errors import FormatError, UsageError, unknown_name
from biml.experiment.design import BUILT_IN, DesignFile, built_in_path
from biml.experiment.design_types import FEW_SHOT, OPEN_ENDED, PROBES
from biml.grammar.meta_grammar import WORDS
from biml.human.experiment import with_target_grammars
from biml.io import check_writable, read_text, write_file

N_CATCH = 2
"""Catch trials of a starting file."""


def write_design(name: str, source: str = FEW_SHOT, *, overwrite: bool = False) -> Path:
    """Write `NAME.toml`, a design to be edited.

    Args:
        source: a built-in design, an episode file, or a folder of episode files with allowed
            outputs (probes).
    Raises:
        UsageError: the file exists and `overwrite` is not set, or there is no such source.
        FormatError: the source is no episode file, or makes no design.
    """
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; --overwrite replaces it")
    check_writable(path)
    text = read_text(built_in_path(source)) if source in BUILT_IN else _text_of_study(Path(source))
    text = _with_value(text, "name", json.dumps(path.stem, ensure_ascii=False))
    DesignFile(path, text).design()
    write_file(path, text)
    return path


def _text_of_study(source: Path) -> str:
    """The text of a built-in design with the contents of an episode file or folder."""
    if not source.exists():
        raise unknown_name("design", str(source), [*BUILT_IN, "an episode file"], "--from")
    episodes = list(read_episodes(source)) if source.is_dir() else [read_episode(source)]
    if all(episode.pool is not None for episode in episodes):
        return _probes(episodes)
    if len(episodes) > 1 or episodes[0].pool is not None:
        problem = "several files make a design of probes, and each needs 'allowed outputs:'"
        raise FormatError(f"{problem}; name one file", source=str(source))
    (episode,) = episodes
    return _few_shot(episode) if episode.study else _open_ended(episode)


def _few_shot(episode: Episode) -> str:
    (episode,) = with_target_grammars([episode])
    study = [example.text for example in episode.study]
    several = [" ".join(e.input) for e in episode.study if len(e.input) > 1]
    queries = dict.fromkeys(" ".join(query.input) for query in episode.queries)
    inputs = [example.input for example in (*episode.study, *episode.queries)]
    known = {" ".join(example.input) for example in episode.study}
    text = read_text(built_in_path(FEW_SHOT))
    text = _with_words(text, inputs)
    grammar = str(episode.grammar).replace("\\", "\\\\").replace('"', '\\"')
    text = _with_value(text, "grammar", f'"""\n{grammar}\n"""')
    text = _with_value(text, "study", _list(study))
    stage = f"""\
[[stages]]
name = "all"
test = {_list(query for query in queries if query not in known)}
catch = {_list(several[:N_CATCH])}

"""
    return _with_tables(text, "stages", stage)


def _open_ended(episode: Episode) -> str:
    queries = dict.fromkeys(" ".join(query.input) for query in episode.queries)
    text = _with_words(read_text(built_in_path(OPEN_ENDED)), [q.split() for q in queries])
    text = text.replace("are seven phrases", "are phrases")
    return _with_value(text, "queries", _list(queries))


def _probes(episodes: Sequence[Episode]) -> str:
    trials = []
    for episode in episodes:
        inputs = {query.input for query in episode.queries}
        if len(inputs) > 1:
            problem = "a probe has one query; write each into a file of its own"
            raise FormatError(problem, source=episode.name)
        trials.append(f"""\
[[trials]]
name = {_quoted(Path(episode.name).stem)}
study = {_list(example.text for example in episode.study)}
query = {_quoted(" ".join(inputs.pop()))}
pool = {_list(episode.pool or ())}

""")
    text = read_text(built_in_path(PROBES))
    text = text.replace("see twelve pages", "see several pages")
    return _with_tables(text, "trials", "".join(trials))


def _with_words(text: str, inputs: Iterable[Sequence[str]]) -> str:
    """Offer the words of the inputs if there are not enough of the published ones."""
    words = list(dict.fromkeys(word for words in inputs for word in words))
    return text if len(words) <= len(WORDS) else _with_value(text, "words", _list(words))


def _with_value(text: str, key: str, value: str) -> str:
    """Replace the value of a key at the start of a line: a text, or a list, of several lines."""
    pattern = rf'^{key} = (?:"""\n.*?^"""|\[\n.*?^\]|[^\n]*)$'
    return re.sub(pattern, lambda _: f"{key} = {value}", text, count=1, flags=re.M | re.S)


def _with_tables(text: str, name: str, tables: str) -> str:
    """Replace all tables `[[name]]`, which the questions follow."""
    pattern = rf"^\[\[{name}\]\]\n.*?(?=^# Questions)"
    return re.sub(pattern, lambda _: tables, text, count=1, flags=re.M | re.S)


def _list(texts: Iterable[str]) -> str:
    lines = "".join(f"    {_quoted(text)},\n" for text in texts)
    return f"[\n{lines}]" if lines else "[]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a text in TOML too
