"""T22: a training stopped between any two optimizer steps continues as if it had not been."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences, window_ends
from forecaster.errors import ArtifactError
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.epoch import Sampling
from forecaster.training.inference import forecast_histories
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options, train

OFFSETS = np.array([0, 48, 79, 86, 106])
ROWS = int(OFFSETS[-1])
OPTIONS = Options(
    plan=Plan.full(),
    sampling=Sampling(),
    max_steps=17,
    learning_rate=0.02,
    weight_decay=1e-3,
    clip_grad=0.05,
    evaluate_every=4,
    patience=100,
)
CASES = {
    "chunks": {"plan": Plan.truncated(k2=8)},
    "overlapping chunks": {"plan": Plan.truncated(k2=12, k1=4)},
    "every day": {"plan": Plan.truncated(k2=3, k1=1)},
    "once per epoch": {"plan": Plan.truncated(k2=8, step_per="epoch")},
    "full": {"plan": Plan.full(memory="recompute")},
    "windows": {
        "plan": Plan.truncated(k2=4),
        "sampling": Sampling(last_day_only=True),
        "workers": 2,
    },
    "each day of windows": {
        "plan": Plan.truncated(k2=4),
        "sampling": Sampling(burn_in=2),
    },
}


class StoppedError(Exception):
    """Raised where the training is to be cut off."""


def made(model, seed, **kwargs):
    torch.manual_seed(seed)
    return build_network(
        Architecture(
            model=model,
            inputs=2,
            forms=(PointForm(),),
            hidden=4,
            layers=2,
            dropout=0.2,
            learned_start=True,
            **kwargs,
        )
    )


def arrays():
    draw = np.random.default_rng(0)
    y = draw.normal(size=(ROWS, 1)).astype(np.float32)
    y[::5] = np.nan
    inputs = draw.normal(size=(ROWS, 2)).astype(np.float32)
    return TrainingArrays.on(torch.device("cpu"), inputs, y, np.isfinite(y))


def epochs_of(options):
    """Batches that depend on the number of the epoch alone, as the pipeline's do."""
    plan, sampling = options.plan, options.sampling

    def one_epoch(number):
        generator = np.random.default_rng((7, number))
        if sampling.last_day_only or sampling.burn_in is not None:
            ends = window_ends(OFFSETS, 6, np.ones(ROWS, dtype=np.bool_))
            return WindowBatches.drawn(ends, 6, 20, generator)
        chunk = plan.chunk_days(48)
        phase = chunk if chunk == 48 else int(generator.integers(1, chunk + 1))
        return pack_sequences(OFFSETS[:-1], OFFSETS[1:], 2, chunk, generator, phase)

    return one_epoch


def run(network, case, *, options=OPTIONS, stop=None, resume=None):
    """Train, stopped after `stop` steps; return the validations and the checkpoint's bytes."""
    options = replace(options, **CASES[case])
    data, kept, steps = arrays(), [], 0 if resume is None else resume.facts["step"]

    def boundary(checkpoint):
        nonlocal steps
        steps += 1
        if steps == stop:
            kept.append(checkpoint().to_bytes())
            raise StoppedError

    def validation_loss(network):
        forecast = forecast_histories(network, data.inputs, OFFSETS)
        return float(np.square(forecast[::5]).mean())

    validations = []
    callbacks = Callbacks(validate=validation_loss, on_boundary=boundary)
    try:
        validations = train(network, data, epochs_of(options), options, callbacks, resume)
    except StoppedError:
        pass
    return validations, kept


@pytest.mark.parametrize(
    ("case", "model"),
    [
        *((case, "lstm") for case in CASES if case != "windows"),
        pytest.param("windows", "lstm", marks=pytest.mark.slow),
        ("chunks", "elman"),
        ("overlapping chunks", "gru"),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(case, model):
    """Stopped in an epoch, at its end, at a validation; resumed with other initial weights."""
    whole = made(model, 0)
    validations, _ = run(whole, case)
    for stop in (1, 8, 13):
        _, (content,) = run(made(model, 0), case, stop=stop)
        resumed = made(model, 99)
        found, _ = run(resumed, case, resume=Checkpoint.from_bytes(content))
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (stop, name)
        assert [replace(validation, seconds=0.0) for validation in found] == [
            replace(validation, seconds=0.0) for validation in validations
        ]


def test_a_training_may_be_resumed_again_and_again():
    """One step at a time."""
    whole, last = made("lstm", 0), None
    run(whole, "overlapping chunks")
    for stop in range(1, OPTIONS.max_steps):
        resume = None if last is None else Checkpoint.from_bytes(last)
        _, (last,) = run(
            made("lstm", stop if last else 0), "overlapping chunks", stop=stop, resume=resume
        )
    resumed = made("lstm", 99)
    run(resumed, "overlapping chunks", resume=Checkpoint.from_bytes(last))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_is_of_its_moment():
    """Later steps do not change it."""
    network, kept = made("lstm", 0), []

    def boundary(checkpoint):
        if not kept:
            kept.append(checkpoint())
            kept.append(kept[0].to_bytes())

    options = replace(OPTIONS, **CASES["chunks"])
    callbacks = Callbacks(validate=lambda network: 1.0, on_boundary=boundary)
    train(network, arrays(), epochs_of(options), options, callbacks)
    assert kept[0].to_bytes() == kept[1]


def checkpoint():
    _, (content,) = run(made("lstm", 0), "chunks", stop=3)
    return content


def test_another_training_cannot_go_on_from_it():
    """Other options, another plan, another network: each is reported."""
    kept = Checkpoint.from_bytes(checkpoint())
    with pytest.raises(ArtifactError, match=r"learning_rate 0\.02, not 0\.5"):
        run(made("lstm", 0), "chunks", options=replace(OPTIONS, learning_rate=0.5), resume=kept)
    with pytest.raises(ArtifactError, match="k2 8, not 12"):
        run(made("lstm", 0), "overlapping chunks", resume=kept)
    for other in (
        made("gru", 0),
        build_network(
            Architecture(
                model="lstm",
                inputs=2,
                forms=(PointForm(),),
                hidden=5,
                layers=2,
                dropout=0.2,
                learned_start=True,
            )
        ),
    ):
        with pytest.raises(ArtifactError, match="other names or shapes"):
            run(other, "chunks", resume=kept)


def test_a_corrupt_checkpoint_is_refused():
    """One flipped bit anywhere, a cut file, an empty one, another schema."""
    content = checkpoint()
    for place in (0, 70, 200, len(content) // 2, len(content) - 1):
        broken = bytearray(content)
        broken[place] ^= 1
        with pytest.raises(ArtifactError, match="corrupt"):
            Checkpoint.from_bytes(bytes(broken))
    for broken in (content[:-1], content[:65], b""):
        with pytest.raises(ArtifactError, match="corrupt"):
            Checkpoint.from_bytes(broken)
    kept = Checkpoint.from_bytes(content)
    later = Checkpoint(kept.tensors, {**kept.facts, "schema": 99})
    with pytest.raises(ArtifactError, match="schema 99"):
        Checkpoint.from_bytes(later.to_bytes())


def test_facts_are_plain(capsys):
    """The facts are JSON: the step and the settings."""
    facts = Checkpoint.from_bytes(checkpoint()).facts
    assert facts["step"] == 3
    assert facts["training"] == asdict(replace(OPTIONS, **CASES["chunks"]))
    assert json.loads(json.dumps(facts)) == facts
