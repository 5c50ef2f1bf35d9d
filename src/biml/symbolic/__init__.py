"""The symbolic models of the paper and one more, behind the protocol of everything that answers."""

from biml.symbolic.biased import BiasedOracle
from biml.symbolic.open_ended import OpenEndedBiases
from biml.symbolic.oracle import Oracle
from biml.symbolic.slipping import SlippingOracle
from biml.symbolic.table import SYMBOLIC, SymbolicModel, symbolic

__all__ = [
    "SYMBOLIC",
    "BiasedOracle",
    "OpenEndedBiases",
    "Oracle",
    "SlippingOracle",
    "SymbolicModel",
    "symbolic",
]
