"""Models of packages in use, random weights: relfunc's forward is theirs, and its gradient autograd's."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf

from ..conformance import GRADIENT, TOLERANCE, cotangents, difference
from ..reference import filled

pytestmark = pytest.mark.slow

ENCODER = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 2}
EXTRA = "one of relfunc's extra 'packages'"


def _of(package: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(package, reason=EXTRA, exc_type=ImportError)


def _lora() -> nn.Module:
    peft = _of("peft")
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return peft.get_peft_model(layers, peft.LoraConfig(r=2, target_modules=["0", "2"], lora_dropout=0.1))


def _tabular(**options: Any) -> nn.Module:
    return _of("fastai.tabular.model").TabularModel([(5, 3), (4, 2)], 4, 2, [16, 8], **options)


def _ids() -> Tensor:
    return torch.tensor([[0, 3], [4, 1]])


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "segmentation Unet": (lambda: _of("segmentation_models_pytorch").Unet(**ENCODER), ((2, 3, 64, 64),)),
    "segmentation UnetPlusPlus": (
        lambda: _of("segmentation_models_pytorch").UnetPlusPlus(**ENCODER),
        ((2, 3, 64, 64),),
    ),
    "segmentation FPN": (lambda: _of("segmentation_models_pytorch").FPN(**ENCODER), ((2, 3, 64, 64),)),
    "segmentation DeepLabV3Plus": (
        lambda: _of("segmentation_models_pytorch").DeepLabV3Plus(**ENCODER),
        ((2, 3, 64, 64),),
    ),
    "segmentation MAnet": (lambda: _of("segmentation_models_pytorch").MAnet(**ENCODER), ((2, 3, 64, 64),)),
    "segmentation Linknet": (lambda: _of("segmentation_models_pytorch").Linknet(**ENCODER), ((2, 3, 64, 64),)),
    "segmentation PSPNet": (lambda: _of("segmentation_models_pytorch").PSPNet(**ENCODER), ((2, 3, 64, 64),)),
    "segmentation PAN": (lambda: _of("segmentation_models_pytorch").PAN(**ENCODER), ((2, 3, 128, 128),)),
    "monai UNet 3D": (
        lambda: _of("monai.networks.nets").UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=2),
        ((2, 1, 16, 16, 16),),
    ),
    "monai UNet 2D, batch norm": (
        lambda: _of("monai.networks.nets").UNet(2, 1, 2, (4, 8, 16), (2, 2), norm="BATCH"),
        ((2, 1, 32, 32),),
    ),
    "monai BasicUNet": (
        lambda: _of("monai.networks.nets").BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 8, 4)),
        ((2, 1, 32, 32, 32),),
    ),
    "monai SegResNet": (lambda: _of("monai.networks.nets").SegResNet(3, 8, 1, 2), ((2, 1, 16, 16, 16),)),
    "monai DenseNet121": (lambda: _of("monai.networks.nets").DenseNet121(3, 1, 2), ((2, 1, 32, 32, 32),)),
    "video r3d_18": (lambda: _of("torchvision.models.video").r3d_18(num_classes=3), ((2, 3, 4, 32, 32),)),
    "video mc3_18": (lambda: _of("torchvision.models.video").mc3_18(num_classes=3), ((2, 3, 4, 32, 32),)),
    "video r2plus1d_18": (lambda: _of("torchvision.models.video").r2plus1d_18(num_classes=3), ((2, 3, 4, 32, 32),)),
    "torchvision fcn_resnet50": (
        lambda: _of("torchvision.models.segmentation").fcn_resnet50(weights_backbone=None, num_classes=3),
        ((2, 3, 48, 48),),
    ),
    "torchvision deeplabv3_resnet50": (
        lambda: _of("torchvision.models.segmentation").deeplabv3_resnet50(weights_backbone=None, num_classes=3),
        ((2, 3, 48, 48),),
    ),
    "torchvision lraspp": (
        lambda: _of("torchvision.models.segmentation").lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=3),
        ((2, 3, 48, 48),),
    ),
    "timm resnet18d": (lambda: _of("timm").create_model("resnet18d", num_classes=3), ((2, 3, 64, 64),)),
    "timm efficientnet_b0": (lambda: _of("timm").create_model("efficientnet_b0", num_classes=3), ((2, 3, 64, 64),)),
    "timm convnext_atto": (lambda: _of("timm").create_model("convnext_atto", num_classes=3), ((2, 3, 64, 64),)),
    "fastai tabular": (_tabular, (_ids(), (2, 4))),
    "fastai tabular, linear last": (lambda: _tabular(lin_first=False, y_range=(0, 1)), (_ids(), (2, 4))),
    "peft LoRA": (_lora, ((2, 6),)),
}


@pytest.mark.parametrize("name", MODELS)
def test_output_and_gradient_are_the_model_s(name):
    make, inputs = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages, when they are imported and used
        torch.manual_seed(0)
        model = filled(make(), seed=3)
        generator = torch.Generator().manual_seed(1)
        xs = tuple(
            x if isinstance(x, Tensor) else torch.randn(x, dtype=torch.float64, generator=generator) for x in inputs
        )
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in xs]
        wanted = model(*leaves)
        starts, ys = (torch.utils._pytree.tree_leaves(part) for part in (cotangents(wanted), wanted))
        floating = [x for x in leaves if x.is_floating_point()]
        gradients = torch.autograd.grad(ys, floating, starts)
    assert all(g.isfinite().all() and g.any() for g in gradients)
    f = rf.lrp(model, GRADIENT, example_inputs=xs)
    output, relevance = rf.gradient(f)(xs if len(xs) > 1 else xs[0], cotangents)
    relevances = relevance if isinstance(relevance, tuple) else (relevance,)
    output, wanted = (dict(y) if isinstance(y, dict) else y for y in (output, wanted))  # of whatever class of dict
    assert difference(output, wanted) <= TOLERANCE
    found = tuple(r for r, x in zip(relevances, xs, strict=True) if x.is_floating_point())
    assert difference(found, gradients) <= TOLERANCE
