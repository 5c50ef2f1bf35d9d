"""Answering by parts: a response may quote phrases of its query, which are answered in turn.

In training, the target of a query is written with as few parts as possible: symbols, and phrases of
the query whose outputs are known, as other training pairs have them as inputs. So `jump left
thrice` becomes `[ jump left ] [ jump left ] [ jump left ]`. No grammar is needed, only that the
output of a phrase is made of the outputs of its parts. A network that learned this can answer
queries whose outputs are longer than all in training, as each of its responses is short.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from biml.episodes.episode import Episode, Example

OPEN, CLOSE = "[", "]"

Symbols = tuple[str, ...]

Part = str | Symbols
"""A symbol, or the words of a phrase."""


def decompose(
    words: Sequence[str], output: Symbols, outputs: Mapping[Symbols, Symbols]
) -> tuple[Part, ...] | None:
    """The fewest parts that make up an output, given the `outputs` of other inputs.

    Of several decompositions, the one with the fewest quoted words counts, then the one with the
    fewest symbols; None if two of those remain.

    >>> outputs = {("jump", "left"): ("LEFT", "JUMP"), ("jump",): ("JUMP",)}
    >>> decompose(("jump", "left", "twice"), ("LEFT", "JUMP") * 2, outputs)
    (('jump', 'left'), ('jump', 'left'))
    """
    n = len(words)
    phrases = dict.fromkeys(
        tuple(words[i:j]) for i in range(n) for j in range(i + 1, n + 1) if j - i < n
    )
    known = [(phrase, outputs[phrase]) for phrase in phrases if outputs.get(phrase)]
    start: tuple[tuple[int, int, int], int, tuple[Part, ...]] = ((0, 0, 0), 1, ())
    best = {0: start}  # by symbols covered: cost, number of decompositions, one of them
    for at in range(len(output)):
        if at not in best:
            continue
        (n_parts, n_words, n_symbols), count, parts = best[at]
        options: list[tuple[Part, Symbols, int]] = [(output[at], output[at : at + 1], 0)]
        options += [(p, o, len(p)) for p, o in known if output[at : at + len(o)] == o]
        for part, covered, quoted in options:
            end = at + len(covered)
            cost = (n_parts + 1, n_words + quoted, n_symbols + (not quoted))
            if end not in best or cost < best[end][0]:
                best[end] = (cost, count, (*parts, part))
            elif cost == best[end][0]:
                best[end] = (cost, count + best[end][1], best[end][2])
    _, count, parts = best[len(output)]
    return parts if count == 1 else None


def to_symbols(parts: Sequence[Part]) -> Symbols:
    """Write parts as a response.

    >>> to_symbols((("jump", "left"), "JUMP"))
    ('[', 'jump', 'left', ']', 'JUMP')
    """
    symbols: list[str] = []
    for part in parts:
        symbols += (part,) if isinstance(part, str) else (OPEN, *part, CLOSE)
    return tuple(symbols)


def to_parts(response: Sequence[str], query: Sequence[str]) -> tuple[Part, ...] | None:
    """Read a response; None unless what it quotes are shorter phrases of the query."""
    parts: list[Part] = []
    phrase: list[str] | None = None
    for symbol in response:
        if symbol == OPEN and phrase is None:
            phrase = []
        elif symbol == CLOSE and phrase:
            parts.append(tuple(phrase))
            phrase = None
        elif phrase is not None and symbol not in (OPEN, CLOSE):
            phrase.append(symbol)
        elif symbol in (OPEN, CLOSE):
            return None
        else:
            parts.append(symbol)
    text = f" {' '.join(query)} "
    phrases = [part for part in parts if not isinstance(part, str)]
    if any(len(p) >= len(query) or f" {' '.join(p)} " not in text for p in phrases):
        return None
    return None if phrase is not None else tuple(parts)


Respond = Callable[[Sequence[Episode]], list[list[Symbols]]]


def respond_by_parts(
    respond: Respond, episodes: Sequence[Episode], max_length: int
) -> list[list[Symbols]]:
    """Respond to queries and to all phrases that responses quote, and put these together.

    A response that quotes something else ends there; one is cut at `max_length` symbols.
    """
    answers: list[dict[Symbols, tuple[Part, ...]]] = [{} for _ in episodes]
    pending = [list(dict.fromkeys(query.input for query in e.queries)) for e in episodes]
    while numbers := [number for number, inputs in enumerate(pending) if inputs]:
        batch = [
            replace(episodes[n], queries=tuple(Example(words, ()) for words in pending[n]))
            for n in numbers
        ]
        quoted: dict[int, dict[Symbols, None]] = defaultdict(dict)
        for n, responses in zip(numbers, respond(batch), strict=True):
            for words, response in zip(pending[n], responses, strict=True):
                answers[n][words] = to_parts(response, words) or ()
        for n in numbers:
            for words in pending[n]:
                new = [
                    p for p in answers[n][words] if not isinstance(p, str) and p not in answers[n]
                ]
                quoted[n].update(dict.fromkeys(new))
        pending = [list(quoted[n]) for n in range(len(episodes))]

    def assemble(answered: Mapping[Symbols, tuple[Part, ...]], words: Symbols) -> Symbols:
        whole: Symbols = ()
        for part in answered[words]:
            whole += (part,) if isinstance(part, str) else assemble(answered, part)
        return whole

    return [
        [assemble(answered, query.input)[:max_length] for query in episode.queries]
        for episode, answered in zip(episodes, answers, strict=True)
    ]
