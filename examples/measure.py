"""A measure of behaviour: how often a response has the correct length, right or wrong.

biml reproduce few-shot --plugin examples/measure.py --models oracle oracle-biases --quick
"""

import pandas as pd

import biml


@biml.register_measure("correct_length", task="few_shot", label="correct length, %")
def correct_length(responses: pd.DataFrame) -> float:
    """Percent of responses with as many symbols as the correct output.

    `responses` has the columns listed in `biml.analysis.responses`, among them `query` and
    `response`, in the canonical words and symbols of the gold grammar.
    """
    lengths = responses["response"].str.split().str.len()
    correct = responses["query"].map(lambda query: len(biml.GOLD.interpret(query.split())))
    return float(100 * (lengths == correct).mean())
