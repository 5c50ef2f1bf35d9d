"""What the staged network keeps of study examples, query and answer between decoding steps."""

from dataclasses import dataclass

from torch import Tensor

from biml.networks.base import DecoderState
from biml.networks.layers import KeyValue, StudyMemory


@dataclass
class StagedState(DecoderState):
    """What answering goes on from, a row for each query.

    Attributes:
        shown: the study examples.
        known: keys and values of the query and the answer so far, for each decoder layer.
        seen: BoolTensor [rows, tokens of `known`], those that are not padding.
        words: LongTensor [rows], words of each query.
        recent: [rows, kernel // 2, width], the latest tokens as embedded; 0 before the first.
        step: symbols answered so far.
    """

    study: StudyMemory
    cache: list[KeyValue]
    mask: Tensor
    query_lengths: Tensor
    recent: Tensor
    step: int = 0
