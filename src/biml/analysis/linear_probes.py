"""Linear probes: how well a word's meaning is decodable from a layer.

A probe is a linear classifier of a network's activations (Alain & Bengio 2017). That it finds
something shows that it is there, not that the network uses it, which takes `Model.hooks`.
"""

from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
from jaxtyping import Float

from biml.arguments import python_api
from biml.episodes.episode import Episode, Example
from biml.episodes.sampling import sample_episode
from biml.errors import UsageError, check_extra
from biml.evaluation.api import Model
from biml.evaluation.intervals import wilson_interval
from biml.evaluation.trace import Trace
from biml.grammar import COLOURS, MetaGrammar
from biml.networks.hooks import unknown_activation
from biml.rng import generator


@python_api
def probe_meanings(
    model: Model,
    names: str = "*.output",
    *,
    n_training: int = 300,
    n_held_out: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Percent of words whose colour a linear probe of each activation finds in held-out episodes.

    Each episode has another grammar of the meta-grammar and gives one word, whose meaning is a
    colour; it is the query. Probed are the mean activations of the word's tokens and, in the
    decoder, of the token that predicts the first symbol.

    Args:
        names: of activations; `*` stands for anything.
        n_training: episodes that the probes are fitted to.
    Returns:
        A row for each activation, in the order of the data flow: `activation`, `accuracy` in
        percent with its 95% interval from `low` to `high`, and `chance`, the accuracy of always
        choosing the colour that is most frequent in training.
    Raises:
        BimlError: scikit-learn is not installed.
        UsageError: the model is no network that knows the colours, or has no such activation.
    """
    check_extra("probes", "linear probes need", "sklearn")
    for name, number in (("n_training", n_training), ("n_held_out", n_held_out)):
        if not MIN_EPISODES <= number <= MAX_EPISODES:
            limits = f"from {MIN_EPISODES} to {MAX_EPISODES:,}"
            raise UsageError(f"{name} is {number}, but must be {limits}")
    known = model.trace_names
    chosen = [n for n in known if fnmatchcase(n, names) and n.split(".")[-1] in TOKEN_ACTIVATIONS]
    if not chosen:
        raise unknown_activation(names, known)
    if not set(COLOURS) <= set(model.symbols):
        raise UsageError(f"{model.name} does not know the colours of the meta-grammar")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    meanings: list[str] = []
    features: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
    for number in range(n_training + n_held_out):
        episode = _one_word_episode(seed, number)
        (query,) = episode.queries
        trace = model.trace(episode)
        meanings.append(query.output[0])
        for name, of_name in features.items():
            of_name.append(_of_word(trace, name, query.input[0]))
    fitted, held_out = meanings[:n_training], np.array(meanings[n_training:])
    chance = 100 * np.mean(held_out == max(COLOURS, key=fitted.count))
    rows = []
    for name, of_name in features.items():
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        probe.fit(of_name[:n_training], fitted)
        share = np.mean(probe.predict(of_name[n_training:]) == held_out)
        low, high = wilson_interval(share, n_held_out)
        row = {"activation": name, "accuracy": 100 * share, "low": low, "high": high}
        rows.append(row | {"chance": chance})
    return pd.DataFrame(rows)


MIN_EPISODES, MAX_EPISODES = 10, 100_000
"""Of a probe, in training and held out."""

TOKEN_ACTIVATIONS = ("embedding", "mlp", "output")
"""The activations that are a vector for each token."""


def _one_word_episode(seed: int, number: int) -> Episode:
    """An episode whose query is a word that means a colour and occurs in the study examples."""
    rng = generator(seed, "linear probes", number)
    episode = sample_episode(MetaGrammar(), rng)
    assert episode.grammar is not None
    seen = {word for example in episode.study for word in example.input}
    pairs = [(rule.lhs[0], rule.rhs) for rule in episode.grammar.primitives if rule.lhs[0] in seen]
    word, meaning = rng.choice(pairs)
    return Episode(episode.study, (Example((word,), meaning),))


def _of_word(trace: Trace, name: str, word: str) -> Float[np.ndarray, " emb"]:
    if name.startswith("decoder."):
        return trace[name][0]
    return trace[name][[label == word for label in trace.tokens(name)]].mean(0)
