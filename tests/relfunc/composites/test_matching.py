"""Rows match on all that is known of an operation: hyper-parameters, position, and the modules it is in."""

import copy
import pickle
import re
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf
from relfunc import composites, rules
from relfunc.composites.named import Composite, Operation, Row, having
from relfunc.composites.toml import from_toml, to_toml

from ..reference import cnn, filled, resnet18


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)) + x)


class Gated(Block):
    """A subclass, with a name of its own."""


class Separable(nn.Conv2d):
    """A layer of a user's class."""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, (5, 3), stride=2, padding="valid"), nn.BatchNorm2d(8), nn.ReLU())
        self.pool, self.mean = nn.MaxPool2d(3, stride=1, padding=1), nn.AvgPool2d((2, 1))
        self.blocks = nn.Sequential(Block(8), Gated(8))
        self.depthwise = Separable(8, 8, 3, padding="same", groups=8, dilation=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=(2, 1), groups=2)
        self.head, self.out = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(self.stem(x)))
        x = self.up(self.mean(self.depthwise(x))).mean((2, 3))
        return self.out(torch.relu(self.head(x)))


def net() -> nn.Module:
    return filled(Net(), seed=3)


def example() -> Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 15 * 14, dtype=torch.float64).reshape(2, 3, 15, 14)


def described(model: nn.Module) -> list[Operation]:
    """What a composite of a user's own is asked."""
    asked = []

    def composite(operation: Operation) -> rules.Elementary:
        asked.append(operation)
        return rules.gradient()

    rf.lrp(model, composite)
    return asked


def paths(model: nn.Module, *rows: Row) -> list[str]:
    """Paths of the operations that get the rule of a row, which is no other's."""
    composite = Composite("rows", rows, (Row("type", "*", rules.gradient()),))
    table = rf.plan(model, composite)
    return table["module"][table["matched"] != "type *"].tolist()


# --- what is seen --------------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["trace", "export"])
def test_hyper_parameters_are_those_of_the_module(via):
    model = net()
    seen = {o.path: o for o in described(rf.capture(model, via=via, example_inputs=example())) if o.kind != "move"}
    checked = 0
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            padding = {"valid": (0, 0)}.get(module.padding, module.padding)
            assert (seen[path].kernel_size, seen[path].stride) == (module.kernel_size, module.stride)
            assert (seen[path].padding, seen[path].dilation) == (padding, module.dilation)
            assert (seen[path].groups, seen[path].weight_shape) == (module.groups, tuple(module.weight.shape))
            assert (seen[path].in_channels, seen[path].out_channels) == (module.in_channels, module.out_channels)
            checked += 1
        elif isinstance(module, nn.Linear):
            assert (seen[path].in_channels, seen[path].out_channels) == (module.in_features, module.out_features)
            assert seen[path].kernel_size is seen[path].groups is None
            checked += 1
    assert checked == 7
    assert (seen["pool"].kernel_size, seen["pool"].stride, seen["pool"].padding) == ((3, 3), (1, 1), (1, 1))
    assert (seen["mean"].kernel_size, seen["mean"].stride, seen["mean"].padding) == ((2, 1), (2, 1), (0, 0))
    assert seen["stem.2"].weight_shape is seen["stem.2"].kernel_size is None


@pytest.mark.parametrize(
    ("path", "from_input", "from_output"),
    [("stem.0", 0, 6), ("blocks.0.conv", 1, 5), ("blocks.1.conv", 2, 4), ("up", 4, 2), ("head", 5, 1), ("out", 6, 0)],
)
def test_distances_count_layers_on_the_longest_way(path, from_input, from_output):
    (found,) = [o for o in described(net()) if o.path == path]
    assert (found.from_input, found.from_output) == (from_input, from_output)


def test_the_index_counts_what_does_not_only_move_values():
    class Moving(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.exp(x).flatten(1).view(-1)).sin()

    assert [(o.name, o.index) for o in described(Moving().eval())] == [
        ("exp", 0),
        ("flatten", 1),
        ("view", 1),
        ("relu", 1),
        ("sin", 2),
    ]


def test_a_weight_that_depends_on_the_input_has_no_shape():
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, x[:, :, :3, :3])

    (conv,) = [o for o in described(Dynamic().eval()) if o.name == "conv2d"]
    assert conv.weight_shape is conv.kernel_size is conv.in_channels is None


# --- what matches --------------------------------------------------------------------------------------

RULE = rules.gradient()
ROWS = {
    "kernel of a function": (Row("where", lambda o: o.kernel_size == (5, 3), RULE), ["stem.0"]),
    "a number for all axes": (Row("where", having(type="convolution", stride=2), RULE), ["stem.0"]),
    "a tuple": (Row("where", having(type="convolution", stride=(2, 1)), RULE), ["up"]),
    "depthwise": (Row("where", lambda o: (o.groups or 1) > 1 and o.groups == o.in_channels, RULE), ["depthwise"]),
    "padding by name": (Row("where", having(padding="same"), RULE), ["depthwise"]),
    "channels": (Row("where", having(in_channels=6), RULE), ["head"]),
    "last layer": (Row("where", having(type="linear", from_output=0), RULE), ["out"]),
    "early layers": (
        Row("where", lambda o: o.kind == "affine" and o.from_input < 2, RULE),
        ["stem.0", "blocks.0.conv"],
    ),
    "last of a type": (Row("last", "convolution", RULE), ["up"]),
    "last of several types": (Row("last", "linear|convolution", RULE), ["out"]),
    "a class": (Row("module", nn.MaxPool2d, RULE), ["pool"]),
    "a class by name": (Row("module", "MaxPool2d|AvgPool2d", RULE), ["pool", "mean"]),
    "a class by its whole name": (Row("module", "torch.nn.modules.pooling.AvgPool2d", RULE), ["mean"]),
    "subclasses": (
        Row("module", nn.Conv2d, RULE),
        ["stem.0", "blocks.0.conv", "blocks.1.conv", "depthwise"],
    ),
    "a user's class": (Row("module", Separable, RULE), ["depthwise"]),
    "what a module does itself": (Row("module", "Gated", RULE), ["blocks.1", "blocks.1"]),
    "what is in a module": (Row("within", Gated, RULE), ["blocks.1.conv", "blocks.1", "blocks.1"]),
    "within by name, subclasses too": (
        Row("within", "Block", RULE),
        ["blocks.0.conv", "blocks.0", "blocks.0", "blocks.1.conv", "blocks.1", "blocks.1"],
    ),
    "around, by a function": (
        Row("where", lambda o: o.type == "convolution" and ("blocks.0", Block) in o.around, RULE),
        ["blocks.0.conv"],
    ),
    "only what the rule is for": (
        Row("within", Block, rules.epsilon()),
        ["blocks.0.conv", "blocks.0", "blocks.1.conv", "blocks.1"],
    ),
}


@pytest.fixture(scope="module", params=["traced", "exported", "pickled", "saved"])
def captured(request, tmp_path_factory) -> nn.Module:
    via = "export" if request.param == "exported" else "trace"
    model = rf.capture(net(), via=via, example_inputs=example())
    if request.param == "pickled":
        return pickle.loads(pickle.dumps(model))
    if request.param == "saved":
        path = tmp_path_factory.mktemp("saved") / "model"
        model.save(path)
        return rf.Captured.load(path)
    return model


@pytest.mark.parametrize("name", ROWS)
def test_rows_match_in_every_form_of_a_model(name, captured):
    row, expected = ROWS[name]
    assert paths(captured, row) == expected


def test_the_class_of_a_saved_model_need_not_be_there(tmp_path):
    class Local(nn.Conv2d):
        pass

    rf.capture(nn.Sequential(Local(3, 2, 1), nn.ReLU()).eval()).save(tmp_path / "model")
    loaded = rf.Captured.load(tmp_path / "model")
    assert paths(loaded, Row("module", "Local", RULE)) == paths(loaded, Row("module", nn.Conv2d, RULE)) == ["0"]
    with pytest.warns(composites.CompositeWarning, match="no Local"):
        assert paths(loaded, Row("module", Local, RULE)) == []  # another class, if of the same name


@cache
def both(make: Callable[[], nn.Module]) -> list[nn.Module]:
    model, x = make(), example() if make is net else torch.rand(2, 3, 32, 32, dtype=torch.float64)
    return [rf.capture(model, via="trace", example_inputs=x), rf.capture(model, via="export", example_inputs=x)]


@pytest.mark.parametrize("make", [cnn, resnet18, net])
@pytest.mark.parametrize(
    "composite",
    [
        composites.epsilon_gamma_box(-2.0, 2.5),
        composites.mixed(
            composites.last(rules.wsquare()),
            composites.by_where({having(from_input=2, kind="affine"): rules.flat()}),
            composites.by_module({nn.Conv2d: rules.zplus()}),
            composites.within({nn.Sequential: rules.norm()}),
            composites.by_where({lambda o: o.index % 2 == 0 and o.kind == "activation": rules.gradient()}),
            composites.epsilon_plus(),
        ),
    ],
    ids=["first", "all"],
)
def test_traced_and_exported_models_get_the_same_rules(make, composite):
    tables = [rf.plan(captured, composite) for captured in both(make)]
    one, other = (
        table[table["type"] != "move"][["module", "type", "rule", "matched"]].to_numpy().tolist() for table in tables
    )
    assert one == other
    assert len({matched for *_, matched in one}) > 3


def test_a_rule_by_hyper_parameter_is_that_by_name():
    x = example()
    by = [composites.by_where({having(groups=8): rules.flat()}), composites.by_name({"depthwise": rules.flat()})]
    found = [rf.gradient(rf.lrp(net(), composites.mixed(c, composites.epsilon_plus())))(x, 1)[1] for c in by]
    assert torch.equal(*found)
    assert not torch.equal(found[0], rf.gradient(rf.lrp(net(), composites.epsilon_plus()))(x, 1)[1])


def test_the_plan_says_what_matched():
    def is_head(operation: Operation) -> bool:
        return operation.path == "head"

    composite = composites.mixed(composites.by_where({is_head: rules.flat()}), composites.epsilon_plus())
    table = rf.plan(net(), composite).set_index("module")["matched"]
    assert (table["head"], table["out"], table["up"]) == ("where is_head", "type linear", "type convolution")
    assert set(rf.plan(net(), lambda operation: rules.gradient())["matched"]) == {"<lambda>"}


# --- rows as values ------------------------------------------------------------------------------------

VALUES = composites.mixed(
    composites.by_where({having(kernel_size=[1, 1], groups=1, type="convolution"): rules.zplus()}),
    composites.by_module({"Conv2d|Linear": rules.epsilon()}),
    composites.within({"Block": rules.flat()}),
    composites.last(rules.wsquare()),
)


def test_conditions_are_values():
    twins = [pickle.loads(pickle.dumps(VALUES)), copy.deepcopy(VALUES), from_toml(to_toml(VALUES))]
    assert twins == [VALUES] * 3
    assert {hash(twin) for twin in twins} == {hash(VALUES)}
    assert "where kernel_size=(1, 1), groups=1, type='convolution'" in str(VALUES)


def test_a_class_goes_through_toml_by_its_whole_name():
    read = from_toml(to_toml(composites.by_module({Separable: rules.flat(), nn.Linear: rules.epsilon()})))
    assert [row.pattern for row in read.rows] == [f"{__name__}.Separable", "torch.nn.modules.linear.Linear"]
    assert paths(net(), *read.rows) == ["depthwise", "head", "out"]


@pytest.mark.parametrize("function", [lambda o: True, str.isidentifier])
def test_a_function_does_not_go_through_toml(function):
    with pytest.raises(composites.CompositeError, match=r"function of your own, which TOML cannot hold.*having"):
        to_toml(composites.by_where({function: rules.flat()}))


@pytest.mark.parametrize("value", [None, frozenset({1}), float("inf"), (1, None)])
def test_a_condition_that_toml_cannot_hold_is_named(value):
    with pytest.raises(composites.CompositeError, match=r"^groups=.* is no finite number, text.*TOML cannot hold"):
        to_toml(composites.by_where({having(groups=value): rules.flat()}))


def test_a_lambda_prints_with_its_line():
    assert re.search(
        r"where <lambda> test_matching\.py:\d+ +flat", str(composites.by_where({lambda o: 1: rules.flat()}))
    )


# --- what is refused, and warned of --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "pattern", "message"),
    [
        ("size", "*", "by 'size': give one of 'type', 'first', 'last'"),
        ("where", "linear", "a row by 'where' has the pattern 'linear': give a function"),
        ("type", nn.Linear, "a row by 'type' .* give types of operations"),
        ("name", len, "a row by 'name' .* give a shell-style pattern"),
        ("module", nn.Linear(1, 1), "a row by 'module' .* give a class of modules"),
        ("within", int, "a row by 'within' .* give a class of modules"),
    ],
)
def test_rows_that_could_match_nothing(by, pattern, message):
    with pytest.raises(composites.CompositeError, match=message):
        Row(by, pattern, RULE)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("kernelsize", "did you mean kernel_size"), ("colour", "it has node, name"), ("module", "it has node")],
)
def test_conditions_on_what_an_operation_does_not_have(name, hint):
    with pytest.raises(composites.CompositeError, match=f"no '{name}' that could be compared: {hint}"):
        having(**{name: 1})
    text = f'name = "a"\n[[rows]]\nby = "where"\npattern = {{{name} = 1}}\nrule = {{name = "flat"}}'
    with pytest.raises(composites.CompositeError, match=hint):
        from_toml(text)


def test_a_function_that_fails_is_named_with_the_operation():
    def is_wide(operation: Operation) -> bool:
        return operation.kernel_size[0] > 3

    with pytest.raises(composites.CompositeError, match=r"is_wide, by which.* 'relu' .*TypeError.*have is None"):
        rf.plan(nn.Sequential(nn.ReLU()).eval(), composites.by_where({is_wide: RULE}))
    first = composites.mixed(composites.by_type({"*": RULE}), composites.by_where({is_wide: RULE}))
    with pytest.warns(composites.CompositeWarning, match="'.*is_wide' matches no operation"):
        rf.plan(nn.Sequential(nn.ReLU()).eval(), first)  # a function is not asked of what an earlier row takes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row("module", "Lineer", RULE), "the class 'Lineer' matches no operation: did you mean 'Linear'"),
        (Row("module", nn.LSTM, RULE), "the class 'LSTM' matches no operation: no module is of such a class"),
        (Row("within", "Blok", RULE), "the class 'Blok' matches no operation: did you mean 'Block'"),
        (Row("module", nn.ReLU, rules.epsilon()), "the class 'ReLU' matches no operation: 'stem.2' has no operation"),
        (Row("where", having(stride=7), RULE), "the condition 'stride=7' matches no operation"),
    ],
)
def test_rows_that_match_nothing_warn(row, message):
    with pytest.warns(composites.CompositeWarning, match=re.escape(message)):
        rf.plan(net(), composites.mixed(Composite("mine", (row,)), composites.epsilon_plus()))
