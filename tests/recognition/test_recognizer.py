from __future__ import annotations

import gc
import io
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.bundle import InputSpec, read_bundle
from mien.errors import BundleError, InputError, UnknownNameError
from mien.faces.detect import Detections
from mien.labels import FER2013
from mien.recognition import Expressions, Recognizer, network, recognizer
from mien.recognition.network import shared_network

LABELS = list(FER2013.labels)


def finder(boxes: np.ndarray) -> object:
    return lambda image: boxes


@pytest.fixture
def classifier(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, detector=None, threads=1)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), np.uint8)


@pytest.mark.parametrize("view", ["one", "flip"])
def test_classify_gives_the_calibrated_probabilities_of_the_view(classifier: Recognizer, view: str) -> None:
    crops = noise(20)
    crops[0] = standin.face("happy")
    faces = classifier.classify(crops, views=view)
    np.testing.assert_allclose(faces.probabilities, standin.expected(crops, view), atol=2e-6)
    assert faces.boxes is None
    assert faces.scores is None


def test_flip_is_not_one(classifier: Recognizer) -> None:
    crops = np.stack([standin.face("happy")])
    assert classifier.classify(crops).confidence[0] > 0.9 > 0.6 > classifier.classify(crops, views="flip").confidence[0]


def test_all_expressions_are_told_apart_and_uniform_grey_is_undecided(classifier: Recognizer) -> None:
    faces = classifier.classify(np.stack([*map(standin.face, LABELS), np.full((48, 48), 90, np.uint8)]))
    assert faces.labels[:7] == LABELS
    assert faces.decided.tolist() == [True] * 7 + [False]
    assert faces.threshold == standin.THRESHOLD


def test_classify_takes_colour_and_any_size(classifier: Recognizer) -> None:
    grey = np.stack([standin.face(label, 96) for label in LABELS])
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert classifier.classify(grey).labels == LABELS
    assert classifier.classify(colour).labels == LABELS
    assert classifier.classify(grey[:, ::2]).labels == LABELS  # not square
    assert classifier.classify([standin.face("sad", 50), colour[3], standin.face("fear", 200)]).labels == [
        "sad",
        "happy",
        "fear",
    ]


def test_nothing_in_nothing_out(classifier: Recognizer) -> None:
    for crops in (np.zeros((0, 48, 48), np.uint8), []):
        faces = classifier.classify(crops)
        assert faces == Expressions.empty(FER2013, threshold=standin.THRESHOLD)
    assert classifier.embed([]).shape == (0, 8)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((2, 48, 48), np.float32),
        np.zeros((48, 48), np.uint8),
        np.zeros((48, 48, 3), np.uint8),
        [[1, 2], [3, 4]],
        np.zeros((2, 48, 48, 4), np.uint8),
        np.zeros((2, 0, 48), np.uint8),
    ],
)
def test_what_are_no_crops_is_refused(classifier: Recognizer, crops: object) -> None:
    with pytest.raises(InputError):
        classifier.classify(crops)  # type: ignore[arg-type]


def test_batch_size_changes_nothing(classifier: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = noise(11)
    whole = classifier.classify(crops)
    monkeypatch.setattr(recognizer, "CHUNK", 4)
    np.testing.assert_allclose(classifier.classify(crops).probabilities, whole.probabilities, atol=1e-6)
    assert classifier.embed(crops).shape == (11, 8)


def test_many_crops_go_through_in_chunks(classifier: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier.warm_up()
    sizes: list[int] = []
    run = network.Network.logits
    monkeypatch.setattr(network.Network, "logits", lambda self, x: (sizes.append(len(x)), run(self, x))[1])
    classifier.classify(noise(recognizer.CHUNK * 2 + 3))
    assert sizes == [recognizer.CHUNK, recognizer.CHUNK, 3]
    sizes.clear()
    image, boxes = standin.photograph(LABELS)
    classifier.predict(image, boxes=boxes)
    assert sizes == [7]  # all faces of an image in one batch


def test_embedding(classifier: Recognizer, tmp_path: Path) -> None:
    crops = noise(5)
    strips = ((crops / 255 - 0.5) / 0.25).reshape(5, 48, 8, 6).mean((1, 3))
    np.testing.assert_allclose(classifier.embed(crops), strips, atol=1e-5)
    bare = standin.write(tmp_path / "bare.onnx", standin.graph(embedding=False))
    with pytest.raises(BundleError, match="embedding"):
        Recognizer(bare, detector=None).embed(crops)


def test_predict_with_own_boxes_runs_no_detector(bundle_path: Path) -> None:
    def forbidden(image: np.ndarray) -> None:
        raise AssertionError

    image, boxes = standin.photograph(["happy", "sad", "neutral"])
    faces = Recognizer(bundle_path, detector=forbidden).predict(image, boxes=boxes)
    assert faces.labels == ["happy", "sad", "neutral"]
    assert faces.scores is None
    np.testing.assert_array_equal(faces.boxes, boxes)
    assert faces.size == (image.shape[1], image.shape[0])
    assert len(Recognizer(bundle_path, detector=forbidden).predict(image, boxes=[])) == 0


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 10]], "shape"),
        ([[0, 0, 10, 10], [20, 20, 10, 30]], "box 1"),
        ([[0, 0, 10, 10], [5000, 0, 5100, 30]], "outside"),
        ([[0, 0, np.nan, 10]], "boxes"),
    ],
)
def test_impossible_boxes_are_named(classifier: Recognizer, boxes: list[list[float]], message: str) -> None:
    image, _ = standin.photograph(["happy"])
    with pytest.raises(InputError, match=message):
        classifier.predict(image, boxes=boxes)


def test_landmarks_need_boxes_and_their_count(classifier: Recognizer) -> None:
    image, boxes = standin.photograph(["happy"])
    with pytest.raises(InputError, match="landmarks"):
        classifier.predict(image, landmarks=np.zeros((1, 5, 2)))
    with pytest.raises(InputError, match="landmarks"):
        classifier.predict(image, boxes=boxes, landmarks=np.zeros((2, 5, 2)))
    points = np.full((1, 5, 2), 60.0)
    np.testing.assert_array_equal(classifier.predict(image, boxes=boxes, landmarks=points).landmarks, points)


def test_any_callable_detector(bundle_path: Path) -> None:
    image, boxes = standin.photograph(["fear", "happy"])
    marks = np.full((2, 5, 2), 50, np.float32)
    for result in (boxes, boxes.tolist(), (boxes, [0.9, 0.8]), Detections(boxes, [0.9, 0.8], marks)):
        faces = Recognizer(bundle_path, detector=finder(result)).predict(image)
        assert faces.labels == ["fear", "happy"]
        assert faces.scores is not None
    np.testing.assert_array_equal(faces.landmarks, marks)
    with pytest.raises(InputError):
        Recognizer(bundle_path, detector=finder("no boxes")).predict(image)


def test_small_faces_are_left_out(bundle_path: Path) -> None:
    image, boxes = standin.photograph(["fear", "happy"])
    boxes[0, 2:] = boxes[0, :2] + 8
    assert Recognizer(bundle_path, detector=finder(boxes)).predict(image).labels == ["happy"]
    assert len(Recognizer(bundle_path, detector=finder(boxes), min_face=0).predict(image)) == 2
    assert len(Recognizer(bundle_path, detector=finder(boxes)).predict(image, boxes=boxes)) == 2  # own boxes stay


def test_without_a_detector_the_image_is_the_face(classifier: Recognizer) -> None:
    faces = classifier.predict(standin.face("surprise", 120))
    assert faces.labels == ["surprise"]
    assert faces.boxes.tolist() == [[0, 0, 120, 120]]
    assert faces.scores is None
    with pytest.raises(InputError, match="detector"):
        classifier.detect(standin.face("surprise"))


def test_no_face_gives_an_empty_answer(bundle_path: Path) -> None:
    faces = Recognizer(bundle_path, detector=finder(np.zeros((0, 4)))).predict(np.zeros((50, 70, 3), np.uint8))
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.size == (70, 50)


def test_every_kind_of_image_gives_the_same(bundle_path: Path, tmp_path: Path) -> None:
    image, boxes = standin.photograph(["angry", "happy"])
    picture = Image.fromarray(image)
    path = tmp_path / "photo.png"
    picture.save(path)
    one = Recognizer(bundle_path, detector=finder(boxes))
    answers = [
        one.predict(source)
        for source in (image, picture, path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()))
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].labels == ["angry", "happy"]
    assert list(one.predict_many([path, image])) == answers[:2]
    with pytest.raises(InputError, match=r"missing\.png"):
        one.predict(tmp_path / "missing.png")


def test_predict_many_is_lazy(classifier: Recognizer) -> None:
    seen = []

    def images() -> object:
        for label in ("sad", "fear"):
            seen.append(label)
            yield standin.face(label)

    stream = classifier.predict_many(images())
    assert seen == []
    assert next(stream).labels == ["sad"]
    assert seen == ["sad"]


def test_views_without_a_temperature_are_refused(bundle_path: Path, classifier: Recognizer) -> None:
    with pytest.raises(InputError, match=r"not calibrated for view 'rot8'; choose from: .*flip"):
        Recognizer(bundle_path, views="rot8")
    with pytest.raises(InputError, match="tencrop@40"):
        classifier.classify(noise(1), views="tencrop@40")
    with pytest.raises(UnknownNameError, match="did you mean 'flip'"):
        classifier.classify(noise(1), views="flop")
    assert Recognizer(bundle_path, detector=None, views="flip").classify(noise(3)) == classifier.classify(
        noise(3), views="flip"
    )


@pytest.mark.parametrize("options", [{"threads": 0}, {"threshold": 1.2}, {"detector": "centreface"}, {"detector": 7}])
def test_impossible_options_are_refused(bundle_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Recognizer(bundle_path, **options)  # type: ignore[arg-type]


def test_the_threshold_can_be_set(bundle_path: Path) -> None:
    grey = np.full((1, 48, 48), 90, np.uint8)
    assert Recognizer(bundle_path, detector=None, threshold=0.1).classify(grey).decided.all()


def test_colour_bundles_see_colours_in_rgb_order(tmp_path: Path) -> None:
    spec = InputSpec(48, 3, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    path = standin.write(tmp_path / "rgb.onnx", standin.graph(channels=3), input=spec)
    one = Recognizer(path, detector=None)
    red = np.zeros((1, 48, 48, 3), np.uint8)
    red[:, :, 18:24, 0] = 255  # strip 3 of the first channel, the only one with weights for the first eight rows
    assert one.classify(red).labels == ["happy"]
    assert one.classify(red[..., ::-1]).confidence[0] < 0.5
    assert one.classify(red[..., 0]).labels == ["happy"]  # grey is repeated


def test_equal_models_share_one_session_until_nobody_needs_it(bundle_path: Path) -> None:
    first, second = (Recognizer(bundle_path, detector=None, threads=1).warm_up() for _ in range(2))
    assert first._network is second._network
    assert Recognizer(bundle_path, detector=None, threads=2).warm_up()._network is not first._network
    count = len(network._shared)
    del first, second
    gc.collect()
    assert len(network._shared) < count


def test_no_session_before_the_first_call(bundle_path: Path) -> None:
    assert Recognizer(bundle_path)._network is None


def test_threads_may_share_a_recogniser(bundle_path: Path) -> None:
    image, boxes = standin.photograph(LABELS)
    one = Recognizer(bundle_path, detector=finder(boxes), threads=1)
    answers: list[Expressions] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        answers.extend(one.predict(image) for _ in range(5))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 30
    assert all(answer.labels == LABELS for answer in answers)


def test_a_recogniser_can_be_pickled(classifier: Recognizer) -> None:
    classifier.warm_up()
    copy = pickle.loads(pickle.dumps(classifier))
    assert copy.classify(noise(3)) == classifier.classify(noise(3))


def test_a_bundle_object_is_a_model(bundle_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    assert Recognizer(bundle, detector=None).card == bundle.card
    assert "standin" in repr(Recognizer(bundle, detector=None))


@pytest.mark.parametrize(
    ("graph", "card", "message"),
    [
        ({"classes": 8}, {}, "7 labels"),
        ({"channels": 3}, {}, "card says"),
        ({"batch": 1}, {}, "free batch size"),
    ],
)
def test_a_graph_that_contradicts_its_card_is_refused(
    tmp_path: Path, graph: dict[str, object], card: dict[str, object], message: str
) -> None:
    path = standin.write(tmp_path / "odd.onnx", standin.graph(**graph), **card)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=message):
        Recognizer(path, detector=None).warm_up()


def test_a_model_that_answers_nan_is_unusable(tmp_path: Path) -> None:
    from onnx import helper, load_from_string, numpy_helper

    model = load_from_string(standin.graph())
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(np.full((8, 7), np.nan, np.float32), "weights"))
    assert helper
    path = standin.write(tmp_path / "nan.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="NaN"):
        Recognizer(path, detector=None).classify(noise(1))


def test_a_path_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.onnx"):
        Recognizer(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(BundleError):
        Recognizer(tmp_path / "text.onnx")


def test_shared_networks_are_told_apart_by_weights(tmp_path: Path, bundle_path: Path) -> None:
    other = standin.write(tmp_path / "other.onnx", standin.graph(embedding=False))
    assert shared_network(read_bundle(other), 1) is not shared_network(read_bundle(bundle_path), 1)


@pytest.mark.parametrize("nothing", [None, 3, "a.jpg", b"bytes", {"a": 1}, [None], ["a.jpg"]])
def test_what_is_no_crops_is_said(bundle_path: Path, nothing: object) -> None:
    with pytest.raises(InputError):
        Recognizer(bundle_path, detector=None).classify(nothing)  # type: ignore[arg-type]


def test_logits_are_what_the_temperature_divides(bundle_path: Path) -> None:
    recognizer = Recognizer(bundle_path, detector=None)
    crops = np.stack([standin.face("sad"), standin.face("fear")])
    scores = recognizer.logits(crops).astype(float) / recognizer.card.temperatures["one"]
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(recognizer.classify(crops).probabilities, expected, atol=1e-6)
