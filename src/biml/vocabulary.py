"""Vocabularies: words and symbols with their token ids, and the reserved tokens beside them.

Reserved tokens are objects, equal to no word or symbol, so that a corpus may have a word "EOS" or
"IO". Token ids are in the order of the released checkpoints.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from biml.errors import UsageError

UNDEFINED = "undefined_action"
"""Stands for a symbol that is none of the episode's own."""

NO_SYMBOL = "no_symbol"
"""Stands for a word of a language model's answer that is no symbol of any episode, and for an
answer without words."""


class ReservedToken:
    """A token that stands for no word or symbol; pickled by reference to its global name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


SOS, EOS, PAD = ReservedToken("SOS"), ReservedToken("EOS"), ReservedToken("PAD")

IO = ReservedToken("IO")
"""Stands between the input and the output of a study example in the source sequence."""

Token = str | ReservedToken


@dataclass(frozen=True)
class TokenVocab:
    """Ordered tokens, followed by SOS, EOS and PAD.

    A token with spaces stands for a sequence of symbols, whose every occurrence it replaces.

    >>> colours = TokenVocab(("RED", "BLUE", "BLUE RED"))
    >>> colours.encode(["BLUE", "BLUE", "RED"]), colours.eos, len(colours)
    ([1, 2], 4, 6)
    >>> colours.decode([1, 2])
    ('BLUE', 'BLUE', 'RED')
    """

    tokens: tuple[Token, ...]
    index: dict[Token, int] = field(init=False, repr=False, compare=False)
    sequences: dict[str, list[tuple[str, ...]]] = field(init=False, repr=False, compare=False)
    """By their first symbol, the longest first."""

    def __post_init__(self) -> None:
        every = (*self.tokens, SOS, EOS, PAD)
        object.__setattr__(self, "index", {token: i for i, token in enumerate(every)})
        if len(self.index) != len(every):
            raise UsageError(f"a vocabulary names a symbol twice: {' '.join(self.names)}")
        sequences: dict[str, list[tuple[str, ...]]] = {}
        for name in sorted((t for t in self.symbols if " " in t), key=lambda t: -t.count(" ")):
            first, *rest = name.split(" ")
            sequences.setdefault(first, []).append((first, *rest))
        object.__setattr__(self, "sequences", sequences)

    def __len__(self) -> int:
        return len(self.tokens) + 3

    @property
    def symbols(self) -> tuple[str, ...]:
        """Words and symbols, without reserved tokens."""
        return tuple([token for token in self.tokens if isinstance(token, str)])

    @property
    def names(self) -> list[str]:
        """The tokens as checkpoints list them; see `Vocabulary.from_names`."""
        return [str(token) for token in self.tokens]

    @property
    def sos(self) -> int:
        return len(self.tokens)

    @property
    def eos(self) -> int:
        return len(self.tokens) + 1

    @property
    def pad(self) -> int:
        return len(self.tokens) + 2

    def encode(self, tokens: Iterable[Token]) -> list[int]:
        """Return token ids; a UsageError names a token that is not in this vocabulary."""
        index = self.index
        try:
            return [index[token] for token in (self.merge(tokens) if self.sequences else tokens)]
        except KeyError as error:
            raise UsageError(
                f"the symbol '{error.args[0]}' is not in this model's vocabulary "
                f"({' '.join(self.symbols)})"
            ) from None

    def merge(self, tokens: Iterable[Token]) -> list[Token]:
        """Replace sequences of symbols by their tokens, the longest first."""
        given, merged, at = tuple(tokens), list[Token](), 0
        while at < len(given):
            token, end = given[at], at + 1
            for sequence in self.sequences.get(token, ()) if isinstance(token, str) else ():
                if given[at : at + len(sequence)] == sequence:
                    token, end = " ".join(sequence), at + len(sequence)
                    break
            merged.append(token)
            at = end
        return merged

    def decode(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the symbols up to the first EOS; a reserved token that no symbol is named like
        appears by its name, else in angle brackets."""
        every = (*self.tokens, SOS, EOS, PAD)
        out: list[str] = []
        for number in ids:
            if number == self.eos:
                break
            token = every[number]
            if not isinstance(token, str):
                token = f"<{token}>" if token.name in self.index else token.name
            out += token.split(" ")
        return tuple(out)


@dataclass(frozen=True)
class Vocabulary:
    """The input and the output tokens of a network; its input has the output symbols too."""

    input: TokenVocab
    output: TokenVocab

    @classmethod
    def from_words_and_symbols(cls, words: Sequence[str], outputs: Sequence[str]) -> "Vocabulary":
        """Order as published: words, outputs and IO sorted by name; outputs as given.

        >>> from biml.grammar import COLOURS, WORDS
        >>> v = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
        >>> len(v.input), len(v.output), v.input.tokens[:3]
        (19, 9, ('BLUE', 'GREEN', IO))
        """
        names = sorted({*words, *outputs})
        # Before a word of that name, so that `from_names` can tell them apart.
        position = bisect_left(names, IO.name)
        tokens: tuple[Token, ...] = (*names[:position], IO, *names[position:])
        return cls(TokenVocab(tokens), TokenVocab(tuple(outputs)))

    @classmethod
    def from_names(cls, input_names: Sequence[str], output_names: Sequence[str]) -> "Vocabulary":
        """Read the lists of a checkpoint, in which the first "IO" of the input is the token IO.

        >>> v = Vocabulary.from_words_and_symbols(["IO", "jump"], ["JUMP", "EOS"])
        >>> v.input.names, v == Vocabulary.from_names(v.input.names, v.output.names)
        (['EOS', 'IO', 'IO', 'JUMP', 'jump'], True)
        """
        tokens: list[Token] = list(input_names)
        if IO.name in tokens:
            tokens[tokens.index(IO.name)] = IO
        return cls(TokenVocab(tuple(tokens)), TokenVocab(tuple(output_names)))

    def with_sequences(self, sequences: Iterable[Sequence[str]]) -> "Vocabulary":
        """The same with tokens for sequences of output symbols."""
        symbols = (*self.output.symbols, *(" ".join(sequence) for sequence in sequences))
        words = set(self.input.symbols).difference(symbols)
        return Vocabulary.from_words_and_symbols(sorted(words), symbols)

    def missing(self, other: "Vocabulary") -> tuple[str, ...]:
        """Return the words and symbols of another vocabulary that this one lacks."""
        words = [word for word in other.input.symbols if word not in self.input.index]
        symbols = [symbol for symbol in other.output.symbols if symbol not in self.output.index]
        return tuple(dict.fromkeys((*words, *symbols)))

    def require(self, other: "Vocabulary", model: str) -> None:
        """Raise a UsageError unless `model`, of this vocabulary, can be queried in another one."""
        if missing := self.missing(other):
            listed = " ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            raise UsageError(
                f"{model}: its vocabulary lacks {listed}; choose a model trained with these words "
                "and symbols, or an episode type in this model's vocabulary"
            )
