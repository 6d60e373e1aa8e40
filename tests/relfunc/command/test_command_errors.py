"""What of a command is wrong is said in one line; help waits for nothing."""

import inspect
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import relfunc as rf
from relfunc.command import cli

from .given import fails, network, run

SIGNATURE = inspect.signature(rf.attribute_dataset).parameters
README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize(
    ("argv", "given", "message"),
    [
        ([], {"model": "network"}, "give torchvision:NAME, or MODULE:CALLABLE"),
        ([], {"model": "netwroks:network"}, "did you mean 'networks'"),
        ([], {"model": "networks:netwrok"}, "did you mean 'network'"),
        ([], {"model": "broken:network"}, "cannot be imported: ZeroDivisionError: division by zero"),
        ([], {"model": "networks:number"}, "is a int, not a torch.nn.Module"),
        ([], {"model": "networks:with_options"}, "could not be called without arguments: TypeError"),
        ([], {"model": "networks:failing"}, "ValueError: no such file: weights"),
        (["--weights", "DEFAULT"], {}, "weights are given by name for torchvision's models"),
        (["--checkpoint", "none.pt"], {}, "none.pt"),
        (["--checkpoint", "networks.py"], {}, "holds no state dict"),
        (
            ["--checkpoint", "other.pt"],
            {},
            "it lacks '4.weight' and 1 more; it has also '5.weight'; '0.weight' is (4,), not (4, 3, 3, 3)",
        ),
        (["--checkpoint", "objects.pt"], {}, "holds no state dict"),
        ([], {"model": "torchvision:resnet81"}, "did you mean 'resnet18'"),
        ([], {"model": "torchvision:resnet18"}, "random parameters: give --weights DEFAULT"),
        (["--weights", "DEFALUT"], {"model": "torchvision:resnet18"}, "has no weights 'DEFALUT': it has IMAGENET1K_V1"),
        (["--weights", "DEFAULT"], {"model": "torchvision:resnet18"}, "connect this machine"),
        (["--composite", "epsilon_pluss"], {}, "did you mean 'epsilon_plus'"),
        (["--composite", "epsilon_gamma_box"], {}, "missing a required argument: 'low'; its options are low, high"),
        (["--composite", "epsilon_plus(eps=1)"], {}, "unexpected keyword argument 'eps'; its options are epsilon"),
        (["--composite", "epsilon_plus(epsilon=f())"], {}, "give NAME or 'NAME(option=value)'"),
        (["--composite", "epsilon_plus("], {}, "give NAME or 'NAME(option=value)'"),
        (["--composite", "none.toml"], {}, "none.toml"),
        (["--composite", "network.toml"], {}, "the composite is not TOML"),
        (["--method", "gradeint"], {}, "did you mean 'gradient'"),
        (["--method", "smoothgrad(samples=0)"], {}, "samples is 0"),
        ([], {"data": "phtos"}, "no file or folder phtos"),
        ([], {"data": "networks.py"}, "neither a folder of images nor a netCDF file"),
        ([], {"transform": None}, "give --transform"),
        ([], {"transform": "to_tensor"}, "MODULE:NAME"),
        (["--target", "3"], {}, "out of range"),
        ([], {"data": "flat"}, "has no label"),
        (["--classes", "names.txt"], {}, "folder 'a' is none of the model's 2 classes"),
        (["--device", "cudda"], {}, "device 'cudda' cannot be used"),
        (["--out", "networks.py"], {}, "networks.py"),
        (["--scheduler", "tcp://localhost:1"], {}, 'pip install "relfunc[distributed]"'),
    ],
)
@pytest.mark.usefixtures("offline")
def test_errors_are_one_line(here, capsys, monkeypatch, argv, given, message):
    monkeypatch.setitem(sys.modules, "distributed", None)
    (here / "network.toml").write_text("[[rows")
    (here / "names.txt").write_text("ant\nbee\n")
    torch.save(
        {"state_dict": {"0.weight": torch.ones(4), "0.bias": torch.ones(4), "5.weight": torch.ones(1)}}, "other.pt"
    )
    torch.save(network(), "objects.pt")
    assert message in fails(capsys, *argv, **given)


def test_options_are_spelled_as_the_python_names(capsys):
    with pytest.raises(SystemExit):
        run("attribute", "--help")
    shown = capsys.readouterr().out
    names = set(SIGNATURE) - {"explain", "client", "progress", "attrs", "tokens"}
    assert [name for name in names if f"--{name.replace('_', '-')}" not in shown] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["attribute"],
        ["plan", "--out", "x.csv"],
        ["attribute", "--dtype", "int8"],
        ["audit", "--samples", "0"],
        ["attribute", "--target", "cat"],
        ["plan", "--model", "a:b", "--example-inputs", "1,a"],
    ],
)
def test_arguments_that_do_not_parse(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*argv)
    assert stop.value.code == 2
    assert "usage: relfunc" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("relfunc ")]
)
def test_commands_of_the_readme_parse(line):
    assert cli._parser().parse_args(shlex.split(line)[1:]).command


HELP = """
import sys
from relfunc.command.cli import main
try:
    main(["attribute", "--help"])
except SystemExit:
    print({"torch", "xarray", "numpy", "pandas"} & set(sys.modules))
"""


def test_help_waits_for_no_library():
    done = subprocess.run([sys.executable, "-c", HELP], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line(capsys):
    assert run("plan", "--model", "torch.nn:ReLU6") == 0
    said = capsys.readouterr().err
    assert said.startswith("relfunc: warning: composite epsilon_plus_flat matches no operation")
    assert said.count("\n") == 1
