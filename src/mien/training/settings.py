"""The groups of a recipe: augmentation, optimiser, schedule, loss, beginning, teacher and search."""

from __future__ import annotations

from dataclasses import dataclass

from mien.training.values import Checked, later


@dataclass(frozen=True)
class Augment(Checked):
    """How training faces vary; drawn anew for each face at each visit, on the device.

    Args:
        flip: probability of a mirror image.
        vertical_flip: probability of turning the face upside down.
        rotate: rotation in ± degrees, uniform.
        rotate_probability: probability that a face is rotated.
        scale: area of the window that is enlarged to the face, relative to the face, uniform. Above 1 zooms out.
        aspect: aspect ratio of that window, log-uniform.
        translate: shift in ± fractions of the side, in x and in y, uniform.
        translate_probability: probability that a face is shifted.
        brightness: offset in ± fractions of full scale, uniform.
        contrast: gain in 1 ± this, uniform, about mid-grey.
        erase_probability: probability that one rectangle is filled (random erasing).
        erase_area: smallest and largest area of the rectangle as a fraction of the face.
        outside: what lies beyond the border of a face: its ``edge`` pixels, repeated, or ``black``.
        crops: how the network's ``size`` is cut from faces of ``resize`` px: ``random``, ``centre``, ``five`` or
            ``ten`` (each face enters the batch that many times).
        mixup: α of mixup's Beta distribution; 0 is off.
        cutmix: α of CutMix's; 0 is off. With both on, each batch draws one of them.
        affine_probability: probability that a face is rotated, scaled and shifted at all: one draw for all of it.
        light_probability: probability that brightness and contrast change.
        noise: largest standard deviation of Gaussian noise as a fraction of full scale, uniform from 0.
        blur: largest standard deviation of a Gaussian blur in pixels of the network's input, uniform from 0.
        degrade_probability: probability that a face gets noise or blur: one of those that are on, drawn evenly.
        equalise_probability: probability that the grey values of a face are equalised, its histogram made flat.
        size: side in pixels of what the network learns from; 0 is the input's. Smaller ones cost less, and a stage with
            the input's own brings the network back to it. Epochs are judged on faces of the input's size, which a
            network that has seen small ones alone hardly knows: let such a stage keep its last one, ``keep = "last"``.
            Pixels are looked up, not averaged: go down to half.
        window: where the window of ``scale`` and ``aspect`` lies: in the ``centre`` of the face, or anywhere
            ``inside`` it, as torchvision's RandomResizedCrop has it: one that does not fit is drawn again, up to nine
            times, and then the whole face is taken.
        light: what brightness and contrast are: an ``offset`` and a gain about mid-grey of what the network sees, or
            each a ``factor`` on the face before it is moved, 1 ± this, as torchvision's ColorJitter has it: brightness
            about black and contrast about the face's mean, in either order, cut to full scale.
        erase_fill: what the rectangle is filled with: one random ``grey``, or ``black``.
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    rotate: float = 0.0
    rotate_probability: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    translate_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase_probability: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.33)
    outside: str = "edge"
    crops: str = "random"
    mixup: float = 0.0
    cutmix: float = 0.0
    affine_probability: float = later(1.0)
    light_probability: float = later(1.0)
    noise: float = later(0.0)
    blur: float = later(0.0)
    degrade_probability: float = later(1.0)
    equalise_probability: float = later(0.0)
    size: int = later(0)
    window: str = later("centre")
    light: str = later("offset")
    erase_fill: str = later("grey")


@dataclass(frozen=True)
class Optim(Checked):
    """The optimiser: ``sgd``, ``adam``, ``adamw``, ``radam`` or ``rmsprop``.

    Args:
        name: see above.
        lr: the learning rate that the schedule multiplies.
        momentum: of ``sgd`` and ``rmsprop``.
        nesterov: Nesterov's momentum, of ``sgd``.
        betas: decay of the two moments, of the others.
        weight_decay: added to the gradient; ``adamw`` takes it from the weights instead.
        decay_norms: also decays biases and normalisation weights, as plain PyTorch does.
        decoupled: ``radam`` takes the decay from the weights as well, as ``adamw`` does.
    """

    name: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_norms: bool = False
    decoupled: bool = later(False)


@dataclass(frozen=True)
class Schedule(Checked):
    """The learning rate over time: constant, cosine, onecycle, restarts, step, plateau or inverse.

    Args:
        name: see above. ``plateau`` watches what the recipe's ``monitor`` says after each epoch.
        warmup: epochs of linear warm-up (not for ``onecycle``; of each cycle for ``restarts``).
        final: last learning rate over the first (cosine, onecycle, restarts).
        rise: share of the time in which ``onecycle`` rises, from lr / 25.
        factor: by which ``step`` and ``plateau`` multiply.
        patience: epochs without improvement before ``plateau`` multiplies.
        every: epochs between two multiplications of ``step``.
        after: epochs before the first multiplication of ``step``; 0 means ``every``.
        floor: smallest factor that ``step``, ``plateau`` and ``inverse`` reach.
        decay: ``inverse`` divides by 1 + decay · steps, as Keras' optimisers do.
        cycle: epochs of one cosine of ``restarts``, with fractions.
    """

    name: str = "cosine"
    warmup: float = 0.0
    final: float = 0.0
    rise: float = 0.3
    factor: float = 0.1
    patience: int = 5
    every: int = 30
    after: int = 0
    floor: float = later(0.0)
    decay: float = later(0.0)
    cycle: float = later(10.0)


@dataclass(frozen=True)
class Loss(Checked):
    """``cross_entropy`` or ``focal``.

    Args:
        name: see above.
        smoothing: label smoothing.
        gamma: exponent of the focal loss.
        class_weights: ``none`` or ``balanced`` (N / (classes · count)).
        targets: what is learnt: ``majority`` (each face's label, which of FER+ is what most raters say), or from
            raters' votes ``probability`` (one expression, drawn from them in each epoch), ``crossentropy`` (their
            shares) or ``multi-target`` (any expression that enough of them name is right).
        share: of the votes in the target; the rest is the face's label.
    """

    name: str = "cross_entropy"
    smoothing: float = 0.0
    gamma: float = 2.0
    class_weights: str = "none"
    targets: str = later("majority")
    share: float = later(1.0)


@dataclass(frozen=True)
class Start(Checked):
    """What the weights begin as.

    Args:
        kind: ``fresh`` (drawn from the seed), ``pretrained`` (the card's published weights) or ``run``.
        weights: hash of what they were, filled in when a training begins.
    """

    kind: str = "fresh"
    weights: str = ""


@dataclass(frozen=True)
class Distill(Checked):
    """Learning from a teacher (Hinton et al. 2015): weight · T² · KL(teacher ‖ student) + (1 − weight) · loss.

    Args:
        weight: share of the teacher, α; 0 is off.
        temperature: T, by which both divide their logits.
        targets: what the teacher looks at: the same augmented and mixed ``views`` as the student, or the plain
            ``face``, once for the whole training.
        teacher: hash of the teacher's weights, filled in when a training begins.
    """

    weight: float = 0.0
    temperature: float = 4.0
    targets: str = "views"
    teacher: str = ""


@dataclass(frozen=True)
class Searched(Checked):
    """The search that a recipe came from, filled in by `mien.training.search`.

    What was trained with the very seed of the trials was chosen by its luck on the selection split as well as by its
    recipe; the test split stays sealed for it.

    Args:
        study: name of the search; empty where there was none.
        seed: that its trials were trained with.
    """

    study: str = ""
    seed: int = 0

    def by(self, seed: int) -> str:
        """The search that a training with ``seed`` is a trial of, or as good as one; empty where it is none.

        Example:
            >>> Searched("cnn-1a2b", seed=0).by(0), Searched("cnn-1a2b", seed=0).by(1)
            ('cnn-1a2b', '')
        """
        return self.study if seed == self.seed else ""
