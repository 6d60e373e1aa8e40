"""Steps that were edited are computed again; names are data; nothing is silently taken for something else."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analysis
import relfunc as rf
from analysis import DataError, PlanError, Store, StoreError, chain, each, run, spray, step
from relfunc import schema
from relfunc.files.netcdf import save
from viewer.loading import open_project
from viewer.project.project import categories, clustering_names, points

SPRAY = spray(n_neighbors=4, n_eigenvalues=6, clusters=(2, 3), tsne=False)


def score(value: Any) -> xr.Dataset:
    return xr.Dataset({"v": xr.Variable((), float(value), {"role": "score"})})


def data(n: int = 40, classes: Any = ("a", "b"), **more: Any) -> xr.Dataset:
    heat = np.random.default_rng(0).normal(size=(n, 8, 8)).astype(np.float32)
    held = {"attribution": (("sample", "y", "x"), heat), "label": ("sample", np.arange(n) % len(classes)), **more}
    return xr.Dataset(held, {"class": list(classes)})


EDITS = {
    "a decorator": """
        import functools
        def dec(g):
            @functools.wraps(g)
            def w(d): return score(g(d)['v'] + {})
            return w
        @dec
        def f(d): return score(0)
        """,
    "a decorator with arguments": """
        def dec(n):
            def inner(g):
                def w(d): return score(n)
                return w
            return inner
        @dec({})
        def f(d): return None
        """,
    "a class constant": """
        class Settings:
            scale = {}
        def f(d): return score(Settings.scale)
        """,
    "a base's constant": """
        class Base: scale = {}
        class Settings(Base): pass
        def f(d): return score(Settings.scale)
        """,
    "a member of an enum": """
        import enum
        class Kind(enum.Enum):
            A = {}
        def f(d): return score(Kind.A.value)
        """,
    "a default of a method": """
        class C:
            def m(self, n={}): return n
        def f(d): return score(C().m())
        """,
    "a field of a dataclass": """
        import dataclasses
        @dataclasses.dataclass
        class C:
            n: int = {}
        def f(d): return score(C().n)
        """,
    "a metaclass": """
        class M(type):
            @property
            def n(cls): return {}
        class C(metaclass=M): pass
        def f(d): return score(C.n)
        """,
    "a method of an object": """
        class C:
            def m(self, d): return score({})
        f = C().m
        """,
    "an attribute of an object": """
        class C:
            def __init__(self, n): self.n = n
        held = C({})
        def f(d): return score(held.n)
        """,
    "a helper's helper": """
        def g(): return {}
        def h(): return g()
        def f(d): return score(h())
        """,
    "what a table holds": """
        TABLE = dict(n=lambda: {})
        def f(d): return score(TABLE['n']())
        """,
    "the order of a table": """
        TABLE = dict(sorted(dict(a=1, b=2).items(), reverse={} == 2))
        def f(d): return score(next(iter(TABLE.values())))
        """,
    "what a partial was given": """
        import functools
        f = functools.partial(lambda d, n: score(n), n={})
        """,
    "a callable object": """
        class C:
            def __init__(self, n): self.n = n
            def __call__(self, d): return score(self.n)
        f = C({})
        """,
    "what is cached": """
        import functools
        @functools.lru_cache
        def g(): return {}
        def f(d): return score(g())
        """,
}


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("file", ["cell.py", "<stdin>", "<ipython-input-1>"])
def test_an_edit_is_computed_again(kind: str, file: str, tmp_path: Path) -> None:
    found = []
    for n in (1, 2, 1):
        held: dict[str, Any] = {"__name__": "__main__", "score": score}
        exec(compile(textwrap.dedent(EDITS[kind]).format(n), file, "exec"), held)
        tree = run(step(held["f"]), data(), by=None, store=Store(tmp_path), progress=False)
        found.append(tree["all/score"]["v"].item())
    assert found == [1, 2, 1]
    assert len(Store(tmp_path).ls()) == 2


IMPORTS = {
    "a module": "import my_utils\ndef f(d): return score(my_utils.h())",
    "a function of a module": "from my_utils import h\ndef f(d): return score(h())",
    "a module inside a function": "def f(d):\n    import my_utils\n    return score(my_utils.h())",
    "a function inside a function": "def f(d):\n    from my_utils import h\n    return score(h())",
    "a module that is handed around": "import my_utils\ndef f(d): return score(getattr(my_utils, 'h')())",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", IMPORTS)
def test_an_edit_of_a_module_beside_the_script_is_computed_again(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.dont_write_bytecode = True\nimport numpy as np, xarray as xr, analysis\n"
        "def score(v): return xr.Dataset({'v': xr.Variable((), float(v), {'role': 'score'})})\n"
        f"{IMPORTS[kind]}\n"
        "data = xr.Dataset({'attribution': (('sample', 'x'), np.eye(4))})\n"
        "tree = analysis.run(analysis.step(f), data, by=None, store=analysis.Store(sys.argv[1]), progress=False)\n"
        "print(tree['all/score']['v'].item())"
    )
    found = []
    for n in (1, 2):
        (tmp_path / "my_utils.py").write_text(f"LIMIT = {n}\ndef h(): return LIMIT\n")
        command = [sys.executable, str(script), str(tmp_path / "store")]
        env = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""}
        found.append(float(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout))
    assert found == [1, 2]


# --- nothing is silently taken for something else ---------------------------------------------------------

GROUPS: dict[str, tuple[Any, str, str]] = {
    "not a number": (np.where(np.arange(40) % 2, np.nan, 1.0), "g", "is nan of sample 1, and of 19 more"),
    "no time": (
        np.where(np.arange(40) % 2, np.datetime64("NaT"), np.datetime64("2026-01-01", "ns")),
        "g",
        "of sample 1",
    ),
    "nothing": (np.array([None, "a"] * 20, object), "g", "is (None|nan) of sample 0"),
    "mixed": (np.array([1, "a"] * 20, object), "g", "several types"),
    "fractional labels": (np.arange(40) % 2 + 0.5, "label", "is 0.5 of sample 0.*names none of the 2 classes"),
    "a label of no class": (np.arange(40) % 3, "label", "is 2 of sample 2"),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_a_sample_without_a_category_is_an_error(kind: str) -> None:
    values, by, message = GROUPS[kind]
    with pytest.raises(DataError, match=message):
        run(SPRAY, data().assign({by: ("sample", values)}), by=by, progress=False)


def test_shares_of_classes_are_no_categories() -> None:
    soft = data().assign(label=(("sample", "class"), np.full((40, 2), 0.5)))
    with pytest.raises(DataError, match="neither yes nor no"):
        run(SPRAY, soft, progress=False)


def careless(held: xr.Dataset) -> xr.Dataset:
    held["attribution"].values[:] = 0
    return score(1)


def careless_in_place(held: xr.Dataset) -> xr.Dataset:
    values = held["attribution"].values
    values *= 0
    return score(1)


def total(held: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"t": xr.Variable((), float(abs(held["attribution"]).sum()), {"role": "score"})})


@pytest.mark.parametrize("first", [careless, careless_in_place])
@pytest.mark.parametrize("join", [each, chain])
def test_a_step_that_writes_to_its_input_changes_nothing_of_others(first: Any, join: Any) -> None:
    given = data()
    before = float(abs(given["attribution"]).sum())
    tree = run(join(step(first), step(total)), given, by=None, progress=False)
    assert float(abs(given["attribution"]).sum()) == tree["all/score"]["t"].item() == before


PARAMETERS = [
    pd.DataFrame({"q": [1.0]}),
    {"b": 1},
    {1, 2},
    frozenset({1}),
    np.arange(3),
    {"a": {"b": [1]}},
    b"x",
    (1, 2),
]


@pytest.mark.parametrize("given", PARAMETERS, ids=lambda one: type(one).__name__)
def test_parameters_arrive_as_they_were_given(given: Any, tmp_path: Path) -> None:
    seen = []

    def f(held: xr.Dataset, *, a: Any) -> xr.Dataset:
        seen.append(a)
        return score(0)

    run(step(f, a=given), data(), by=None, progress=False)
    assert type(seen[0]) is type(given)
    assert repr(seen[0]) == repr(given)
    assert step(f, a=given) == step(f, a=given) != step(f, a=None)


def test_half_precision_is_analysed_and_kept_as_single() -> None:
    half = data()
    half["attribution"] = half["attribution"].astype(np.float16)
    assert list(run(SPRAY, half, progress=False).children) == ["a", "b"]


def note(held: xr.Dataset) -> xr.Dataset:
    return score(1).assign(v=lambda made: made["v"].assign_attrs(note=None, flag=True, table={"a": 1}))


def narrow(held: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"e": xr.Variable(("sample", "component"), np.ones((40, 2), np.float16), {"role": "embedding"})})


@pytest.mark.parametrize("made", [note, narrow])
def test_what_runs_without_a_store_runs_with_one(made: Any, tmp_path: Path) -> None:
    without = run(step(made), data(), by=None, progress=False)
    kept = run(step(made), data(), by=None, store=Store(tmp_path), out=tmp_path / "a.nc", progress=False)
    for group in ("score", "embedding"):
        xr.testing.assert_equal(without[f"all/{group}"].to_dataset(), kept[f"all/{group}"].to_dataset())


def strange(held: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"v": xr.Variable((), np.array(object(), object), {"role": "score"})})


def test_what_no_file_can_hold_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be kept in a file"):
        run(step(strange), data(), by=None, store=Store(tmp_path), progress=False)


@pytest.mark.parametrize("text", ["chain = [1]", "each = ['a']", "chain = [[]]", "chain = [{step = 1}]", "a = 1"])
def test_a_table_that_is_no_plan_is_named(text: str) -> None:
    with pytest.raises(PlanError, match="a plan's table holds"):
        analysis.plan.from_toml(text)


FULL_DISK = """
import resource, signal, sys, numpy as np, xarray as xr, analysis
from analysis import StoreError
data = xr.Dataset({"attribution": (("sample", "x"), np.random.default_rng(0).normal(size=(900, 64)).astype("f4"))})
plan = analysis.spray(n_neighbors=4, n_eigenvalues=6, clusters=(2, 3), tsne=False)
analysis.run(plan, data.isel(sample=slice(30)), by=None, progress=False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))
for options in ({"store": analysis.Store(sys.argv[1] + "/s")}, {"out": sys.argv[1] + "/a.nc"}):
    try:
        analysis.run(plan, data, by=None, progress=False, **options)
    except OSError as error:
        print(type(error).__name__, "full" in str(error))
"""


@pytest.mark.slow
def test_a_full_disk_says_so(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert found.stdout.split() == ["StoreError", "True", "OSError", "True"]


@pytest.mark.parametrize("k", [3, 10, 11, 12, 16, 20])
def test_separate_strategies_are_counted_however_many(k: int) -> None:
    rng = np.random.default_rng(0)
    spots = [(np.arange(400) == 20 * i)[None] + rng.normal(0, 0.002, (15, 400)) for i in range(k)]
    heat = np.concatenate(spots).reshape(-1, 20, 20).astype(np.float32)
    tree = run(spray(tsne=False), xr.Dataset({"attribution": (("sample", "y", "x"), heat)}), by=None, progress=False)
    assert tree["all/score"]["n_strategies"].item() == k


def test_a_ranking_says_what_chance_alone_reaches() -> None:
    labels = np.repeat([0, 1], [40, 400])
    heat = np.random.default_rng(0).normal(size=(440, 8, 8)).astype(np.float32)
    noise = xr.Dataset(
        {"attribution": (("sample", "y", "x"), heat), "label": ("sample", labels)}, {"class": ["p", "q"]}
    )
    table = analysis.ranking(run(SPRAY, noise, progress=False)).set_index(category="category")
    assert table["chance"].sel(category="p") > 5 * table["chance"].sel(category="q") > 0


# --- names --------------------------------------------------------------------------------------------------

ODD = [
    *("", ".", "..", " ", "a ", " a", "/", "a/b", "a∕b", "a%2Fb", "%", "_", "\n", "\t", "é", "e\u0301", "Käse", "אבג"),
    *(
        "🐈",
        "\u202eabc",
        "\"'",
        "x" * 5000,
        "x" * 5001,
        "twin",
        "twin",
        "CON",
        "nul",
        "embedding",
        "all",
        "sample",
        "0",
    ),
]


def named(seed: int, count: int) -> list[str]:
    """Text of any letters but those that are no text: halves of pairs, and the zero that ends it."""
    rng = np.random.default_rng(seed)
    ends = (0x7F, 0x2FF, 0xFFFF, 0x1FFFF)
    names = []
    while len(names) < count:
        points = rng.integers(1, ends[len(names) % 4], rng.integers(0, 12))
        name = "".join(chr(p) for p in points if not 0xD800 <= p <= 0xDFFF)
        names += [name] if name not in names else []
    return names


def pictures(classes: list[str], each_has: int = 4) -> xr.Dataset:
    n, rng = each_has * len(classes), np.random.default_rng(0)
    held = {
        "input": (("sample", "channel", "y", "x"), rng.integers(0, 255, (n, 3, 4, 4)).astype(np.uint8)),
        "attribution": (("sample", "channel", "y", "x"), rng.normal(size=(n, 3, 4, 4)).astype(np.float32)),
        "prediction": (("sample", "class"), np.zeros((n, len(classes)), np.float32)),
        "label": ("sample", np.arange(n) % len(classes)),
    }
    return xr.Dataset(held, {"sample": [f"{i}{classes[i % len(classes)]}" for i in range(n)], "class": classes})


def halves(held: xr.Dataset, *, name: str = "k/ä ") -> xr.Dataset:
    n = held.sizes["sample"]
    return xr.Dataset(
        {
            name: xr.Variable("sample", np.arange(n) % 2, {"role": "clustering"}),
            "e": xr.Variable(("sample", "component"), np.ones((n, 2)), {"role": "embedding"}),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("names", [ODD, named(0, 250), named(1, 250)], ids=["odd", "random", "more"])
def test_names_come_back_from_analysis_viewer_and_export(names: list[str], tmp_path: Path) -> None:
    given = pictures(names)
    save(given, tmp_path / "attributions.nc")
    tree = run(step(halves), given, out=tmp_path / "analysis.nc", progress=False)
    assert [node.attrs["category"] for node in tree.children.values()] == names
    with rf.open_analysis(tmp_path) as read:
        assert [node.attrs["category"] for node in read.children.values()] == names
    project = open_project(tmp_path)
    shown = categories(project)
    assert len(set(shown)) == len(names)
    assert [each.removesuffix(" (2)") for each in shown] == names
    assert clustering_names(project, shown[1]) == ("k/ä ",)
    for k, category in enumerate(shown):
        np.testing.assert_array_equal(points(project, category).rows, np.flatnonzero(given["label"] == k))
    exported = open_project(rf.to_virelay(given, tmp_path / "virelay", analysis=tree))
    width = len(str(len(names) - 1))
    ids = [f"{k:0{width}d}" for k in range(len(names))]
    of_id = {each[-width - 1 : -1] if each.endswith(")") else each: each for each in categories(exported)}
    assert [of_id[one].removesuffix(f" ({one})") if names[k] else "" for k, one in enumerate(ids)] == names
    assert clustering_names(exported, categories(exported)[0]) == ("k/ä ",)


def test_groups_that_are_no_classes_have_no_class_s_name(tmp_path: Path) -> None:
    given = pictures(["cat", "dog"], 20).assign(scanner=("sample", np.arange(40) // 20))
    tree = run(step(halves), given, by="scanner", progress=False)
    shown = categories(open_project(rf.to_virelay(given, tmp_path, analysis=tree)))
    assert shown == ("0", "1")


@pytest.mark.slow
def test_many_categories_come_back(tmp_path: Path) -> None:
    schema.check_analysis(tree := run(step(halves), pictures([f"class {i}" for i in range(300)], 2), progress=False))
    save(tree, tmp_path / "a.nc")
    with rf.open_analysis(tmp_path / "a.nc") as read:
        assert read.equals(tree)
