"""The demo's finding: the cluster that stands apart most, how well it matches what was planted, and its picture."""

from dataclasses import dataclass

import xarray as xr
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from .. import heatmap, schema
from .data import ARTIFACT


@dataclass(frozen=True)
class Suspect:
    """The cluster that separates best from the rest of its class, in the class that ranks first.

    Parameters
    ----------
    category, clustering : str
        Class and clustering.
    cluster : int
        Its label there.
    members, others : tuple of int
        Positions in the attributions of its samples, and of the other samples of the class.
    """

    category: str
    clustering: str
    cluster: int
    members: tuple[int, ...]
    others: tuple[int, ...]


def suspect(table: xr.Dataset, tree: xr.DataTree) -> Suspect:
    """Look up the first row of a ranking.

    Parameters
    ----------
    table : xarray.Dataset
        From :func:`analysis.ranking`.
    tree : xarray.DataTree
        What it ranks.

    Returns
    -------
    Suspect
    """
    row = table.isel(category=0)
    category, clustering, cluster = str(row["category"].item()), str(row["clustering"].item()), int(row["cluster"])
    node = tree[category].to_dataset()
    clusters = tree[f"{category}/{schema.CLUSTER_GROUP}"].to_dataset()
    inside, index = clusters[clustering].values == cluster, node[schema.INDEX].values
    return Suspect(category, clustering, cluster, tuple(index[inside].tolist()), tuple(index[~inside].tolist()))


def verdict(found: Suspect, data: xr.Dataset) -> str:
    """Say how well a cluster matches the planted images, which the analysis did not know of.

    Parameters
    ----------
    found : Suspect
        The cluster.
    data : xarray.Dataset
        With ``artifact``.

    Returns
    -------
    str
    """
    artifact = data[ARTIFACT].values
    planted = [*artifact[list(found.members)], *artifact[list(found.others)]]
    inside = [True] * len(found.members) + [False] * len(found.others)
    return (
        f"most suspicious: class '{found.category}', cluster {found.cluster} of {found.clustering}, "
        f"{len(found.members)} samples\n"
        f"{sum(planted[: len(inside) - len(found.others)])} of them carry the planted watermark, "
        f"{int(artifact.sum())} images do in all; adjusted Rand index {adjusted_rand_score(planted, inside):.2f}"
    )


def comparison(found: Suspect, data: xr.Dataset, *, columns: int = 8, scale: int = 3) -> Image.Image:
    """Draw samples of the suspicious cluster above others of its class: input, relevance, and both.

    Parameters
    ----------
    found : Suspect
        The cluster.
    data : xarray.Dataset
        The attributions.
    columns : int
        Samples of each.
    scale : int
        Pixels of the picture per pixel of an image.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    rows: list[Image.Image] = []
    for members in (found.members[:columns], found.others[:columns]):
        part = data.isel({schema.SAMPLE: list(members)})
        images, relevance = part[schema.INPUT].values, part[schema.ATTRIBUTION].values
        grid = (1, columns)
        rows += [
            heatmap.picture(images, grid=grid, channels="first").convert("RGB"),
            heatmap.heatmap(relevance, grid=grid, channels="first").convert("RGB"),
            heatmap.overlay(relevance, images, grid=grid, channels="first"),
        ]
    gap = 8
    width, height = rows[0].size
    sheet = Image.new("RGB", (width, height * len(rows) + gap), "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (0, i * height + (gap if i >= len(rows) // 2 else 0)))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
