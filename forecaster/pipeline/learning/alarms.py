"""What the gradients of a training say against its settings, once it is done."""

import logging
from collections.abc import Sequence
from typing import Final

from forecaster.settings import TrainSettings
from forecaster.training.norms import LEAP, RECENT
from forecaster.training.trainer import Evaluated

log = logging.getLogger(__name__)

# Above this share of updates, clipping sets the pace of the training and not the learning rate.
CLIPPED_OFTEN: Final = 0.1


def warn_of_gradients(
    looks_by_member: Sequence[Sequence[Evaluated]], settings: TrainSettings
) -> None:
    """Warn of a training whose gradients were clipped often, or leapt far above those before."""
    for number, looks in enumerate(looks_by_member, start=1):
        last = looks[-1]
        who = f"member {number}: " if len(looks_by_member) > 1 else ""
        if last.clipped > CLIPPED_OFTEN * last.update:
            log.warning(
                "%s%d of %d gradients were longer than --clip-grad %g and were clipped: clipping "
                "and not --lr sets the pace. Raise --clip-grad, or lower --lr",
                *(who, last.clipped, last.update, settings.clip_grad),
            )
        if last.leaps:
            log.warning(
                "%s%d of %d gradients were more than %g times as long as the median of the %d "
                "before: errors grow on their way back. Lower --lr; `forecaster memory` tells "
                "where they grow",
                *(who, last.leaps, last.update, LEAP, RECENT),
            )
