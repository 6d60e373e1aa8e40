"""Time and memory of one attribution of a transformer by AttnLRP, beside the plain gradient and LXT.

Each contender has a process of its own, since LXT changes the classes of models for the whole process; the processes
take turns.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module, util
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision import models

import relfunc as rf

from .memory import peak_of
from .timing import Timing, summary, timed

AT_MOST: Final = 1.2, 1.15  # times the plain gradient's time and memory
TOKENS, WORDS = 256, 32_000

Attribute = Callable[[], Any]


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    rows = []
    for name, (batch, needs) in {"vit_b_16": (8, ()), "llama, 12 layers": (1, ("transformers",))}.items():
        missing = [package for package in needs if util.find_spec(package) is None]
        if missing:
            rows.append({"model": name, "skipped": f"{missing[0]} is not installed"})
        else:
            rows.append(_compare(name, 1 if quick else batch, 3 if quick else 7, device))
    return rows


def _compare(name: str, batch: int, rounds: int, device: str) -> dict[str, Any]:
    contenders = [key for key in ("gradient", "relfunc", "lxt") if key != "lxt" or _has_lxt(name)]
    with ExitStack() as stack:
        workers = {key: stack.enter_context(_worker(key, name, batch, device)) for key in contenders}
        peaks = {key: worker("peak") for key, worker in workers.items()}
        taken: dict[str, list[tuple[float, float]]] = {key: [] for key in contenders}
        for _ in range(rounds):
            for key, worker in workers.items():
                taken[key].append(tuple(worker("time")))
    timings = {key: Timing(*map(tuple, zip(*pairs, strict=True))) for key, pairs in taken.items()}
    columns, memory = summary(timings, "gradient"), peaks["relfunc"] / peaks["gradient"]
    return {
        "model": name,
        "batch": batch,
        "device": device,
        **columns,
        **{f"{key} MiB": peak for key, peak in peaks.items()},
        "relfunc/gradient memory": memory,
        "target": "≤ {} and {}".format(*AT_MOST),
        "met": columns["relfunc/gradient cpu"] <= AT_MOST[0] and memory <= AT_MOST[1],
    }


def _has_lxt(name: str) -> bool:
    """Whether LXT has rules for a model, and is installed beside a release of transformers that it can be used with."""
    if not name.startswith("llama"):
        return False
    try:
        import_module("lxt.efficient")
    except ImportError:
        return False
    return True


@contextmanager
def _worker(*arguments: Any) -> Iterator[Callable[[str], Any]]:
    """Start a process that makes one attribution whenever it is asked for its peak, first of all, or its time."""
    command = [sys.executable, "-m", __name__, json.dumps(arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        requests, answers = process.stdin, process.stdout
        if requests is None or answers is None:
            raise RuntimeError("a process without pipes answers nothing")

        def ask(what: str) -> Any:
            requests.write(f"{what}\n")
            return json.loads(answers.readline())

        try:
            yield ask
        finally:
            requests.close()


# --- in a process of its own --------------------------------------------------------------------------


def _answer(contender: str, name: str, batch: int, device: str) -> None:
    torch.manual_seed(0)
    network, x = _vit(batch, device) if name.startswith("vit") else _llama(contender, batch, device)
    attribute = {"gradient": _gradient, "relfunc": _relfunc, "lxt": _gradient_of_embedded}[contender](network, x)
    for line in sys.stdin:
        answer = peak_of(attribute, device) if line == "peak\n" else timed(attribute, device)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _vit(batch: int, device: str) -> tuple[nn.Module, Tensor]:
    network: Any = models.vit_b_16(weights=None).eval()
    nn.init.normal_(network.heads[0].weight, std=0.02)  # it is zero until it is trained
    return network.to(device), torch.randn(batch, 3, 224, 224).to(device)


def _llama(contender: str, batch: int, device: str) -> tuple[nn.Module, Tensor]:
    transformers: Any = import_module("transformers")
    if contender == "lxt":
        modeling = import_module("transformers.models.llama.modeling_llama")
        import_module("lxt.efficient").monkey_patch(modeling)
    config = transformers.LlamaConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        intermediate_size=2048,
        vocab_size=WORDS,
        use_cache=False,
    )
    ids = torch.randint(0, WORDS, (batch, TOKENS))
    return transformers.LlamaForCausalLM(config).eval().to(device), ids.to(device)


def _relfunc(network: nn.Module, x: Tensor) -> Attribute:
    if not x.is_floating_point():
        explain = rf.gradient(rf.lrp(network, rf.composites.attnlrp(), example_inputs={"input_ids": x}))
        return lambda: explain({"input_ids": x}, (-1, 42))
    explain = rf.gradient(rf.lrp(network, rf.composites.attnlrp(), example_inputs=x))
    return lambda: explain(x, 42)


def _gradient(network: nn.Module, x: Tensor) -> Attribute:
    if not x.is_floating_point():
        return _gradient_of_embedded(network, x)

    def attribute() -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        output = network(leaf)
        return output.detach(), torch.autograd.grad(output[:, 42].sum(), leaf)[0]

    return attribute


def _gradient_of_embedded(network: nn.Module, ids: Tensor) -> Attribute:
    """Input times gradient at the embedded tokens: of a model that LXT has changed, its relevance."""
    table: Any = network.get_submodule("model.embed_tokens")

    def attribute() -> tuple[Tensor, Tensor]:
        leaf = table(ids).detach().requires_grad_()
        output = network(inputs_embeds=leaf).logits
        gradient = torch.autograd.grad(output[:, -1, 42].sum(), leaf)[0]
        return output.detach(), (leaf.detach() * gradient).sum(-1)

    return attribute


if __name__ == "__main__":
    _answer(*json.loads(sys.argv[1]))
