"""What the gradients of a training say of its settings, once it is done."""

import logging
from collections.abc import Sequence
from typing import Final

from forecaster.settings import TrainSettings
from forecaster.training.norms import LEAP
from forecaster.training.trainer import Evaluated

log = logging.getLogger(__name__)

# Above this share of updates, clipping sets the pace of the training and not the learning rate.
# Said, and no more: with a few series an update's gradient is mostly noise, and long.
CLIPPED_OFTEN: Final = 0.1
# With a few series a training in twenty has one.
LEAPS_BY_CHANCE: Final = 1


def tell_of_gradients(
    looks_by_member: Sequence[Sequence[Evaluated]], settings: TrainSettings
) -> None:
    """Say how many gradients were clipped; warn where several leapt far above those before."""
    for number, looks in enumerate(looks_by_member, start=1):
        last = looks[-1]
        who = f"member {number}: " if len(looks_by_member) > 1 else ""
        often = last.clipped > CLIPPED_OFTEN * last.update
        log.info(
            "norms   %s%s of %s gradients clipped at --clip-grad %g%s",
            *(who, f"{last.clipped:,}", f"{last.update:,}", settings.clip_grad),
            "; so often that it sets the pace, and not --lr" if often else "",
        )
        if last.leaps > LEAPS_BY_CHANCE:
            log.warning(
                "%s%d of %d gradients were more than %g times as long as those before: errors grow "
                "on their way back. Lower --lr; `forecaster memory` tells where they grow",
                *(who, last.leaps, last.update, LEAP),
            )
