"""A Bayes-optimal learner over the meta-grammar: the best accuracy on validation episodes.

For each validation episode an exact search finds all grammars consistent with the study examples.
Each has the prior probability of its rules under the meta-grammar, and the response to a novel
query is the output with the highest posterior probability. The likelihood of the study inputs under
a grammar is ignored, and a query with a word that occurs in no study example counts as wrong.

    python benchmarks/bayes_optimal.py [--episodes 200] [--model NAME.pt]

`--model` compares the responses of a model with those of the learner. Takes a minute or two.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from rich.progress import track

import biml
from biml.episodes.datasets import validation_episodes
from biml.episodes.episode import Episode, Example
from biml.evaluation.consistent_grammars import META, Symbols, consistent_grammars, value
from biml.paths import DataFolders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--episodes", type=int, default=200, help="number of validation episodes (%(default)s)"
    )
    parser.add_argument("--model", help="compare with the greedy responses of this model")
    args = parser.parse_args()
    episodes = validation_episodes(DataFolders())[: args.episodes]
    ideal = [best for episode in track(episodes, "searching") for best in respond(episode)]
    queries = [query for episode in episodes for query in novel(episode)]
    correct = [best.symbols == q.output for best, q in zip(ideal, queries, strict=True)]
    posterior = sum(best.probability for best in ideal)
    print(f"{len(queries)} novel queries of {len(episodes)} episodes")
    print(f"accuracy of the Bayes-optimal learner: {100 * sum(correct) / len(correct):.2f}%")
    print(f"mean posterior of its responses:       {100 * posterior / len(ideal):.2f}%")
    if args.model:
        responder = biml.load(args.model).responder
        novel_only = [Episode(e.study, tuple(novel(e)), grammar=e.grammar) for e in episodes]
        responses = [tuple(r) for of_episode in responder.respond(novel_only) for r in of_episode]
        both = [(r == q.output, c) for r, q, c in zip(responses, queries, correct, strict=True)]
        print(f"accuracy of {args.model}: {100 * sum(model for model, _ in both) / len(both):.2f}%")
        for model, learner, label in (
            (False, True, "correct: the learner only"),
            (True, False, "correct: the model only"),
            (False, False, "correct: neither"),
        ):
            print(f"  {label}: {100 * both.count((model, learner)) / len(both):.2f}%")


@dataclass(frozen=True)
class BestResponse:
    """The output with the highest posterior probability; None if a word is unknown."""

    symbols: Symbols | None
    probability: float


def novel(episode: Episode) -> list[Example]:
    return [query for query in episode.queries if not query.in_study]


def respond(episode: Episode) -> list[BestResponse]:
    """The learner's responses to the novel queries of an episode."""
    queries = [query.input for query in novel(episode)]
    votes: list[defaultdict[Symbols, float]] = [defaultdict(float) for _ in queries]
    for grammar in consistent_grammars(episode.study, queries):
        for tree, vote in zip(grammar.trees, votes, strict=True):
            output = None if tree is None else value(tree, grammar.symbols, grammar.templates)
            if output and len(output) <= META.max_output:
                vote[output] += grammar.prior
    return [_best(vote) for vote in votes]


def _best(vote: Mapping[Symbols, float]) -> BestResponse:
    if not vote:
        return BestResponse(None, 0.0)
    best = max(vote, key=lambda output: vote[output])
    return BestResponse(best, vote[best] / sum(vote.values()))


if __name__ == "__main__":
    main()
