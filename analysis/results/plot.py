"""Plots of an analysis, each one line: HoloViews objects that show in a notebook, and save without a server.

>>> import holoviews as hv
>>> from analysis import plot, ranking
>>> table = xr.Dataset({"separability": ("category", [3.0, 1.0])}, {"category": ["cat", "dog"]})
>>> hv.save(plot.ranking(table), "ranking.html")  # doctest: +SKIP
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import colorcet
import datashader as ds
import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
import pandas as pd
import xarray as xr
from holoviews.operation.datashader import datashade
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from relfunc import schema
from relfunc.heatmap.colormap import palette

from .. import roles
from ..errors import DataError, listed
from ..measures import largest_gap
from . import rank
from .table import CATEGORY, COLUMNS

GREY: Final = "#8b929c"
INK: Final = "#33508f"
ALSO: Final = ("p_value", "replication", "strategies_low", "strategies_high")
"""What a ranking shows under the pointer, beside its columns as text."""
FRAME: Final = {"width": 520, "height": 400}


def eigenvalues(tree: xr.DataTree, category: str, *, embedding: str = "spectral") -> hv.Overlay:
    """Plot the smallest eigenvalues of a category's Laplacian, and mark the widest gap, which counts strategies [1]_.

    Parameters
    ----------
    tree : xarray.DataTree
        From :func:`analysis.run`.
    category : str
        One of its children.
    embedding : str
        The spectral embedding to which they belong.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    DataError
        If the tree has no such category, or no eigenvalues of that embedding.

    References
    ----------
    .. [1] von Luxburg 2007, A tutorial on spectral clustering, Statistics and Computing 17, section 8.3.

    Examples
    --------
    >>> node = xr.Dataset({"eigenvalue": ("eigen", [0.0, 0.1, 0.7])})
    >>> print(eigenvalues(xr.DataTree.from_dict({"/cat": node}), "cat"))
    :Overlay
       .Spikes.I  :Spikes   [number]   (eigenvalue)
       .Scatter.I :Scatter   [number]   (eigenvalue)
       .VLine.I   :VLine   [x,y]
    """
    name = schema.EIGENVALUE if embedding == "spectral" else f"{schema.EIGENVALUE}-{embedding}"
    values = np.sort(_variable(_node(tree, category).to_dataset(), name, category).values)
    number = np.arange(1, len(values) + 1)
    below = largest_gap(values)
    dims: Any = hv.Dimension("number", label="number of the eigenvalue"), hv.Dimension("eigenvalue")
    drawn = (
        _styled(hv.Spikes((number, values), *dims), color=GREY)
        * _styled(hv.Scatter((number, values), *dims), {"size": 8, "tools": ["hover"]}, color=INK)
        * _styled(hv.VLine(below + 0.5), {"line_dash": "dashed", "line_width": 1}, color=GREY)
    )
    title = f"category {category}: the widest gap is after {below} of {len(values)} eigenvalues"
    low, high = -0.03 * max(values[-1], 0.1), 1.08 * max(values[-1], 0.1)
    return _styled(drawn, FRAME, title=title, xlim=(0.3, len(values) + 0.7), ylim=(low, high))


def embedding(
    tree: xr.DataTree,
    category: str,
    *,
    name: str | None = None,
    clustering: str | None = None,
    axes: tuple[int, int] | None = None,
    most: int = 10_000,
) -> hv.Overlay:
    """Plot the samples of a category in two dimensions, coloured by cluster, noise in grey.

    Parameters
    ----------
    tree : xarray.DataTree
        From :func:`analysis.run`.
    category : str
        One of its children.
    name : str, optional
        The embedding; by default "tsne", or if there is none the first.
    clustering : str, optional
        By default that of the category's most separable cluster, or without scores the first.
    axes : tuple of int, optional
        The components to show; by default the first two, or of a spectral embedding, whose first component tells
        nothing, the next two.
    most : int
        More points than this are aggregated to a picture by datashader: blending colours shows how many there are.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    DataError
        If the tree has no such category, embedding, component or clustering.

    Examples
    --------
    >>> tree = xr.DataTree.from_dict({
    ...     "/cat/embedding": xr.Dataset({"pca": (("sample", "component"), np.eye(3))}),
    ...     "/cat/cluster": xr.Dataset({"dbscan": ("sample", [0, 0, -1])}),
    ... })
    >>> list(embedding(tree, "cat").keys())
    [('Points', 'Cluster_0'), ('Points', 'Noise')]
    """
    node = _node(tree, category)
    embeddings = _group(node, schema.EMBEDDING_GROUP, category)
    name = name or ("tsne" if "tsne" in embeddings else next(iter(map(str, embeddings.data_vars))))
    found = _variable(embeddings, name, category)
    first, second = axes or ((1, 2) if schema.EIGEN in found.dims and found.shape[1] > 2 else (0, 1))
    if max(first, second) >= found.shape[1]:
        raise DataError(f"category '{category}': embedding '{name}' has {found.shape[1]} components, not {axes}")
    x, y = found.values[:, first], found.values[:, second]
    clustering, labels = _labels(tree, category, clustering)
    dims = [hv.Dimension("x", label=f"{name} {first + 1}"), hv.Dimension("y", label=f"{name} {second + 1}")]
    samples = node.coords[schema.SAMPLE].values if schema.SAMPLE in node.coords else np.arange(len(x))
    layers: list[hv.Element] = []
    for cluster, members in _clusters(labels) if len(x) <= most else ():
        points = hv.Points((x[members], y[members], samples[members]), dims, "sample", label=_title(cluster))
        layers.append(_styled(points, {"size": 5, "tools": ["hover"]}, color=_colour(cluster), alpha=0.8))
    title = f"category {category}: {len(x)} samples, {clustering}"
    drawn = hv.Overlay(layers or [_aggregated(x, y, labels, dims)])
    return _styled(drawn, FRAME | {"width": 640}, title=title, legend_position="right")


def cluster_means(
    data: xr.Dataset,
    tree: xr.DataTree,
    category: str,
    *,
    clustering: str | None = None,
    of: str = schema.ATTRIBUTION,
) -> hv.Layout:
    """Plot the mean heatmap of every cluster, all on one symmetric scale.

    Parameters
    ----------
    data : xarray.Dataset
        The attributions that were analysed, of images; may be opened lazily, as they are read some at a time.
    tree : xarray.DataTree
        Their analysis.
    category : str
        One of its children.
    clustering : str, optional
        As for :func:`embedding`.
    of : str
        What is averaged, summed over channels: "attribution", or "input".

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    DataError
        If the tree has no such category or clustering, or the variable is none of images.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "y", "x"), np.ones((3, 4, 4)))})
    >>> clusters = xr.Dataset({"dbscan": ("sample", [0, 0, -1])})
    >>> tree = xr.DataTree.from_dict({"/cat": xr.Dataset({"index": ("sample", range(3))}), "/cat/cluster": clusters})
    >>> [image.label for image in cluster_means(data, tree, "cat")]
    ['cluster 0: 2 samples', 'noise: 1 samples']
    """
    clustering, labels = _labels(tree, category, clustering)
    values = _variable(data, of, "the attributions")
    if values.dims not in {(schema.SAMPLE, schema.CHANNEL, schema.Y, schema.X), (schema.SAMPLE, schema.Y, schema.X)}:
        raise DataError(f"'{of}' has dimensions {values.dims}, not (sample, channel, y, x): only images have heatmaps")
    index = _variable(_node(tree, category).to_dataset(), schema.INDEX, category).values
    means = {cluster: _mean(values, index[members]) for cluster, members in _clusters(labels)}
    top = max(float(np.abs(mean).max()) for mean in means.values()) or 1.0
    scale = {"cmap": "gray", "clim": (0, top)} if of == schema.INPUT else {"cmap": _diverging(), "clim": (-top, top)}
    images = []
    for cluster, mean in means.items():
        height, width = mean.shape
        image = hv.Image(
            mean,
            bounds=(0, 0, width, height),
            kdims=["x", "y"],
            vdims=hv.Dimension("mean", label=f"mean {of}"),
            label=f"{_title(cluster)}: {int((labels == cluster).sum())} samples",
        )
        size = {"data_aspect": 1, "frame_height": 180, "tools": ["hover"]}
        images.append(_styled(image, size, **scale, xaxis=None, yaxis=None, colorbar=len(images) == len(means) - 1))
    return _styled(hv.Layout(images).cols(4), title=f"category {category}: mean {of} of {clustering}")


def dendrogram(
    tree: xr.DataTree,
    category: str,
    *,
    name: str = "spectral",
    n_dims: int | None = None,
    linkage: str = "ward",
    leaves: int = 24,
    most: int = 5000,
    seed: int = 0,
) -> hv.Path:
    """Plot how the samples of a category merge bottom up, from the last so many merges.

    Parameters
    ----------
    tree : xarray.DataTree
        From :func:`analysis.run`.
    category : str
        One of its children.
    name : str
        The embedding whose distances count.
    n_dims : int, optional
        Only its first so many columns; all, if not given.
    linkage : str
        As for :func:`analysis.agglomerative`.
    leaves : int
        Branches that are drawn; each is labelled with its number of samples.
    most : int
        Of more samples than this, so many are drawn at random, as memory grows with their square.
    seed : int
        Seed of the draw.

    Returns
    -------
    holoviews.Path

    Raises
    ------
    DataError
        If the tree has no such category or embedding, or fewer than two samples.

    Examples
    --------
    >>> spectral = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [0.1], [4.0]])})
    >>> len(dendrogram(xr.DataTree.from_dict({"/cat/embedding": spectral}), "cat").split())
    2
    """
    x = _variable(_group(_node(tree, category), schema.EMBEDDING_GROUP, category), name, category).values[:, :n_dims]
    if len(x) < 2:
        raise DataError(f"category '{category}' has {len(x)} sample, which merges with none")
    if len(x) > most:
        x = x[np.random.default_rng(seed).permutation(len(x))[:most]]
    drawn = hierarchy.dendrogram(
        hierarchy.linkage(x, linkage), p=leaves, truncate_mode="lastp", no_plot=True, show_leaf_counts=True
    )
    lines = [np.column_stack(line) for line in zip(drawn["icoord"], drawn["dcoord"], strict=True)]
    ticks = [(5.0 + 10 * i, leaf.strip("()") if "(" in leaf else "1") for i, leaf in enumerate(drawn["ivl"])]
    dims = [hv.Dimension("branch", label="samples in the branch"), hv.Dimension("height", label=f"{linkage} distance")]
    title = f"category {category}: {len(x)} samples in {name}"
    bokeh = {"line_width": 1.5, **FRAME, "width": 720}
    return _styled(hv.Path(lines, dims), bokeh, title=title, xticks=ticks, color=INK, ylim=(0, None))


def ranking(ranked: xr.Dataset | xr.DataTree, *, most: int = 30) -> hv.Bars:
    """Plot the separability of each category's most suspicious cluster, the most suspicious on top.

    Where the ranking says what is more than chance, bars that are not are grey.

    Parameters
    ----------
    ranked : xarray.Dataset or xarray.DataTree
        From :func:`analysis.ranking`, or a tree to be ranked.
    most : int
        Only the first so many.

    Returns
    -------
    holoviews.Bars

    Examples
    --------
    >>> table = xr.Dataset({"separability": ("category", [3.0, 1.0])}, {"category": ["cat", "dog"]})
    >>> print(ranking(table))
    :Bars   [category]   (separability τ, held out)
    """
    table = rank.ranking(ranked) if isinstance(ranked, xr.DataTree) else ranked
    table = table.isel({CATEGORY: slice(most)})[[name for name in (*COLUMNS, *ALSO) if name in table.variables]]
    first = table.isel({CATEGORY: slice(None, None, -1)})  # the vertical axis goes up
    names = [str(name) for name in first[CATEGORY].values]
    columns = {name: values.values for name, values in first.data_vars.items()}
    separability = hv.Dimension("separability", label="separability τ, held out")
    colours = {}
    if "significant" in columns:
        columns["colour"] = np.where(columns["significant"], INK, GREY)
        colours = {"color": "colour"}
    vdims = [separability, *(name for name in columns if name != "separability")]
    bars = hv.Bars({CATEGORY: names, **columns}, CATEGORY, vdims)
    title = f"the most separable cluster of each category, by {table.attrs.get('by') or 'category'}"
    bokeh = FRAME | {"height": 110 + 22 * len(names), "line_color": None, "tools": ["hover"]}
    return _styled(bars, bokeh, title=title, invert_axes=True, **{"color": INK, **colours})


# --- trees --------------------------------------------------------------------------------------------


def _node(tree: xr.DataTree, category: str) -> xr.DataTree:
    known = schema.categories(tree)
    if category not in known:
        raise DataError(f"there is no category '{category}', only {listed(known)}")
    return known[category]


def _group(node: xr.DataTree, group: str, category: str) -> xr.Dataset:
    found = node.children[group].to_dataset() if group in node.children else xr.Dataset()
    if not found.data_vars:
        raise DataError(f"category '{category}' has no {group}: add a step that makes one to the plan")
    return found


def _variable(data: xr.Dataset, name: str, where: str) -> xr.DataArray:
    if name not in data.data_vars:
        raise DataError(f"{where}: no '{name}', only {listed(data.data_vars)}")
    return data[name]


def _labels(tree: xr.DataTree, category: str, clustering: str | None) -> tuple[str, NDArray[np.integer]]:
    """Return a clustering's name and labels; by default of the one with the most separable cluster."""
    clusterings = _group(_node(tree, category), schema.CLUSTER_GROUP, category)
    if clustering is None:
        only = xr.DataTree(children={"only": _node(tree, category)})
        scores = only["only"].children.get(schema.SCORE_GROUP, xr.DataTree())
        known = {roles.CLUSTER_SEPARABILITY, roles.SIZE} <= set(scores.data_vars)
        clustering = rank.ranking(only)["clustering"].item() if known else ""
        clustering = clustering or next(iter(map(str, clusterings.data_vars)))
    return clustering, _variable(clusterings, clustering, category).values


def _clusters(labels: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield clusters and the positions of their samples, noise last."""
    names = np.unique(labels)
    for cluster in (*names[names != schema.NOISE], *names[names == schema.NOISE]):
        yield int(cluster), np.flatnonzero(labels == cluster)


# --- drawing ------------------------------------------------------------------------------------------


def _title(cluster: int) -> str:
    return "noise" if cluster == schema.NOISE else f"cluster {cluster}"


def _colour(cluster: int) -> str:
    return GREY if cluster == schema.NOISE else COLOURS[cluster % len(COLOURS)]


COLOURS: Final = [c for c in colorcet.palette["glasbey_category10"] if np.ptp(list(bytes.fromhex(c[1:]))) > 40]
"""All but greys, which would look like noise."""


def _styled(drawn: Any, bokeh: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Apply options in each backend that is loaded."""
    for backend in hv.Store.loaded_backends():
        drawn = drawn.opts(**options, **(bokeh or {} if backend == "bokeh" else {}), backend=backend)
    return drawn


def _aggregated(x: NDArray, y: NDArray, labels: NDArray[np.integer], dims: Sequence[hv.Dimension]) -> hv.RGB:
    """Draw how many samples of each cluster lie in each pixel."""
    colours, codes = {}, np.empty(len(labels), np.int32)
    for code, (cluster, members) in enumerate(_clusters(labels)):
        colours[_title(cluster)], codes[members] = _colour(cluster), code
    titles = pd.Categorical.from_codes(codes, list(colours))
    return datashade(
        hv.Points(pd.DataFrame({"x": x, "y": y, "cluster": titles}), dims, "cluster"),
        aggregator=ds.count_cat("cluster"),
        color_key=colours,
        dynamic=False,
        width=1040,
        height=800,
        min_alpha=80,
    )


def _mean(values: xr.DataArray, index: NDArray[np.integer], at_once: int = 256) -> NDArray[np.float64]:
    """Average images over samples, some at a time, and sum over channels."""
    total = np.zeros(values.shape[-2:])
    for i in range(0, len(index), at_once):
        part = values.isel({schema.SAMPLE: index[i : i + at_once]}).values.astype(np.float64)
        total += part.reshape(len(part), -1, *total.shape).sum((0, 1))
    return total / len(index)


def _diverging() -> list[str]:
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette("bwr")]
