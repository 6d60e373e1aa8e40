"""Fisher's discriminant against the generalised eigenproblem, and held out against fitting n times."""

import numpy as np
import pytest
from scipy import linalg

from analysis._kernels import fisher
from analysis._kernels.fisher import hat, held_out, separability


def data(n: int, d: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n + d)
    member = np.arange(n) % groups
    return rng.normal(size=(n, d)) + 2 * rng.normal(size=(groups, d))[member], member


@pytest.mark.parametrize(("n", "d", "groups"), [(40, 3, 2), (40, 3, 5), (20, 50, 2), (20, 50, 3)])
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_separability_solves_the_generalised_eigenproblem(n: int, d: int, groups: int, ridge: float) -> None:
    x, member = data(n, d, groups)
    between = np.zeros((d, d))
    within = np.zeros((d, d))
    for group in range(groups):
        part = x[member == group]
        shift = part.mean(0) - x.mean(0)
        between += len(part) * np.outer(shift, shift)
        within += (part - part.mean(0)).T @ (part - part.mean(0))
    strength = ridge * np.trace(between + within) / min(n, d)
    expected = linalg.eigh(between, within + strength * np.eye(d), eigvals_only=True)[-1]
    assert separability(hat(x, ridge), member) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (20, 50)])
@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_held_out_is_fitting_without_each_sample(n: int, d: int, ridge: float) -> None:
    x, member = data(n, d, 2)
    inside = (member == 0) & (np.arange(n) < 2 * n // 3)
    centred = x - x.mean(0)
    strength = ridge * (centred**2).sum() / min(n, d)
    projection = np.empty(n)
    for i in range(n):
        rest = np.arange(n) != i
        design = np.column_stack([np.ones(n - 1), x[rest]])
        penalty = strength * np.diag([0.0] + [1.0] * d)
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ inside[rest])
        projection[i] = weights[0] + x[i] @ weights[1:]
    a, b = projection[inside], projection[~inside]
    mean = projection.mean()
    between = a.size * (a.mean() - mean) ** 2 + b.size * (b.mean() - mean) ** 2
    within = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
    assert held_out(hat(x, ridge), inside[:, None]).item() == pytest.approx(between / within, rel=1e-6)


def test_groups_of_pure_noise_are_separable_in_sample_but_not_held_out() -> None:
    rng = np.random.default_rng(0)
    samples = hat(rng.normal(size=(60, 200)), 1e-3)
    inside = np.arange(60) < 30
    assert separability(samples, inside) > 10
    assert held_out(samples, inside[:, None]).item() < 0.5


def test_shift_and_rotation_do_not_matter() -> None:
    x, member = data(40, 5, 2)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    before, after = hat(x, 0.1), hat(x @ turn + 7, 0.1)
    assert separability(after, member) == pytest.approx(separability(before, member))
    assert held_out(after, (member == 0)[:, None]).item() == pytest.approx(
        held_out(before, (member == 0)[:, None]).item()
    )


@pytest.mark.parametrize("groups", [np.zeros(6), np.arange(6) < 6])
def test_one_group_has_no_separability(groups: np.ndarray) -> None:
    assert np.isnan(separability(hat(np.eye(6), 0.1), groups))


def test_coinciding_points_have_no_separability() -> None:
    samples = hat(np.ones((6, 3)), 0.1)
    assert (samples.diagonal == 0).all()
    assert np.isnan(separability(samples, np.arange(6) % 2))
    assert np.isnan(held_out(samples, (np.arange(6) < 3)[:, None])).all()


@pytest.mark.parametrize(("n", "d"), [(300, 20), (20, 50)])
def test_single_precision_and_blocks_do_not_matter(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, member = data(n, d, 3)
    inside = member[:, None] == np.arange(3)
    whole = hat(x, 0.1)
    monkeypatch.setattr(fisher, "BLOCK_BYTES", 1000)
    for other in (hat(x, 0.1), hat(x.astype(np.float32), 0.1)):
        np.testing.assert_allclose(held_out(other, inside), held_out(whole, inside), rtol=1e-4)
        assert separability(other, member) == pytest.approx(separability(whole, member), rel=1e-4)


@pytest.mark.parametrize("n", [12, 60])
def test_without_a_ridge_directions_without_variance_do_not_count(n: int) -> None:
    x, member = data(n, 4, 2)
    twice = np.column_stack([x, x[:, :1], np.ones(n)])
    assert separability(hat(twice, 0), member) == pytest.approx(separability(hat(x, 0), member))
