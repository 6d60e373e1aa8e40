"""Whole runs: what a run found in all its small categories is one entry of the store, too, which is read at once.

A thousand categories have ten thousand entries, one for each step, which take a minute to open. Here each category's
results stand under a key made of that of its data and that of the plan: nothing is taken for what it is not, and of a
run on data of which a part was changed, the rest is found. What is not found comes from the entries of the steps.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import xarray as xr

from relfunc.keys.values import of_array
from relfunc.schema import ATTRIBUTION, SAMPLE

from ..errors import StoreError
from ..plan.tree import Plan
from . import keys
from .keys import Digest, digest
from .lineage import Category, Node, expanded, gathered, source_node
from .packed import packed, unpacked
from .store import Store

log = logging.getLogger(__name__)

LARGEST: Final = 1 << 20
"""Bytes above which a category's results are left to the entries of its steps."""
PART: Final = "category"


@dataclass(frozen=True)
class Whole:
    """What a store knows of a run; see :func:`recalled`.

    Parameters
    ----------
    store : Store
        The store.
    key : str
        The entry's.
    plan : str
        Key of what the plan computes, whatever the data.
    parts : mapping
        Packed results of categories, by the keys of the plan and their data.
    """

    store: Store
    key: Digest
    plan: Digest
    parts: Mapping[Digest, memoryview]

    def missing(self, categories: Iterable[Category], known: dict[str, Digest]) -> Iterator[Category]:
        """Yield categories that are not known, with the keys of their data; tell ``known`` the parts of the others."""
        for category in categories:
            if not self.parts:
                yield category  # nobody need read its data yet
                continue
            (node,) = source_node(category, self.store)
            part = self._part(node.key)
            if part in self.parts:
                known[category.name] = part
            else:
                yield Category(category.name, node.memory[""], node.key)

    def results(self, part: Digest) -> xr.Dataset:
        """Return the results of a category that is known."""
        return unpacked(bytes(self.parts[part]))

    def keep(self, found: Iterable[Category], known: Iterable[Digest]) -> None:
        """Keep results that were found, beside the parts that were known."""
        made = {self._part(one.key): packed(one.data) for one in found if one.data.nbytes <= LARGEST}
        new = {part: memoryview(held) for part, held in made.items() if held is not None}
        if not new:
            return
        parts = {part: self.parts[part] for part in known} | new
        held = np.frombuffer(b"".join(parts.values()), np.uint8)
        ends = np.cumsum([len(part) for part in parts.values()])
        entry = xr.Dataset({"part": (PART, list(parts)), "end": (PART, ends), "packed": ("byte", held)})
        try:
            self.store.put(self.key, entry, step="analysis.run", parameters=json.dumps({"categories": len(parts)}))
        except StoreError as error:
            log.warning("all results are in the tree, but the next such run will be slower: %s", error)

    def _part(self, source: Digest | None) -> Digest:
        """Key of the results of a category whose data have a key."""
        return digest("category", self.plan, source)


def recalled(plan: Plan, source: xr.Dataset, indices: Sequence[np.ndarray], store: Store) -> Whole:
    """Look up what a store knows of a run.

    Its entry is found by what can be seen before all data are read: the plan, the samples of each category, the
    shapes, and the attribution of one sample. Runs that are alike in that replace each other's entry; whether it holds
    a category of these very data, its part's key says.

    Parameters
    ----------
    plan : Step, Chain or Each
        Whose steps have keys.
    source : xarray.Dataset
        What categories are cut from.
    indices : sequence of numpy.ndarray
        The positions of each category's samples.
    store : Store
        Where to look.
    """
    code = tuple(map(keys.of_code, (gathered, packed, unpacked)))
    computed = digest(code, [(node.key, node.results_only) for node in expanded(plan, (Node("source"),))])
    shapes = sorted((str(name), tuple(map(str, values.dims)), values.shape) for name, values in source.items())
    one = of_array(source[ATTRIBUTION].variable[{SAMPLE: indices[0][:1]}])
    key = digest("run", computed, shapes, one, of_array(np.concatenate(indices)), tuple(map(len, indices)))
    entry = store.get(key)
    return Whole(store, key, computed, {} if entry is None else _parts(entry))


def _parts(entry: xr.Dataset) -> dict[Digest, memoryview]:
    held, ends = entry["packed"].values.data, [0, *entry["end"].values.tolist()]
    names = entry["part"].values.tolist()
    return {name: held[start:end] for name, (start, end) in zip(names, pairwise(ends), strict=True)}
