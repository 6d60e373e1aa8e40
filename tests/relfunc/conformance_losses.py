"""Cases of conformance: the distances and losses of torch.nn, whose targets are constants."""

from typing import Final

import torch
from torch import Tensor, nn

from .conformance_modules import POINTS, TWO, args, floats, on


def _ids(*values: int) -> Tensor:
    return torch.tensor(values)


def _signs(*shape: int) -> Tensor:
    return torch.ones(shape).bernoulli(0.5, generator=torch.Generator().manual_seed(4)) * 2 - 1


REDUCTIONS = (args(), args(reduction="sum"), args(reduction="none"))

LOSSES: Final = [
    *on(((2, 4), (2, 4)), nn.CosineSimilarity, args(), args(dim=0)),
    *on(((2, 4), (2, 4)), nn.PairwiseDistance, args(), args(p=1.0), args(keepdim=True)),
    *(
        case
        for of in (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.PoissonNLLLoss)
        for case in on(POINTS, of, *REDUCTIONS, forward=lambda m, x: m.layer(x, m.target), target=floats(2, 4))
    ),
    *on(((2, 4), (2, 4)), nn.MSELoss, args(), remark="of two inputs"),
    *on(
        POINTS,
        nn.BCELoss,
        *REDUCTIONS,
        forward=lambda m, x: m.layer(x, m.target),
        target=floats(2, 4),
        domain=(0.1, 0.9),
    ),
    *on(
        POINTS,
        nn.BCEWithLogitsLoss,
        args(pos_weight=floats(4)),
        forward=lambda m, x: m.layer(x, m.target),
        target=floats(2, 4),
    ),
    *on(
        POINTS,
        nn.KLDivLoss,
        args(reduction="batchmean"),
        args(log_target=True, reduction="sum"),
        forward=lambda m, x: m.layer(x, m.target),
        target=floats(2, 4),
    ),
    *on(
        ((2, 4), (2, 4)),
        nn.GaussianNLLLoss,
        *REDUCTIONS,
        forward=lambda m, x, y: m.layer(x, m.target, y),
        target=floats(2, 4),
        domain=(0.1, 2.0),
    ),
    *(
        case
        for of in (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
        for case in on(
            POINTS,
            of,
            *REDUCTIONS,
            args(weight=floats(4)),
            forward=lambda m, x: m.layer(x, m.target),
            target=_ids(1, 3),
        )
    ),
    *on(
        POINTS,
        nn.CrossEntropyLoss,
        args(label_smoothing=0.1),
        args(ignore_index=3),
        forward=lambda m, x: m.layer(x, m.target),
        target=_ids(1, 3),
    ),
    *on(
        POINTS,
        nn.CrossEntropyLoss,
        args(),
        forward=lambda m, x: m.layer(x, m.target),
        target=floats(2, 4),
        remark="with probabilities",
    ),
    *on(
        TWO,
        nn.NLLLoss,
        args(),
        forward=lambda m, x: m.layer(x, m.target),
        target=torch.arange(84).view(2, 6, 7) % 4,
        remark="of images",
    ),
    *(
        case
        for of in (nn.HingeEmbeddingLoss, nn.SoftMarginLoss)
        for case in on(POINTS, of, *REDUCTIONS, forward=lambda m, x: m.layer(x, m.target), target=_signs(2, 4))
    ),
    *on(
        POINTS,
        nn.MultiLabelSoftMarginLoss,
        *REDUCTIONS,
        forward=lambda m, x: m.layer(x, m.target),
        target=(_signs(2, 4) + 1) / 2,
    ),
    *on(
        POINTS,
        nn.MultiLabelMarginLoss,
        *REDUCTIONS,
        forward=lambda m, x: m.layer(x, m.target),
        target=torch.tensor([[1, 3, -1, 0], [0, -1, 1, 2]]),
    ),
    *on(
        ((2,), (2,)),
        nn.MarginRankingLoss,
        args(margin=0.5),
        args(margin=9.0, reduction="none"),
        forward=lambda m, x, y: m.layer(x, y, m.target),
        target=torch.tensor([1.0, -1.0]),
        domain=(-3.0, 3.0),
    ),
    *on(
        ((2, 4), (2, 4)),
        nn.CosineEmbeddingLoss,
        *REDUCTIONS,
        forward=lambda m, x, y: m.layer(x, y, m.target),
        target=torch.tensor([1.0, -1.0]),
    ),
    *on(
        ((2, 4), (2, 4), (2, 4)),
        nn.TripletMarginLoss,
        args(margin=9.0),
        args(margin=9.0, swap=True),
        args(margin=9.0, p=1, reduction="none"),
    ),
    *on(
        ((2, 4), (2, 4), (2, 4)),
        nn.TripletMarginWithDistanceLoss,
        args(margin=9.0),
        args(margin=9.0, distance_function=nn.CosineSimilarity()),
    ),
    *on(
        (5, 2, 4),
        nn.CTCLoss,
        args(),
        args(reduction="none"),
        forward=lambda m, x: m.layer(x.log_softmax(2), m.target, m.lengths, m.targets),
        target=torch.tensor([[1, 2], [3, 1]]),
        lengths=_ids(5, 4),
        targets=_ids(2, 1),
    ),
    *on(
        (4, 6),
        nn.AdaptiveLogSoftmaxWithLoss,
        args(6, 9, [3, 6], div_value=2.0),
        forward=lambda m, x: m.layer(x, m.target),
        target=_ids(0, 4, 8, 2),
    ),
    *on(
        (4, 6),
        nn.AdaptiveLogSoftmaxWithLoss,
        args(6, 9, [3, 6], div_value=2.0),
        forward=lambda m, x: m.layer.log_prob(x),
        remark="log_prob",
    ),
    *on(
        POINTS,
        nn.LinearCrossEntropyLoss,
        args(4, 3),
        args(4, 3, bias=True, reduction="sum"),
        forward=lambda m, x: m.layer(x, m.target),
        target=_ids(1, 2),
    ),
]
