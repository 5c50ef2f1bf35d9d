"""The symbolic models of the paper and one more, behind the protocol of everything that answers."""

from biml.symbolic.biased import BiasOracle
from biml.symbolic.open_ended import OpenEndedBiasModel
from biml.symbolic.oracle import Oracle
from biml.symbolic.slipping import SlipOracle
from biml.symbolic.table import SYMBOLIC, SymbolicModel, symbolic_model

__all__ = [
    "SYMBOLIC",
    "BiasOracle",
    "OpenEndedBiasModel",
    "Oracle",
    "SlipOracle",
    "SymbolicModel",
    "symbolic_model",
]
