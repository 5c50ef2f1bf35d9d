"""New COGS sentences from training sentences, with noun phrases and clauses exchanged.

A noun phrase (`the cat on a table`) of one sentence takes the place of one in another, and so does
a clause, as in `Emma said that` + `a cake grew`. What a phrase is, is read off the logical form:
nouns joined by modifiers, and complements of verbs. So phrases nest deeper than in any training
sentence, and a noun phrase appears in positions where none of its kind did. Names take the places
of noun phrases as well. No test item is used.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import NamedTuple

from biml.episodes.episode import Example

NESTED_ROLES = ("CCOMP", "XCOMP")
"""Roles of verbs whose second argument is another verb."""


class Fact(NamedTuple):
    """One part of a logical form, such as `LIKE &. AGENT ( X _ 2 , X _ 1 )`."""

    predicate: tuple[str, ...]
    word: int  # the position of the word that it is about
    argument: int | str | None = None  # the position of another word, or a name
    is_definite: bool = False

    def moved(self, by: dict[int, int]) -> "Fact":
        argument = by[self.argument] if isinstance(self.argument, int) else self.argument
        return self._replace(word=by[self.word], argument=argument)

    def renamed(self, word: int, name: str) -> "Fact":
        """The same about a name in the place of a word."""
        return self._replace(argument=name) if self.argument == word else self


def read_facts(form: Sequence[str]) -> tuple[Fact, ...]:
    """The facts of the logical form of a sentence (not of a single word)."""
    facts: list[Fact] = []
    definite, _, others = " ".join(form).rpartition(" ; ")
    for clause in definite.split(" ; ") if definite else ():
        _, noun, *_, index, _ = clause.split()
        facts.append(Fact((noun,), int(index), is_definite=True))
    for clause in others.removesuffix(";").split(" AND "):
        predicate, _, arguments = clause.partition(" ( X _ ")
        index, _, argument = arguments.removesuffix(" )").partition(" , ")
        if predicate.startswith("* "):  # nothing but a definite noun
            facts.append(Fact((predicate[2:],), int(index), is_definite=True))
            continue
        other = argument.removeprefix("X _ ")
        second = int(other) if other != argument else argument or None
        facts.append(Fact(tuple(predicate.split()), int(index), second))
    return tuple(facts)


def write_facts(facts: Sequence[Fact]) -> tuple[str, ...]:
    """The logical form: definite nouns first, each part in the order of the words.

    >>> form = "* CAKE ( X _ 4 ) ; EAT &. AGENT ( X _ 1 , EMMA ) AND EAT &. THEME ( X _ 1 , X _ 4 )"
    >>> " ".join(write_facts(read_facts(form.split()))) == form
    True
    """
    ordered = sorted(facts, key=lambda fact: fact.word)
    text = "".join(f"* {f.predicate[0]} ( X _ {f.word} ) ; " for f in ordered if f.is_definite)
    others = []
    for fact in ordered:
        if not fact.is_definite:
            second = fact.argument
            end = "" if second is None else f" , {second}"
            end = f" , X _ {second}" if isinstance(second, int) else end
            others.append(f"{' '.join(fact.predicate)} ( X _ {fact.word}{end} )")
    return tuple((text + " AND ".join(others)).split())


class Phrase(NamedTuple):
    """Words `start` to `end` (exclusive) of a sentence, and the word that others refer to."""

    start: int
    end: int
    head: int
    is_clause: bool


@dataclass(frozen=True)
class Sentence:
    """Words and facts of a training sentence."""

    words: tuple[str, ...]
    facts: tuple[Fact, ...]

    @cached_property
    def phrases(self) -> tuple[Phrase, ...]:
        """Its noun phrases with a determiner, its embedded clauses, and the whole."""
        modifiers = {f.word: f.argument for f in self.facts if "NMOD" in f.predicate}
        nouns = [f.word for f in self.facts if len(f.predicate) == 1]
        phrases = []
        for noun in nouns:
            last = noun
            while isinstance(next_noun := modifiers.get(last), int):
                last = next_noun
            phrases.append(Phrase(noun - 1, last + 1, noun, False))
        nested = {f.argument for f in self.facts if f.predicate[-1] in NESTED_ROLES}
        verbs = {f.word for f in self.facts if len(f.predicate) > 1 and "NMOD" not in f.predicate}
        end = len(self.words) - 1  # the full stop
        phrases += [Phrase(0, end, verb, True) for verb in verbs - nested]
        clauses = [at + 1 for at, word in enumerate(self.words) if word == "that"]
        heads = sorted(f.argument for f in self.facts if f.predicate[-1] == "CCOMP")  # type: ignore[type-var]
        if len(clauses) == len(heads):
            phrases += [Phrase(s, end, h, True) for s, h in zip(clauses, heads, strict=True)]  # type: ignore[arg-type]
        return tuple(phrases)

    def substitute(self, place: Phrase, other: "Sentence", phrase: Phrase) -> "Sentence":
        """Put a phrase of another sentence in the place of one of this sentence."""
        words = list(other.words[phrase.start : phrase.end])
        if phrase.start == 0 and words[0] in ("The", "A"):
            words[0] = words[0].lower()
        if place.start == 0 and words[0] in ("the", "a"):
            words[0] = words[0].capitalize()
        growth = len(words) - (place.end - place.start)
        outside = {i: i for i in range(place.start)}
        outside |= {i: i + growth for i in range(place.end, len(self.words))}
        inside = {i: i - phrase.start + place.start for i in range(phrase.start, phrase.end)}
        to = outside | {place.head: inside[phrase.head]}
        kept = [f.moved(to) for f in self.facts if f.word in outside]
        new = [f.moved(inside) for f in other.facts if f.word in inside]
        whole = (*self.words[: place.start], *words, *self.words[place.end :])
        return Sentence(whole, (*kept, *new))

    def with_name(self, place: Phrase, word: str, symbol: str) -> "Sentence":
        """Put a name in the place of a noun phrase."""
        name = Sentence((word,), (Fact((symbol,), 0),))
        named = self.substitute(place, name, Phrase(0, 1, 0, False))
        facts = [f.renamed(place.start, symbol) for f in named.facts if f.word != place.start]
        return Sentence(named.words, tuple(facts))


Source = tuple[Sentence, Phrase]


class PhraseSubstitution:
    """Replaces training queries by sentences whose phrases come from several training sentences.

    With probability `p`. Their lengths are spread evenly up to `max_words`: a sentence grows to a
    length that is drawn at random. Phrases are put in the deepest place more often than in
    another one, and mostly contain a phrase of their kind, so that they nest. Two in five
    sentences grow by clauses only. With probability `p_names`, each noun phrase without a modifier
    that a verb refers to becomes a name half of the time.

    Args:
        names: the symbols of names.
    """

    def __init__(
        self,
        pairs: Iterable[Example],
        max_words: int,
        names: Mapping[str, str],
        p: float = 0.5,
        p_names: float = 0.25,
    ) -> None:
        self.max_words, self.p, self.p_names = max_words, p, p_names
        self._names = list(names.items())
        self._sources: dict[tuple[bool, bool], list[Source]] = defaultdict(list)
        for pair in pairs:
            if len(pair.input) > 1:
                sentence = Sentence(pair.input, read_facts(pair.output))
                for phrase in sentence.phrases:
                    words = pair.input[phrase.start : phrase.end]
                    nests = "that" in words if phrase.is_clause else len(words) > 2
                    self._sources[phrase.is_clause, nests].append((sentence, phrase))

    def __call__(self, query: Example, rng: Random) -> Example:
        if len(query.input) == 1:
            return query
        grows, is_named = rng.random() < self.p, rng.random() < self.p_names
        if not grows and not is_named:
            return query
        sentence = Sentence(query.input, read_facts(query.output))
        if grows:
            sentence = self._grow(sentence, rng)
        if is_named:
            sentence = self._name(sentence, rng)
        return query._replace(input=sentence.words, output=write_facts(sentence.facts))

    def _name(self, sentence: Sentence, rng: Random) -> Sentence:
        """Put names in the places of noun phrases, from the last to the first."""
        modifying = {f.argument for f in sentence.facts if "NMOD" in f.predicate}
        for place in sorted(sentence.phrases, reverse=True):
            is_plain = not place.is_clause and place.end - place.start == 2
            if is_plain and place.head not in modifying and rng.random() < 0.5:
                sentence = sentence.with_name(place, *rng.choice(self._names))
        return sentence

    def _grow(self, sentence: Sentence, rng: Random) -> Sentence:
        clauses_only = rng.random() < 0.4
        if clauses_only:
            sentence, _ = rng.choice(self._sources[True, True])
        n_words = rng.randint(1, self.max_words)
        for _ in range(self.max_words):
            places = [p for p in sentence.phrases if p.start > 0 or not p.is_clause]
            places = [p for p in places if p.is_clause or not clauses_only]
            if not places:
                break
            # The last place is nested deepest.
            place = places[-1] if rng.random() < 0.5 else rng.choice(places)
            source = rng.choice(self._sources[place.is_clause, rng.random() < 0.9])
            longer = sentence.substitute(place, *source)
            if len(longer.words) <= self.max_words:
                sentence = longer
            if len(sentence.words) >= n_words:
                break
        return sentence
