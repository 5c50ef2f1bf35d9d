"""Interpretation grammars and the meta-grammar that generates them (paper, Methods)."""

from biml.grammar.equivalence import equivalent, isomorphic
from biml.grammar.grammar import Grammar, GrammarError, Rule
from biml.grammar.meta_grammar import COLOURS, GOLD, WORDS, MetaGrammar

__all__ = [
    "COLOURS",
    "GOLD",
    "WORDS",
    "Grammar",
    "GrammarError",
    "MetaGrammar",
    "Rule",
    "equivalent",
    "isomorphic",
]
