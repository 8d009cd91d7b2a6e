"""The adding problem at T = 100: an LSTM learns it, an Elman network does not.

Two numbers among 100 to 110 are marked; after the last one their sum is asked for, as 1/2 + sum/4.
A network has solved it when 2,000 sequences in a row are right to 0.04. Counted are the sequences
trained on until then; the paper's LSTM took 74,000.

Source: Hochreiter and Schmidhuber (1997), "Long Short-Term Memory", experiment 4.
"""

import math
import sys

import torch
from torch import Tensor, nn

from forecaster.bptt import Batch, Plan, gradients

T, ROWS, UNITS, RATE = 100, 16, 20, 8e-3
NEAR, IN_A_ROW, PAPER = 0.04, 2_000, 74_000
mse = nn.MSELoss(reduction="none")


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sequences (days, rows, 2) of a number and its mark, and their answers (rows, 1)."""
    days = T + int(torch.randint(T // 10 + 1, (1,), generator=generator))
    numbers = 2 * torch.rand(days, ROWS, generator=generator) - 1
    first = torch.randint(10, (ROWS,), generator=generator)
    second = torch.randint(T // 2 - 1, (ROWS,), generator=generator)
    second += second >= first  # another day than the first
    marks, rows = torch.zeros(days, ROWS), torch.arange(ROWS)
    marks[first, rows] = marks[second, rows] = 1.0
    marks[0] -= ((first > 0) & (second > 0)).float()
    marks[-1] = -1.0
    answers = 0.5 + (numbers * (marks > 0)).sum(0) / 4
    return torch.stack([numbers, marks], dim=2), answers[:, None]


def start(cell: nn.RNNBase) -> None:
    """Keep the memory and let little in: forget bias 5, input bias -2, small weights."""
    nn.init.uniform_(cell.weight_ih_l0, -0.1, 0.1)
    if isinstance(cell, nn.LSTM):
        nn.init.uniform_(cell.weight_hh_l0, -0.1, 0.1)
        with torch.no_grad():
            cell.bias_hh_l0[: 2 * UNITS] = 0.0
            cell.bias_ih_l0[:UNITS], cell.bias_ih_l0[UNITS : 2 * UNITS] = -2.0, 5.0
    else:
        nn.init.eye_(cell.weight_hh_l0)


def sequences_until_solved(kind: type[nn.RNNBase], seed: int) -> float:
    """Train on fresh sequences; return how many were read until it was solved."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    cell, head = kind(2, UNITS), nn.Linear(UNITS, 1)
    start(cell)
    optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=RATE)
    read = right = 0
    while read < PAPER:
        x, answers = draw(generator)
        with torch.no_grad():
            errors = (head(cell(x)[0][-1]) - answers).abs()
        for error in errors.flatten().tolist():
            read, right = read + 1, right + 1 if error < NEAR else 0
            if right == IN_A_ROW:
                return read
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        mask[-1] = True  # the last day alone is scored
        y = answers.expand(*x.shape[:2], 1)
        gradients(cell, Batch(x, y, mask), Plan.full(), loss=mse, head=head).apply()
        nn.utils.clip_grad_norm_([*cell.parameters(), *head.parameters()], 1.0)
        optimizer.step()
    return math.inf


def main() -> None:
    """Print the error of the mean, then how many seeds solve it."""
    torch.set_num_threads(1)
    answers = torch.cat([draw(torch.Generator().manual_seed(s))[1] for s in range(2_000)])
    print(f"squared error of the mean answer: 1/24 = {1 / 24:.4f}, drawn {answers.var():.3f}")
    for kind, seeds in ((nn.LSTM, 5), (nn.RNN, 1)):
        counts = [sequences_until_solved(kind, seed) for seed in range(seeds)]
        solved = sum(map(math.isfinite, counts))
        name = "LSTM" if kind is nn.LSTM else "Elman"
        print(f"{name}: {solved} of {seeds} seeds within {PAPER:,} sequences", flush=True)
        if "--counts" in sys.argv:
            print(*(f"{count:,.0f}" for count in sorted(counts)))


if __name__ == "__main__":
    main()
