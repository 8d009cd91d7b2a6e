"""T22: a training stopped between any two updates goes on as if it had not been."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from forecaster.bptt.plan import BPTTPlan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences, window_ends
from forecaster.errors import ArtifactError
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.epoch import Reading, TrainingArrays
from forecaster.training.inference import forecast_histories
from forecaster.training.trainer import Options, train

OFFSETS = np.array([0, 48, 79, 86, 106])
ROWS = int(OFFSETS[-1])
OPTIONS = Options(
    max_steps=17,
    learning_rate=0.02,
    weight_decay=1e-3,
    clip_grad=0.05,
    evaluate_every=4,
    patience=100,
)
LANES = Reading(last_day_only=False)
CASES = {
    "chunks": (BPTTPlan.truncated(k2=8), LANES),
    "overlapping blocks": (BPTTPlan.truncated(k2=12, k1=4), LANES),
    "every day": (BPTTPlan.truncated(k2=3, k1=1), LANES),
    "once per pass": (BPTTPlan.truncated(k2=8, step_per="epoch"), LANES),
    "full": (BPTTPlan.full(memory="recompute"), LANES),
    "windows": (BPTTPlan.truncated(k2=4), Reading(last_day_only=True, workers=2)),
    "each day of windows": (BPTTPlan.truncated(k2=4), Reading(last_day_only=False, burn_in=2)),
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


def passes_of(plan, reading):
    """Segments that depend on the number of the pass alone, as the pipeline's do."""

    def one_pass(number):
        generator = np.random.default_rng((7, number))
        if reading.last_day_only or reading.burn_in is not None:
            ends = window_ends(OFFSETS, 6, np.ones(ROWS, dtype=np.bool_))
            return WindowBatches.drawn(ends, 6, 20, generator)
        chunk = plan.chunk_days(48)
        phase = chunk if chunk == 48 else int(generator.integers(1, chunk + 1))
        return pack_sequences(OFFSETS[:-1], OFFSETS[1:], 2, chunk, generator, phase)

    return one_pass


def run(network, case, *, options=OPTIONS, stop=None, resume=None):
    """Train, cut off after `stop` updates; return the looks and the checkpoint's bytes."""
    plan, reading = CASES[case]
    data, kept, updates = arrays(), [], 0 if resume is None else resume.facts["step"]

    def boundary(checkpoint):
        nonlocal updates
        updates += 1
        if updates == stop:
            kept.append(checkpoint().to_bytes())
            raise StoppedError

    def validation_loss(network):
        forecast = forecast_histories(network, data.inputs, OFFSETS)
        return float(np.square(forecast[::5]).mean())

    looks = []
    try:
        looks = train(
            network,
            data,
            passes_of(plan, reading),
            plan,
            options,
            reading,
            validate=validation_loss,
            on_step=lambda update, look: None,
            on_boundary=boundary,
            resume=resume,
        )
    except StoppedError:
        pass
    return looks, kept


@pytest.mark.parametrize(
    ("case", "model"),
    [
        *((case, "lstm") for case in CASES if case != "windows"),
        pytest.param("windows", "lstm", marks=pytest.mark.slow),
        ("chunks", "elman"),
        ("overlapping blocks", "gru"),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(case, model):
    """Stopped in a pass, at its end, at a look; resumed in a network with other weights."""
    whole = made(model, 0)
    looks, _ = run(whole, case)
    for stop in (1, 8, 13):
        _, (content,) = run(made(model, 0), case, stop=stop)
        resumed = made(model, 99)
        found, _ = run(resumed, case, resume=Checkpoint.from_bytes(content))
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (stop, name)
        assert [replace(look, seconds=0.0) for look in found] == [
            replace(look, seconds=0.0) for look in looks
        ]


def test_a_training_may_be_resumed_again_and_again():
    """A night of interruptions: one update at a time."""
    whole, last = made("lstm", 0), None
    run(whole, "overlapping blocks")
    for stop in range(1, OPTIONS.max_steps):
        resume = None if last is None else Checkpoint.from_bytes(last)
        _, (last,) = run(
            made("lstm", stop if last else 0), "overlapping blocks", stop=stop, resume=resume
        )
    resumed = made("lstm", 99)
    run(resumed, "overlapping blocks", resume=Checkpoint.from_bytes(last))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_is_of_its_moment():
    """Updates that follow do not reach into it."""
    network, kept = made("lstm", 0), []

    def boundary(checkpoint):
        if not kept:
            kept.append(checkpoint())
            kept.append(kept[0].to_bytes())

    plan, reading = CASES["chunks"]
    train(
        network,
        arrays(),
        passes_of(plan, reading),
        plan,
        OPTIONS,
        reading,
        validate=lambda network: 1.0,
        on_step=lambda update, look: None,
        on_boundary=boundary,
    )
    assert kept[0].to_bytes() == kept[1]


def checkpoint():
    _, (content,) = run(made("lstm", 0), "chunks", stop=3)
    return content


def test_another_training_cannot_go_on_from_it():
    """Other options, another plan, another network: each named."""
    kept = Checkpoint.from_bytes(checkpoint())
    with pytest.raises(ArtifactError, match=r"learning_rate 0\.02, not 0\.5"):
        run(made("lstm", 0), "chunks", options=replace(OPTIONS, learning_rate=0.5), resume=kept)
    with pytest.raises(ArtifactError, match="k2 8, not 12"):
        run(made("lstm", 0), "overlapping blocks", resume=kept)
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


def test_a_damaged_checkpoint_is_refused():
    """One flipped bit anywhere, a cut file, an empty one, another schema."""
    content = checkpoint()
    for place in (0, 70, 200, len(content) // 2, len(content) - 1):
        broken = bytearray(content)
        broken[place] ^= 1
        with pytest.raises(ArtifactError, match="damaged"):
            Checkpoint.from_bytes(bytes(broken))
    for broken in (content[:-1], content[:65], b""):
        with pytest.raises(ArtifactError, match="damaged"):
            Checkpoint.from_bytes(broken)
    kept = Checkpoint.from_bytes(content)
    later = Checkpoint(kept.tensors, {**kept.facts, "schema": 99})
    with pytest.raises(ArtifactError, match="schema 99"):
        Checkpoint.from_bytes(later.to_bytes())


def test_facts_are_plain(capsys):
    """What a person may want to read is JSON: where it stands, with which settings."""
    facts = Checkpoint.from_bytes(checkpoint()).facts
    assert facts["step"] == 3
    assert facts["training"]["options"] == asdict(OPTIONS)
    assert json.loads(json.dumps(facts)) == facts
