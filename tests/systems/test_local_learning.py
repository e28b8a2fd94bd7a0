"""Local learning: pyramids, kernels, a machine per face."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import mien
from mien import systems
from mien.datasets import FaceSet
from mien.errors import InputError, RecipeError, RunError
from mien.systems.local_learning import global_margins, kernel, local_margins, presence
from mien.training import ClassicalRecipe, ClassicalRun, Run

pytest.importorskip("cv2")
pytest.importorskip("faiss")

CARD = systems.card("local-learning-bow")
TINY = [f"system.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in CARD.tiny.items()]


def test_one_scalar_product_is_the_weighted_sum_of_the_levels() -> None:
    random = np.random.default_rng(0)
    words = random.integers(0, 9, (5, 30)).astype(np.uint16)
    centres = random.uniform(0, 1, (30, 2)).astype(np.float32)
    rows = presence(words, centres, 9, (1, 3), (2.0, 1.0))
    assert rows.shape == (5, 9 * 10)
    product = (rows @ rows.T).toarray()
    assert np.allclose(np.diag(product), 1)

    def level(cells: int, a: int, b: int) -> float:
        cell = np.minimum((centres * cells).astype(int), cells - 1)
        sets = [{(*cell[i], w) for i, w in enumerate(words[face])} for face in (a, b)]
        return len(sets[0] & sets[1]) / np.sqrt(len(sets[0]) * len(sets[1]))

    assert np.isclose(product[1, 3], 2 / 3 * level(1, 1, 3) + 1 / 3 * level(3, 1, 3))


def test_a_pyramid_needs_a_weight_per_level() -> None:
    with pytest.raises(InputError, match="as many weights"):
        presence(np.zeros((1, 1), np.uint16), np.zeros((1, 2), np.float32), 4, (1, 2), (1.0,))


def _problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces in the plane: three expressions in a ring around the origin."""
    random = np.random.default_rng(1)
    labels = np.arange(60, dtype=np.uint8) % 3
    angle = labels * 2.1 + random.normal(0, 0.25, 60)
    points = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    return points[:45], labels[:45], points[45:]


def _kernel(faces: np.ndarray, train: np.ndarray) -> np.ndarray:
    return kernel(lambda a, b: faces[a:b], lambda: train.T, (len(faces), len(train)), {"faces": len(faces)})


def test_local_machines_are_those_of_scikit_learn(mien_cache: Path) -> None:
    from sklearn.svm import SVC

    train, labels, test = _problem()
    similar, among = _kernel(test, train), _kernel(train, train)
    found = local_margins(similar, among, labels, 3, neighbours=12, penalty=1.0, key={})
    near = np.argsort(-similar[4].astype(np.float32), kind="stable")[:12]
    for label in range(3):
        if not (labels[near] == label).any():
            assert found[4, label] == -1
            continue
        if (labels[near] == label).all():
            assert found[4, label] == 1
            continue
        machine = SVC(kernel="linear").fit(train[near], labels[near] == label)
        assert np.isclose(machine.decision_function(test[4:5])[0], found[4, label], atol=0.02)


def test_both_kinds_of_machine_learn(mien_cache: Path) -> None:
    train, labels, test = _problem()
    truth = np.arange(45, 60) % 3
    local = local_margins(_kernel(test, train), _kernel(train, train), labels, 3, neighbours=30, penalty=1.0, key={})
    assert (local.argmax(1) == truth).mean() > 0.9
    assert (global_margins(train, labels, test, 3, penalty=1.0).argmax(1) == truth).mean() > 0.6


def test_too_few_training_faces_for_the_neighbours(mien_cache: Path) -> None:
    _, labels, _ = _problem()
    with pytest.raises(InputError, match="46 neighbours of 45 training faces"):
        local_margins(np.zeros((1, 45)), np.zeros((45, 45)), labels, 3, neighbours=46, penalty=1.0, key={})


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return mien.load_dataset("drawn", count=700, seed=5)


@pytest.fixture(scope="module")
def fitted(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> ClassicalRun:
    folder = tmp_path_factory.mktemp("classical")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_CACHE", str(folder / "cache"))
        recipe = ClassicalRecipe.of(CARD).set(TINY)
        run = mien.train("local-learning-bow", faces.train, faces.selection, recipe=recipe, out=folder / "runs")
    assert isinstance(run, ClassicalRun)
    return run


def test_it_is_fitted_and_measured_like_any_other_system(
    fitted: ClassicalRun, faces: FaceSet, tmp_path: Path, mien_cache: Path
) -> None:
    assert fitted.info["selection_accuracy"] > 1.5 / 7
    opened = Run.open(fitted.folder)
    assert opened == fitted
    result = mien.evaluate(opened, faces.selection, results=tmp_path)
    assert (result.kind, result.scores, result.system) == ("classical", "margins", "local-learning-bow")
    assert result.metrics["selection_accuracy"] == pytest.approx(fitted.info["selection_accuracy"], abs=1e-6)
    assert result.recipe["system"]["neighbours"] == 300
    result.save(tmp_path)
    with pytest.raises(InputError, match="knows the view one"):
        mien.evaluate(opened, faces.selection, views="flip", results=tmp_path)


def test_a_fit_from_the_cache_tells_what_its_stages_took(faces: FaceSet, tmp_path: Path, mien_cache: Path) -> None:
    recipe = ClassicalRecipe.of(CARD).set(TINY)
    first, again = (
        mien.train("local-learning-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path / name)
        for name in ("first", "again")
    )
    assert {"vocabulary", "words", "kernel", "margins"} <= set(first.info["cost"]["stages"])
    assert again.info["cost"]["stages"] == first.info["cost"]["stages"]
    assert mien.evaluate(again, faces.selection, results=tmp_path).cost["stages"] == first.info["cost"]["stages"]


def test_its_run_says_that_there_is_no_network(fitted: ClassicalRun, tmp_path: Path) -> None:
    for call in (fitted.module, lambda: fitted.export(tmp_path / "none.onnx")):
        with pytest.raises(RunError, match="no network"):
            call()
    with pytest.raises(InputError, match="no network"):
        systems.create("local-learning-bow")


def test_a_second_fit_needs_resume_and_costs_nothing(fitted: ClassicalRun, faces: FaceSet) -> None:
    again = {"recipe": fitted.recipe, "out": fitted.folder.parent}
    with pytest.raises(RunError, match="--resume"):
        mien.train("local-learning-bow", faces.train, faces.selection, **again)
    assert mien.train("local-learning-bow", faces.train, faces.selection, resume=True, **again) == fitted


def test_a_changed_file_is_noticed(fitted: ClassicalRun, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(fitted.folder, tmp_path / "copy")
    with np.load(folder / "fitted.npz") as file:
        state = {name: file[name] for name in file.files}
    state["labels"] = (state["labels"] + 1) % 7
    np.savez(folder / "fitted.npz", **state)
    with pytest.raises(RunError, match="does not hold what"):
        ClassicalRun.open(folder).fitted()
    (folder / "recipe.toml").write_text((folder / "recipe.toml").read_text().replace("penalty = 1.0", "penalty = 2.0"))
    with pytest.raises(RunError, match="changed after the fit"):
        Run.open(folder)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("system.neighbors=5", "did you mean 'system.neighbours'"),
        ("system.words=many", "expected a value like 10000"),
        ("system.levels=3", "expected a value like"),
        ("words", "write key=value"),
    ],
)
def test_settings_that_cannot_be(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ClassicalRecipe.of(CARD).set([setting])


def test_a_recipe_survives_toml(tmp_path: Path) -> None:
    recipe = ClassicalRecipe.of(CARD, "faithful").set(["name=mine", "system.penalty=3"])
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    read = ClassicalRecipe.from_toml(tmp_path / "r.toml")
    assert (read, read.hash) == (recipe, recipe.hash)
    assert recipe.hash != ClassicalRecipe.of(CARD, "faithful").hash


def test_a_fit_refuses_what_it_cannot_do_before_any_work(faces: FaceSet, tmp_path: Path, mien_cache: Path) -> None:
    recipe = ClassicalRecipe.of(CARD).set([*TINY, "system.neighbours=1000"])
    with pytest.raises(InputError, match="too few faces"):
        mien.train("local-learning-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path)
    assert not mien_cache.exists()
    with pytest.raises(InputError, match="no network"):
        mien.train(
            "local-learning-bow", faces.train, faces.selection, recipe=mien.Recipe.of(systems.card("compact")), out="x"
        )


def test_a_face_and_its_mirror_image_are_alike(faces: FaceSet, mien_cache: Path) -> None:
    from mien.systems.classical import quiet
    from mien.systems.local_learning_bow import LocalLearningBOW

    images = np.array(faces.train.images[:40])
    system = LocalLearningBOW(CARD, 7, {**CARD.tiny, "neighbours": 0})
    system.fit(faces.train.subset(np.arange(40)), seed=0, notify=quiet)
    own, mirrored = (system._words(np.ascontiguousarray(of), quiet, "") for of in (images, images[:, :, ::-1]))
    alike = system._kernel(own, quiet, ""), system._kernel(mirrored, quiet, "")
    np.testing.assert_allclose(alike[0], alike[1], atol=0.02)
    assert np.allclose(alike[0], alike[0].T, atol=2e-3)
    assert np.allclose(np.diag(alike[0]), 1, atol=2e-3)
    assert (alike[0] - np.eye(40)).max() < 0.95


# Deep+BOW

DEEP = systems.card("local-learning-deep-bow")


def _deep(*settings: str) -> ClassicalRecipe:
    tiny = [f"system.{key}={list(v) if isinstance(v, tuple) else v}" for key, v in DEEP.tiny.items()]
    return ClassicalRecipe.of(DEEP).set([*(item.replace("'", '"') for item in tiny), *settings])


@pytest.fixture
def matrix(faces: FaceSet, tmp_path: Path) -> Path:
    """Features that know the expressions of the selection split too, to see that they are used."""
    features = np.random.default_rng(0).normal(0, 0.2, (len(faces), 8)).astype(np.float32)
    for split in (faces.train, faces.selection):
        features[split.rows, split.labels] += 1
    np.save(tmp_path / "own.npy", features)
    return tmp_path / "own.npy"


@pytest.mark.parametrize("words", [1.0, 0.0])
def test_features_are_joined_with_words(
    faces: FaceSet, matrix: Path, tmp_path: Path, mien_cache: Path, words: float
) -> None:
    recipe = _deep(f'system.features=["{matrix.as_posix()}"]', f"system.bow_weight={words}", "system.origin=the labels")
    run = mien.train("local-learning-deep-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path / "runs")
    assert run.info["selection_accuracy"] > 0.8
    result = mien.evaluate(run, faces.selection, results=tmp_path)
    assert (result.kind, result.extra_data) == ("classical", ("the labels",))
    assert result.metrics["selection_accuracy"] == pytest.approx(run.info["selection_accuracy"], abs=1e-6)


def test_another_file_at_the_same_path_is_another_recipe(
    faces: FaceSet, matrix: Path, tmp_path: Path, mien_cache: Path
) -> None:
    recipe = _deep(f'system.features=["pixels", "{matrix.as_posix()}"]', "system.bow_weight=0.0")
    given = {"recipe": recipe, "out": tmp_path / "runs"}
    run = mien.train("local-learning-deep-bow", faces.train, faces.selection, **given)
    assert isinstance(run, ClassicalRun)
    digest = hashlib.sha256(matrix.read_bytes()).hexdigest()
    assert run.recipe.feature_hashes == ("", digest)
    assert Run.open(run.folder) == run
    assert mien.evaluate(run, faces.selection, results=tmp_path).recipe["feature_hashes"] == ["", digest]

    original = matrix.read_bytes()
    np.save(matrix, np.load(matrix)[:, ::-1])
    with pytest.raises(RunError, match=r"own.npy is not what the machines were fitted with"):
        mien.evaluate(run, faces.selection, results=tmp_path)
    with pytest.raises(RunError, match=r"was begun with another .*own.npy"):
        mien.train("local-learning-deep-bow", faces.train, faces.selection, resume=True, **given)
    with pytest.raises(InputError, match=r"the recipe names .*own.npy"):
        mien.train("local-learning-deep-bow", faces.train, faces.selection, recipe=run.recipe, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    other = mien.train("local-learning-deep-bow", faces.train, faces.selection, **given)
    assert other.recipe.hash != run.recipe.hash

    matrix.write_bytes(original)
    assert mien.train("local-learning-deep-bow", faces.train, faces.selection, resume=True, **given) == run
    matrix.unlink()
    with pytest.raises(InputError, match="No such file"):
        mien.train("local-learning-deep-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path / "again")


def test_built_in_features_keep_their_recipe_hash(faces: FaceSet, tmp_path: Path, mien_cache: Path) -> None:
    recipe = _deep("system.bow_weight=0.0")
    assert recipe.identified() == recipe
    assert recipe.set(['system.features=["timm:vit", "sift"]']).identified().feature_hashes == ()
    # Recorded under this hash before files were part of it.
    assert ClassicalRecipe.of(systems.card("turtle")).identified().hash.startswith("c70eae0a61e5206f")
    with pytest.raises(RecipeError, match="one hash per feature space"):
        ClassicalRecipe.from_dict({**recipe.to_dict(), "feature_hashes": ["ab", "cd"]})


def test_the_joint_kernel_is_the_weighted_sum(faces: FaceSet, mien_cache: Path) -> None:
    from mien.systems.classical import make, quiet
    from mien.systems.local_learning_deep_bow import LocalLearningDeepBOW

    part = faces.train.subset(np.arange(80))
    system = make(DEEP, 7, _deep("system.bow_weight=3.0").system)
    assert isinstance(system, LocalLearningDeepBOW)
    system.fit(part, seed=0, notify=quiet)
    joint = system._joint(system.deep, system.words, quiet, "").astype(np.float32)
    bow = system._kernel(system.words, quiet, "").astype(np.float32)
    deep = system.deep[0].astype(np.float32)
    np.testing.assert_allclose(joint, 0.75 * bow + 0.25 * deep @ deep.T, atol=3e-3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("system.features=[]", "needs features of trained networks"),
        ("system.feature_weights=[1, 2]", "need as many weights"),
        ("system.bow_weight=-1.0", "from 0"),
        ("system.neighbours=9999", "too few faces"),
        ("system.penalty=0.0", "penalty = 0.0: give a number above 0"),
        ("system.bow_weight=0.0;system.penalty=-1.0", "penalty = -1.0: give a number above 0"),
    ],
)
def test_what_cannot_be_joined(faces: FaceSet, tmp_path: Path, mien_cache: Path, setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mien.train(
            "local-learning-deep-bow",
            faces.train,
            faces.selection,
            recipe=_deep(*setting.split(";")),
            out=tmp_path / "r",
        )
    assert not (tmp_path / "r").exists()
