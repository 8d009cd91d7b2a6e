"""What a network says of a target, and what that costs when another outcome comes."""

from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats

from forecaster.errors import UsageError
from forecaster.models.heads import (
    FORMS,
    LEVELS,
    Head,
    PointForm,
    QuantileForm,
    StudentTForm,
    form_of,
)
from forecaster.settings import HeadName

MIXED = ("student-t", "point", "quantiles")


def test_huber_is_the_square_near_zero_and_a_line_beyond():
    """Errors 0.5 and -3: 0.25, and 2 x 3 - 1 = 5 where the square gives 9."""
    raw, outcome = torch.tensor([[1.5], [0.0]]), torch.tensor([1.0, 3.0])
    assert form_of("point", "huber").loss(raw, outcome).tolist() == [0.25, 5.0]
    assert form_of("point").loss(raw, outcome).tolist() == [0.25, 9.0]


def test_student_t_loss_is_scipys_log_density():
    """Over locations, scales and tails, in double to 1e-10 and in float32 to 1e-4."""
    raw = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    outcome = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    loc, scale, df = StudentTForm().parameters(raw).unbind(-1)
    expected = -stats.t.logpdf(outcome.numpy(), df.numpy(), loc.numpy(), scale.numpy())
    np.testing.assert_allclose(StudentTForm().loss(raw, outcome).numpy(), expected, atol=1e-10)
    single = StudentTForm().loss(raw.float(), outcome.float()).numpy()
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [-1e4, -50.0, 0.0, 50.0, 1e4])
@pytest.mark.parametrize("column", [1, 2])
def test_student_t_stays_finite_whatever_the_network_puts_out(column, value):
    """Raw outputs far outside: loss and gradient finite in float32, the variance there."""
    raw = torch.zeros(1, 3)
    raw[0, column] = value
    raw.requires_grad_()
    loss = StudentTForm().loss(raw, torch.tensor([40.0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(raw.grad).all()
    assert (StudentTForm().parameters(raw)[..., 2] > 2).all()


def test_quantiles_never_cross_and_the_first_output_moves_them_all():
    raw = torch.randn(100, len(LEVELS), generator=torch.Generator().manual_seed(2)) * 3
    found = QuantileForm().parameters(raw)
    assert (found.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(found[:, LEVELS.index(0.5)], raw[:, 0])
    moved = raw.clone()
    moved[:, 0] += 2.0
    torch.testing.assert_close(QuantileForm().parameters(moved), found + 2.0)


def test_pinball_by_hand():
    """All quantiles at 0, outcome 1 or -1: twice the mean level, which is 1 by symmetry."""
    raw = torch.cat([torch.zeros(1), torch.full((len(LEVELS) - 1,), -50.0)])
    loss = QuantileForm().loss(raw.expand(2, -1), torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(loss, torch.tensor([1.0, 1.0]))


def test_the_true_quantiles_have_the_lowest_pinball_loss():
    generator = torch.Generator().manual_seed(3)
    outcome = torch.randn(20_000, dtype=torch.float64, generator=generator)
    raw = torch.zeros(len(LEVELS), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = QuantileForm().loss(raw.expand(len(outcome), -1), outcome).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = QuantileForm().parameters(raw.detach())
    np.testing.assert_allclose(found.numpy(), np.quantile(outcome.numpy(), LEVELS), atol=0.01)


def test_a_mixed_head_scores_each_target_in_its_own_form():
    head = Head(4, [form_of(name) for name in MIXED])
    assert head.raw_outputs == 3 + 1 + len(LEVELS)
    raw, outcome = head(torch.randn(5, 2, 4)), torch.randn(5, 2, 3)
    loss = head.loss(raw, outcome)
    assert loss.shape == outcome.shape
    torch.testing.assert_close(loss[..., 1], PointForm().loss(raw[..., 3:4], outcome[..., 1]))
    with pytest.raises(ValueError, match=r"give \(\.\.\., 17\) and \(\.\.\., 3\)"):
        head.loss(raw, outcome[..., :2])


def test_an_unknown_form_is_refused():
    with pytest.raises(UsageError, match="--head normal is not known; choose one of point, st"):
        form_of("normal")


def test_settings_list_the_forms_in_their_order():
    assert get_args(HeadName) == tuple(FORMS)
