from __future__ import annotations

import pytest
import timm
import torch

from mien import systems
from mien.errors import RecipeError


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "cbam-resnet50"])
def test_early_strides_can_be_taken_out(name: str) -> None:
    card = systems.card(name)
    for stride, side in ((4, 2), (2, 4), (1, 8)):
        module = systems.create(name, **{**card.tiny, "stem_stride": stride}).eval()
        sides: list[int] = []
        module.trunk.layer4.register_forward_hook(lambda _, inputs, out, kept=sides: kept.append(out.shape[-1]))
        with torch.no_grad():
            module(torch.zeros(1, 3, 64, 64))
        assert sides == [side]


def test_the_first_stride_of_efficientnet_can_be_taken_out() -> None:
    tiny = systems.card("efficientnet-b2").tiny
    assert systems.create("efficientnet-b2", **tiny).trunk.conv_stem.stride == (2, 2)
    assert systems.create("efficientnet-b2", **tiny, stem_stride=1).trunk.conv_stem.stride == (1, 1)
    with pytest.raises(RecipeError, match="stem_stride = 4: the stem reduces faces by 2"):
        systems.create("efficientnet-b2", **tiny, stem_stride=4)


@pytest.mark.parametrize("options", [{"depths": (1, 1, 1)}, {"widths": (4, 4, 8, 8, 8)}])
def test_residual_networks_have_four_stages(options: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(RecipeError, match="give 4 values, one for each stage"):
        systems.create("resnet50", **{**systems.card("resnet50").tiny, **options})


def test_every_block_of_cbam_resnet50_has_gates() -> None:
    with torch.device("meta"):
        module = systems.create("cbam-resnet50")
    gates = [part for part in module.modules() if type(part).__name__ == "Cbam"]
    assert len(gates) == 3 + 4 + 6 + 3


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "resnet101",
        "efficientnet-b2",
        "residual-masking-network",
        "segmentation-vgg19",
        "lhc-net",
    ],
)
def test_published_weights_fit_by_name_and_shape(name: str) -> None:
    card = systems.card(name)
    assert card.pretrained is not None
    with torch.device("meta"):
        ours = systems.create(name, **card.pretrained.options).trunk.state_dict()
        theirs = timm.create_model(card.pretrained.model, pretrained=False)
    classifier = timm.get_pretrained_cfg(card.pretrained.model).classifier
    kept = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith(classifier)}
    assert {key: value.shape for key, value in ours.items()} == kept
    assert timm.get_pretrained_cfg(card.pretrained.model).mean == pytest.approx(card.pretrained.mean)
    assert timm.get_pretrained_cfg(card.pretrained.model).std == pytest.approx(card.pretrained.std)
