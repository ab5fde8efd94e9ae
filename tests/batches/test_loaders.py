"""Batches of training and evaluation: a pure function of the step, in the order of the objects."""

from __future__ import annotations

import numpy as np
import torch

from mergerexp.batches.loaders import FeatureEvaluation, TrainingBatches, random_views

CPU = torch.device("cpu")
LABELS = np.array([1] * 6 + [0] * 20)
VIEWS = np.arange(3 * 26 * 2, dtype=np.float16).reshape(3, 26, 2)  # view, object, feature


def batches() -> TrainingBatches:
    return TrainingBatches(random_views(VIEWS, CPU), LABELS, per_class=2, seed=5, device=CPU)


def test_an_epoch_goes_on_at_the_step_where_training_stands():
    made = batches()
    assert len(made) == 3
    first = list(made)
    made.position = lambda: 2
    rest = list(made)
    assert len(first) == 3 and len(rest) == 1
    torch.testing.assert_close(rest[0].inputs, first[2].inputs, rtol=0, atol=0)
    made.position = lambda: 3  # the next epoch
    later = list(made)
    assert len(later) == 3
    assert not torch.equal(later[0].inputs, first[0].inputs)


def test_inputs_and_labels_belong_to_the_same_objects():
    for batch in batches():
        assert batch.labels.tolist() == [0, 0, 1, 1]
        objects = (batch.inputs[:, 0].numpy() // 2 % 26).astype(int)
        assert (LABELS[objects] == batch.labels.numpy()).all()
        assert batch.inputs.dtype == torch.float32


def test_each_object_is_shown_in_every_view_sooner_or_later():
    made, seen = batches(), set()
    for epoch in range(40):
        made.position = lambda start=epoch * 3: start
        for batch in made:
            seen |= {int(value) // 52 for value in batch.inputs[:, 0]}
    assert seen == {0, 1, 2}


def test_features_are_rated_in_their_order_in_one_batch():
    evaluation = FeatureEvaluation(VIEWS[0], LABELS, CPU)
    (batch,) = evaluation
    assert len(evaluation) == 1
    np.testing.assert_array_equal(batch.inputs.numpy(), VIEWS[0].astype(np.float32))
    assert batch.labels.tolist() == LABELS.tolist()
