"""Means with intervals over prompts, differences of runs and of arms with p-values: pure functions of scores by id."""

from cai_lightning.statistics.arms import Direction as Direction
from cai_lightning.statistics.arms import PairedDifference as PairedDifference
from cai_lightning.statistics.arms import Verdict as Verdict
from cai_lightning.statistics.arms import arm_difference as arm_difference
from cai_lightning.statistics.arms import arm_mean as arm_mean
from cai_lightning.statistics.arms import corrected as corrected
from cai_lightning.statistics.arms import mean_interval as mean_interval
from cai_lightning.statistics.intervals import Interval as Interval
from cai_lightning.statistics.significance import holm as holm
