import numpy as np
import pytest

from mergerexp.batches.sampling import BalancedSampler
from mergerexp.seeding import seed_for

LABELS = np.array([1] * 7 + [0] * 24)


def test_batches_are_balanced_and_a_pure_function_of_seed_and_step():
    sampler = BalancedSampler(LABELS, per_class=4, seed=3)
    forwards = [sampler.batch(step) for step in range(30)]
    fresh = BalancedSampler(LABELS, per_class=4, seed=3)
    for step in reversed(range(30)):
        np.testing.assert_array_equal(fresh.batch(step), forwards[step])
        assert LABELS[forwards[step]].tolist() == [0] * 4 + [1] * 4
    other = BalancedSampler(LABELS, per_class=4, seed=4)
    assert not np.array_equal(other.batch(0), forwards[0])


@pytest.mark.parametrize("per_class", [1, 4, 5, 7, 30])
def test_every_object_of_a_class_is_seen_before_any_repeats(per_class):
    sampler = BalancedSampler(LABELS, per_class, seed=0)
    batches = np.stack([sampler.batch(step) for step in range(120)])
    for label, n in ((0, 24), (1, 7)):
        stream = batches[:, :per_class] if label == 0 else batches[:, per_class:]
        passes = stream.ravel()[: stream.size // n * n].reshape(-1, n)
        assert (np.sort(passes, axis=1) == np.flatnonzero(label == LABELS)).all()
        assert not (passes[0] == passes[1]).all()


def test_an_epoch_is_one_pass_of_the_smaller_class():
    assert BalancedSampler(LABELS, 4, 0).steps_per_epoch == 2
    assert BalancedSampler(LABELS, 7, 0).steps_per_epoch == 1
    assert BalancedSampler(LABELS, 8, 0).steps_per_epoch == 1
    assert BalancedSampler(1 - LABELS, 2, 0).steps_per_epoch == 4


def test_refuses_a_missing_class_and_an_empty_batch():
    with pytest.raises(ValueError, match="no object of class 1"):
        BalancedSampler(np.zeros(5), 2, 0)
    with pytest.raises(ValueError, match="per_class must be at least 1"):
        BalancedSampler(LABELS, 0, 0)


def test_scoped_seeds_differ_by_every_part_and_never_change():
    seeds = {seed_for(0, "a"), seed_for(1, "a"), seed_for(0, "b"), seed_for(0, "a", 0), seed_for(0, "a", "0")}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Frozen: another value would silently change every study.
    assert seed_for(0, "folds", 4) == 7144340555300401129
