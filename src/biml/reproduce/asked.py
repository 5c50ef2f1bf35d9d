"""What a measurement of one model is given, and what it gives."""

from dataclasses import dataclass

import pandas as pd

from biml.episodes.locate import DataFolders
from biml.reproduce.scale import Scale
from biml.reproduce.subjects import Subject

Frames = dict[str, pd.DataFrame]
"""Tables by name."""


@dataclass(frozen=True)
class Asked:
    """What a measurement is given.

    Attributes:
        subject: the model.
        data: where human data are found.
        scale: how much is drawn and averaged over.
        lapse: the rate that samples lapse at.
    """

    subject: Subject
    data: DataFolders
    scale: Scale
    lapse: float = 0.0
