"""The possible responses to an item, among which log-probabilities can be normalised."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import original_words, undo_remapping
from biml.evaluation.responder import Response
from biml.evaluation.symbolic import ResponseMixture
from biml.llm.questions import right_response


def possible_responses(
    pairs: Sequence[tuple[Episode, Example]], task: str
) -> list[tuple[Response, ...]]:
    """For each query its target, the right response, and all targets of the same item.

    All are in the query's remapping and from its pool. An item is a query in original words with
    its name and pool.
    """
    items = []
    by_item: dict[object, dict[Response, None]] = defaultdict(dict)
    for episode, query in pairs:
        pool = episode.pool and frozenset(undo_remapping(episode, episode.pool))
        items.append((query.item, original_words(episode, query.input), pool))
        by_item[items[-1]][undo_remapping(episode, query.output)] = None
    possible = []
    for item, (episode, query) in zip(items, pairs, strict=True):
        names = episode.remapping.symbols if episode.remapping else {}
        others = [tuple([names.get(s, s) for s in response]) for response in by_item[item]]
        if (right := right_response(task, episode, query)) is not None:
            others.append(right)
        from_pool = set(episode.pool or ())
        allowed = [one for one in others if not from_pool or from_pool.issuperset(one)]
        possible.append(tuple(dict.fromkeys([query.output, *allowed])))
    return possible


def normalised_log_probs(
    response: Response,
    possible: Sequence[Response],
    log_probs: Sequence[Sequence[float]],
    choices: Sequence[str],
) -> np.ndarray:
    """Log-probabilities of the symbols of a response, and its end, among the possible responses.

    Each is that of all possible responses that go on with the symbol, relative to all that begin
    with those before it, so that their product is the response's share.

    Args:
        log_probs: of the symbols of each possible response.
        choices: the symbols to choose from.

    >>> possible, scores = [("RED",), ("BLUE",)], [[-1.0, -1.0], [-1.0, -3.0]]
    >>> float(np.exp(normalised_log_probs(("RED",), possible, scores, ["RED", "BLUE"]).sum()))
    0.880797077977882...
    """
    totals = np.array([sum(one) for one in log_probs])
    weights = np.exp(totals - totals.max()).tolist()
    used = [symbol for one in possible for symbol in one]
    names = tuple(dict.fromkeys([*choices, *used]))
    mixture = ResponseMixture(dict(zip(possible, weights, strict=True)), names)
    ids = (*[names.index(symbol) for symbol in response], len(names))
    with np.errstate(divide="ignore"):
        return np.log([mixture(ids[:i])[number] for i, number in enumerate(ids)])
