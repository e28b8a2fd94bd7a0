"""Learning from raters' votes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from mien.datasets import FaceSet
from mien.datasets.ferplus_votes import COLUMNS, targets
from mien.errors import InputError, RecipeError
from mien.labels import FER2013, FERPLUS
from mien.training.optimisation import any_allowed, make_criterion
from mien.training.recipe import Loss
from mien.training.votes import vote_targets, voted

PLAIN = ("augment.cutmix=0", "augment.mixup=0", "loss.smoothing=0", "epochs=2")
MODES = ("probability", "crossentropy", "multi-target")


def ballots(data: FaceSet) -> np.ndarray:
    """Six raters say the label, three the next expression, one cannot tell; of every fifth face nobody says much."""
    names = [*FERPLUS.labels, "unknown", "NF"]
    assert len(names) == len(COLUMNS)
    votes = np.zeros((len(data), 10), np.uint8)
    for row, label in enumerate(data._labels.tolist()):
        ours, other = FER2013[label], FER2013[(label + 1) % 7]
        votes[row, names.index(ours)], votes[row, names.index(other)], votes[row, 8] = 6, 3, 1
        if row % 5 == 0:
            votes[row] = 1
    return votes


def test_targets_follow_the_mode(drawn: FaceSet) -> None:
    train, votes = drawn.train, ballots(drawn)
    for mode in MODES:
        found = voted(train, tiny.recipe(*PLAIN, f"loss.targets={mode}"), votes)
        assert found is not None
        assert np.allclose(found.shares.sum(axis=1), 1)
        assert found.notes["votes"]["faces_by_label"] == int((train.rows % 5 == 0).sum())
        assert found.extra_data == ("raters' votes",)
        clear = train.rows % 5 != 0
        labels = np.asarray(train.labels)
        ours = found.shares[np.arange(len(train)), labels]
        assert np.allclose(ours[clear], 2 / 3)
        assert np.allclose(ours[~clear], 1)
        assert np.allclose(found.shares[clear, (labels[clear] + 1) % 7], 1 / 3)
    half = voted(train, tiny.recipe(*PLAIN, "loss.targets=crossentropy", "loss.share=0.5"), votes)
    assert half is not None
    assert np.allclose(half.shares[np.arange(len(train)), train.labels][train.rows % 5 != 0], 0.5 + 1 / 3)


def test_contempt_is_left_out_where_nobody_tells_it(drawn: FaceSet) -> None:
    votes = np.zeros((len(drawn), 10), np.uint8)
    votes[:, 0], votes[:, 7] = 4, 6
    found = voted(drawn.train, tiny.recipe(*PLAIN, "loss.targets=crossentropy"), votes)
    assert found is not None
    assert found.notes["votes"]["faces_by_label"] == len(drawn.train)  # most say contempt: the label stays
    votes[:, 0], votes[:, 7] = 6, 4
    found = voted(drawn.train, tiny.recipe(*PLAIN, "loss.targets=crossentropy"), votes)
    assert found is not None
    assert (found.shares[:, FER2013.id("neutral")] == 1).all()


def test_probability_draws_by_the_shares() -> None:
    shares = torch.tensor([[0.75, 0.25, 0.0]]).repeat(4000, 1)
    loss = Loss(targets="probability")
    drawn = vote_targets(shares, loss, torch.Generator().manual_seed(0))
    assert set(drawn.sum(1).tolist()) == {1.0}
    assert drawn.mean(0).tolist() == pytest.approx([0.75, 0.25, 0.0], abs=0.03)
    assert torch.equal(drawn, vote_targets(shares, loss, torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, vote_targets(shares, loss, torch.Generator().manual_seed(1)))
    smooth = vote_targets(shares, Loss(targets="crossentropy", smoothing=0.1), torch.Generator())
    assert smooth[0].tolist() == pytest.approx([0.75 * 0.85 + 0.05, 0.25 * 0.85 + 0.05, 0.05])


def test_multi_target_asks_for_any_allowed_expression() -> None:
    targets_ = torch.tensor([[0.5, 0.5, 0.0]])
    for probabilities in ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1]):
        loss = any_allowed(torch.log(torch.tensor([probabilities])), targets_)
        assert float(loss) == pytest.approx(-np.log(0.8), abs=1e-6)
    wrong = any_allowed(torch.log(torch.tensor([[0.0005, 0.0005, 0.999]])), targets_)
    assert float(wrong) == pytest.approx(-np.log(0.999e-3), abs=1e-4)
    assert make_criterion(Loss(targets="multi-target"), torch.tensor([0, 1]), 2) is any_allowed


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_trains_selects_and_resumes(
    mode: str, drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, votes = (*PLAIN, f"loss.targets={mode}"), ballots(drawn)
    run = tiny.run(drawn, tmp_path / "whole", *changes, votes=votes)
    assert run.finished
    assert run.info["extra_data"] == ["raters' votes"]
    assert run.recipe.votes == run.info["votes"]["sha256"]
    labels_only = tiny.run(drawn, tmp_path / "plain", *PLAIN)
    assert labels_only.info["weights_sha256"] != run.info["weights_sha256"]
    assert "votes" not in labels_only.info
    assert "votes" not in labels_only.recipe.to_dict()

    def stop(progress: object) -> None:
        if getattr(progress, "epoch", 0) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path / "stopped", *changes, votes=votes, on_progress=stop)
    resumed = tiny.run(drawn, tmp_path / "stopped", *changes, votes=votes, resume=True)
    assert resumed.info["weights_sha256"] == run.info["weights_sha256"]


def test_what_does_not_fit_is_refused(drawn: FaceSet) -> None:
    recipe = tiny.recipe(*PLAIN, "loss.targets=probability")
    with pytest.raises(InputError, match="nothing is known of raters' votes about drawn"):
        voted(drawn.train, recipe)
    with pytest.raises(InputError, match=r"votes are uint8 \(140, 10\)"):
        voted(drawn.train, recipe, ballots(drawn)[:9])
    with pytest.raises(InputError, match="the recipe learns from labels"):
        voted(drawn.train, tiny.recipe(), ballots(drawn))
    with pytest.raises(RecipeError, match="a loss of its own"):
        tiny.recipe("loss.targets=multi-target", "loss.smoothing=0.1")
    with pytest.raises(RecipeError, match="mixes shares"):
        tiny.recipe("loss.share=0.5")
    assert not targets(np.ones((1, 10), np.uint8), "probability").any()
