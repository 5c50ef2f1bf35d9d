"""How much is drawn and averaged over: the paper's amounts, and a minute's version of them."""

from dataclasses import dataclass

from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE


@dataclass(frozen=True)
class Workload:
    """Amounts of work.

    Attributes:
        few_shot_passes: renamings that the likelihood of few-shot responses is averaged over.
        open_ended_passes: orders and renamings that that of open-ended responses is averaged over.
        few_shot_times: drawn answers for each of a person's to few-shot queries. The paper drew 10,
            which leave the accuracy of an item uncertain by three points.
        probe_times: the same for probes.
        sheets: drawn answer sheets of the open-ended task. The paper drew 100, whose percentages
            are known to five points only.
        episodes: at most so many episodes are answered greedily.
        seed: of all that is random.
    """

    few_shot_passes: int = 100
    open_ended_passes: int = 200
    few_shot_times: int = 30
    probe_times: int = SAMPLES_PER_RESPONSE
    response_sets: int = 1000
    episodes: int = 1000
    seed: int = 0


def workload(quick: bool, seed: int) -> Workload:
    """The whole, or the minute's version."""
    if quick:
        return Workload(
            5, 3, few_shot_times=1, probe_times=1, response_sets=30, episodes=26, seed=seed
        )
    return Workload(seed=seed)
