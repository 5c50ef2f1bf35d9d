"""Symbols and their numbers, in the order of the released checkpoints."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from biml.errors import UsageError

UNDEFINED = "undefined_action"
"""Stands for a symbol that is none of the episode's own."""


# === Symbols and their numbers, in the order of the released checkpoints.


SOS, EOS, PAD = "SOS", "EOS", "PAD"

IO = "IO"
"""Stands between the input and the output of a study example in the source sequence."""


@dataclass(frozen=True)
class TokenVocab:
    """An ordered set of symbols, followed by SOS, EOS and PAD.

    >>> colours = TokenVocab(("RED", "BLUE"))
    >>> colours.encode(["BLUE", "RED"]), colours.eos, len(colours)
    ([1, 0], 3, 5)
    """

    symbols: tuple[str, ...]
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        every = (*self.symbols, SOS, EOS, PAD)
        if len(set(every)) != len(every):
            raise UsageError(f"a vocabulary names a symbol twice: {' '.join(self.symbols)}")
        object.__setattr__(self, "index", {symbol: i for i, symbol in enumerate(every)})

    def __len__(self) -> int:
        return len(self.symbols) + 3

    @property
    def sos(self) -> int:
        return len(self.symbols)

    @property
    def eos(self) -> int:
        return len(self.symbols) + 1

    @property
    def pad(self) -> int:
        return len(self.symbols) + 2

    def encode(self, symbols: Iterable[str]) -> list[int]:
        """Numbers of the symbols.

        Raises:
            UsageError: a symbol is not in this vocabulary.
        """
        index = self.index
        try:
            return [index[symbol] for symbol in symbols]
        except KeyError as error:
            raise UsageError(
                f"the symbol {error.args[0]!r} is not in this model's vocabulary "
                f"({' '.join(self.symbols)})"
            ) from None

    def decode(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Symbols up to the first EOS; SOS and PAD are shown by name where a model gave them."""
        every = (*self.symbols, SOS, EOS, PAD)
        out = []
        for number in ids:
            if number == self.eos:
                break
            out.append(every[number])
        return tuple(out)


@dataclass(frozen=True)
class Vocabulary:
    """The input and the output language of a network."""

    input: TokenVocab
    output: TokenVocab

    @classmethod
    def from_words_and_symbols(cls, words: Sequence[str], outputs: Sequence[str]) -> "Vocabulary":
        """The published order: the sorted set of words, outputs and IO; outputs as they are given.

        >>> from biml.grammar.meta_grammar import COLOURS, WORDS
        >>> v = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
        >>> len(v.input), len(v.output), v.input.symbols[:3]
        (19, 9, ('BLUE', 'GREEN', 'IO'))
        """
        return cls(TokenVocab(tuple(sorted({*words, *outputs, IO}))), TokenVocab(tuple(outputs)))
