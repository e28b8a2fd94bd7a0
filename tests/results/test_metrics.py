import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn import metrics as reference

from mien.errors import InputError
from mien.results import metrics as m


def case(seed, n=400, classes=7, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * sharpness
    labels = (special.softmax(logits, axis=1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("seed", range(3))
def test_decisions_against_scikit_learn(seed):
    logits, labels = case(seed)
    predicted = logits.argmax(axis=1)
    counts = m.confusion_matrix(predicted, labels, 7)
    assert counts.tolist() == reference.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    assert m.accuracy(predicted, labels) == pytest.approx(reference.accuracy_score(labels, predicted))
    assert m.macro_f1(counts) == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert m.balanced_accuracy(counts) == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    recall = reference.recall_score(labels, predicted, average=None)
    assert m.per_class_recall(counts) == pytest.approx(recall)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_against_scipy_and_scikit_learn(seed):
    logits, labels = case(seed)
    p = m.softmax(logits)
    assert p == pytest.approx(special.softmax(logits, axis=1))
    assert m.nll(p, labels) == pytest.approx(reference.log_loss(labels, p, labels=range(7)))
    assert m.brier(p, labels) == pytest.approx(((p - np.eye(7)[labels]) ** 2).sum(axis=1).mean())
    binary = m.softmax(logits[:, :2])
    expected = 2 * reference.brier_score_loss(labels % 2, binary[:, 1])
    assert m.brier(binary, labels % 2) == pytest.approx(expected)


def test_ece_against_a_plain_loop():
    logits, labels = case(5, n=1003)
    p = m.softmax(logits)
    order = np.argsort(p.max(axis=1), kind="stable")
    total = 0.0
    for part in range(15):
        rows = order[part * 1003 // 15 : (part + 1) * 1003 // 15]
        gap = abs((p[rows].argmax(axis=1) == labels[rows]).mean() - p[rows].max(axis=1).mean())
        total += gap * len(rows) / 1003
    assert m.ece(p, labels) == pytest.approx(total)
    confidence, accuracy, sizes = m.reliability(p, labels)
    assert (np.abs(accuracy - confidence) * sizes).sum() / 1003 == pytest.approx(total)
    assert sizes.sum() == 1003
    assert np.ptp(sizes) <= 1


def test_noise_floor_is_the_quantile_of_calibrated_models():
    logits, _ = case(1, n=3589, sharpness=1.5)
    p = m.softmax(logits)
    floor = m.ece_noise_floor(p)
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        labels = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
        errors.append(m.ece(p, labels))
    assert 0.9 < np.mean(np.array(errors) <= floor) < 0.99
    assert 0.015 < floor < 0.035  # about 2.4 % at this number of faces
    assert floor == m.ece_noise_floor(p)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.7])
def test_temperature_is_the_minimum_of_the_nll(true):
    logits, labels = case(3, n=3000)
    logits = logits * true
    best = optimize.minimize_scalar(lambda t: m.nll(m.softmax(logits, t), labels), bounds=(0.05, 20), method="bounded")
    fitted = m.fit_temperature(logits, labels)
    assert fitted == pytest.approx(best.x, rel=1e-3)
    assert fitted == pytest.approx(true, rel=0.1)
    assert fitted == m.fit_temperature(logits + 100, labels)


def test_temperature_of_perfect_scores_stays_in_bounds():
    assert m.fit_temperature(np.eye(3) * 5, [0, 1, 2]) == pytest.approx(0.01)
    assert m.fit_temperature(np.eye(3) * 5, [1, 2, 0]) == pytest.approx(100)


def test_threshold_reaches_its_target_with_the_highest_coverage():
    logits, labels = case(7, n=2000)
    p = m.softmax(logits)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    chosen = m.choose_threshold(p, labels, target=0.85)
    decided = confidence >= chosen.threshold
    assert chosen.reached
    assert correct[decided].mean() >= 0.85
    assert chosen.accuracy == pytest.approx(correct[decided].mean())
    assert chosen.coverage == pytest.approx(decided.mean())
    lower = [t for t in confidence if t < chosen.threshold]
    assert all(correct[confidence >= t].mean() < 0.85 for t in lower)


def test_threshold_that_cannot_be_reached_says_so():
    p = np.tile([[0.6, 0.4]], (50, 1))
    chosen = m.choose_threshold(p, [0, 1] * 25, target=0.99)
    assert not chosen.reached
    assert (chosen.coverage, chosen.accuracy) == (1.0, 0.5)
    with pytest.raises(InputError, match="target"):
        m.choose_threshold(p, [0] * 50, target=90)


def test_risk_at_full_coverage_is_the_error():
    logits, labels = case(2)
    coverage, risk, threshold = m.risk_coverage(m.softmax(logits), labels)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx((logits.argmax(axis=1) != labels).mean())
    assert (np.diff(threshold) < 0).all()


@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_bounds_hold_for_anything(n, classes, seed):
    rng = np.random.default_rng(seed)
    p = m.softmax(rng.normal(size=(n, classes)) * rng.choice([0, 1, 300]))
    labels = rng.integers(0, classes, n)
    assert 0 <= m.ece(p, labels) <= 1
    assert 0 <= m.brier(p, labels) <= 2 + 1e-9
    assert 0 <= m.nll(p, labels) <= -np.log(1e-7) + 1e-9
    counts = m.confusion_matrix(p.argmax(axis=1), labels, classes)
    assert 0 <= m.macro_f1(counts) <= 1
    assert 0 <= m.balanced_accuracy(counts) <= 1
    assert counts.sum() == n


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="labels lie in"):
        m.nll([[0.5, 0.5]], [2])
    with pytest.raises(InputError, match=r"\(n, classes\)"):
        m.ece([0.5, 0.5], [0, 1])
    with pytest.raises(InputError, match=r"not \(0,\)"):
        m.accuracy([], [])
    with pytest.raises(InputError, match="ids lie in"):
        m.confusion_matrix([0, 7], [0, 1], 7)


def test_noise_floor_random_stream_is_uniform():
    from mien.results.randomness import integers, uniforms

    assert stats.kstest(uniforms(3)(20000), "uniform").pvalue > 0.001
    assert stats.chisquare(np.bincount(integers(4)(7, 70000))).pvalue > 0.001
    assert integers(1)(5, 3, 3).tolist() == integers(1)(5, 3, 3).tolist()


def test_vector_scaling_is_the_minimum_that_scipy_finds():
    minimize = pytest.importorskip("scipy.optimize").minimize
    random = np.random.default_rng(3)
    labels = random.integers(0, 5, 800)
    logits = random.normal(size=(800, 5)) + 2 * np.eye(5)[labels] * [1, 2, 0.5, 1, 3]
    start = 1 / m.fit_temperature(logits, labels)

    def loss(point):
        away = np.concatenate([point[:5] - start, point[5:]])
        return m.nll(m.softmax(logits * point[:5] + point[5:]), labels) + 1e-3 * (away @ away)

    scale, bias = m.fit_vector(logits, labels)
    wanted = minimize(loss, np.concatenate([np.full(5, start), np.zeros(5)]), tol=1e-12).x
    assert np.concatenate([scale, bias]) == pytest.approx(wanted, abs=1e-3)
    assert loss(np.concatenate([scale, bias])) <= loss(wanted) + 1e-9
    assert m.nll(m.softmax(logits * scale + bias), labels) < m.nll(m.softmax(logits * start), labels)
