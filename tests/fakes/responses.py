"""Hand-written responses for tests of the analysis."""

import pandas as pd

from biml.analysis.responses import response_table


def answers(*pairs: tuple[str, str], model: str = "people", **more: object) -> pd.DataFrame:
    """Responses written as (query, response)."""
    rows = [{"item": q, "query": q, "response": r, "model": model, **more} for q, r in pairs]
    return response_table(rows)
