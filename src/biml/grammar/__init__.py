"""Interpretation grammars and the meta-grammar that draws them."""

from biml.grammar.equivalence import equivalent, isomorphic
from biml.grammar.gold import GOLD
from biml.grammar.grammar import Grammar, GrammarError, Rule
from biml.grammar.meta_grammar import MetaGrammar

__all__ = [
    "GOLD",
    "Grammar",
    "GrammarError",
    "MetaGrammar",
    "Rule",
    "equivalent",
    "isomorphic",
]
