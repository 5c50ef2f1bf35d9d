"""Interpretation grammars and the meta-grammar that draws them."""

from biml.grammar.compare import equivalent, isomorphic
from biml.grammar.gold import GOLD
from biml.grammar.grammar import Grammar
from biml.grammar.meta import MetaGrammar
from biml.grammar.rules import GrammarError, Rule

__all__ = [
    "GOLD",
    "Grammar",
    "GrammarError",
    "MetaGrammar",
    "Rule",
    "equivalent",
    "isomorphic",
]
