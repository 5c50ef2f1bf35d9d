"""What a measurement of one model is given, and what it gives."""

from dataclasses import dataclass

import pandas as pd

from biml.episodes.locate import DataFolders
from biml.reproduce.scale import Workload
from biml.reproduce.subjects import EvaluatedModel

Tables = dict[str, pd.DataFrame]
"""Tables by name."""


@dataclass(frozen=True)
class MeasurementContext:
    """What a measurement is given.

    Attributes:
        subject: the model.
        data: where human data are found.
        scale: how much is drawn and averaged over.
        lapse: the rate that samples lapse at.
    """

    model: EvaluatedModel
    data: DataFolders
    workload: Workload
    p_lapse: float = 0.0
