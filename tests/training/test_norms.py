import json

import numpy as np
import pytest

from forecaster.training.trainer import FEWEST, RECENT, SPIKE, GradientNorms


def counted(norms, *, clip=1.0, every=7):
    """Note norms, counting now and then as a training does."""
    found = GradientNorms(clip)
    for number, norm in enumerate(norms, start=1):
        found.note(float(norm))
        if number % every == 0:
            found.count()
    found.count()
    return found


def by_hand(norms, clip):
    leaps = 0
    for at in range(FEWEST, len(norms)):
        leaps += norms[at] > SPIKE * np.median(norms[max(0, at - RECENT) : at])
    return int(np.sum(np.asarray(norms) > clip)), leaps


@pytest.mark.parametrize("every", [1, 7, 50, 1000])
def test_counts_do_not_depend_on_when_they_are_taken(every):
    """The definition, over norms with a heavy tail."""
    norms = np.exp(np.random.default_rng(0).standard_t(2, 400))
    found = counted(norms, clip=3.0, every=every)
    assert (found.clipped, found.spikes) == by_hand(norms, 3.0)
    assert found.clipped > 10 and found.spikes > 3


def test_a_steady_growth_is_no_leap_and_a_sudden_one_is():
    steady = 1.02 ** np.arange(300)
    assert counted(steady, clip=1e9).spikes == 0
    assert counted([*steady[:200], 11 * steady[150], steady[200]], clip=1e9).spikes == 1
    assert counted([*np.ones(FEWEST - 1), 1e6]).spikes == 0, "too few to have a median"


def test_what_went_through_json_counts_on_alike():
    norms = np.exp(np.random.default_rng(1).standard_t(2, 200))
    first, second = GradientNorms(2.0), GradientNorms(2.0)
    for number, norm in enumerate(norms):
        first.note(float(norm))
        if number % 30 == 0:
            first.count()
        if number == 130:
            second.restore(json.loads(json.dumps(first.facts())))
            assert second.last == first.last == norm
        if number > 130:
            second.note(float(norm))
    first.count()
    second.count()
    assert (second.clipped, second.spikes) == (first.clipped, first.spikes) == by_hand(norms, 2.0)


def test_before_the_first_norm_there_is_no_last():
    assert np.isnan(GradientNorms(1.0).last)
