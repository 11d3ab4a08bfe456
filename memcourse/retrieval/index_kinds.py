"""The kinds of FAISS index: their options, what their training needs, and the FAISS object behind each."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import faiss
import numpy as np

SEED = 1234  # of every k-means, so that the same vectors give the same index
POINTS_PER_CENTRE = 39  # FAISS's own advice; with fewer it prints a warning
LISTS_SEARCHED = 8

# torch and FAISS each bring an OpenMP of their own, and on a Mac two that run at once can end the kernel. With one thread
# FAISS starts none.
if sys.platform == "darwin":
    faiss.omp_set_num_threads(1)


class Option(NamedTuple):
    """One option of a kind: its default (None: chosen from the vectors), its range, and whether `tune` may change it."""

    default: int | None
    least: int
    most: int | None = None
    tunable: bool = False


_LISTS = {"nlist": Option(None, 1), "nprobe": Option(LISTS_SEARCHED, 1, tunable=True)}
_CODES = {"m": Option(None, 1), "bits": Option(8, 1, 8)}
KINDS: dict[str, dict[str, Option]] = {
    "flat": {},
    "ivf": _LISTS,
    "hnsw": {"m": Option(32, 2), "ef_construction": Option(64, 1), "ef_search": Option(64, 1, tunable=True)},
    "pq": _CODES,
    "ivfpq": {**_LISTS, **_CODES},
}


def check_options(kind: str, options: Mapping[str, Any], *, tuning: bool = False) -> dict[str, int | None]:
    """The options as plain numbers, if all are known to the kind and in range; None stands where None is the default.

    Args:
        tuning: only options of the search are known.

    Raises:
        ValueError: an unknown kind; an option that is unknown, of another kind or of the building; a value out of range.
        TypeError: a value that is no whole number.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind {kind!r} of index; there are {_listed(KINDS)}.")
    known = {name: option for name, option in KINDS[kind].items() if option.tunable or not tuning}
    checked: dict[str, int | None] = {}
    for name, value in options.items():
        if name not in known:
            when = " that can be changed later" if tuning else ""
            raise ValueError(f"An index of kind {kind!r} has no option {name!r}{when}; it has {_listed(known) or 'none'}.")
        default, least, most, _ = known[name]
        if value is None and default is None:
            checked[name] = None
            continue
        checked[name] = whole(name, value)
        if value < least or (most is not None and value > most):
            raise ValueError(f"{name} is {least} or more{f', up to {most}' if most else ''}; {value} is out of range.")
    return checked


def whole(name: str, value: Any) -> int:
    """The value as an int.

    Raises:
        TypeError: it is no whole number (True and 2.0 are none).
    """
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {value!r}.")
    return operator.index(value)


def complete(kind: str, dim: int, options: Mapping[str, int | None]) -> dict[str, int | None]:
    """All options of a kind: those given, else the defaults; only nlist may still be None, until there are vectors.

    Raises:
        ValueError: vectors of `dim` numbers can't be cut into m parts of the same length.
    """
    settings = {name: option.default for name, option in KINDS[kind].items()} | dict(options)
    if "bits" in settings:
        m = settings["m"]
        fitting = [parts for parts in range(1, dim + 1) if dim % parts == 0 and parts <= (m or max(1, dim // 8))]
        if m is not None and m != fitting[-1]:
            raise ValueError(f"m = {m} parts of the same length can't be cut from {dim} numbers; {fitting[-1]} can.")
        settings["m"] = fitting[-1]
    return settings


def choose_for_training(kind: str, n: int, settings: Mapping[str, int | None]) -> dict[str, int | None]:
    """The settings with nlist chosen for n training vectors (about their square root), if they are enough.

    Raises:
        ValueError: there are fewer than 39 vectors for each centre of a k-means; names both numbers and a safe value.
    """
    chosen = dict(settings)
    most = n // POINTS_PER_CENTRE
    if "nlist" in chosen:
        nlist = chosen["nlist"] = chosen["nlist"] or max(1, min(math.isqrt(n), most))
        _check_points(kind, n, "nlist", nlist, nlist, most)
    if "bits" in chosen:
        bits = chosen["bits"] or 0
        _check_points(kind, n, "bits", bits, 2**bits, most.bit_length() - 1)
    return chosen


def _check_points(kind: str, n: int, name: str, value: int, centres: int, safe: int) -> None:
    if n < POINTS_PER_CENTRE * centres:
        lower = f"choose {name}={safe} or" if safe > 0 else "choose"
        raise ValueError(
            f"To train an index of kind {kind!r} with {name}={value} takes at least {POINTS_PER_CENTRE * centres} vectors "
            f"({POINTS_PER_CENTRE} for each of {centres} centres), but there are {n}; {lower} kind 'flat', which needs no "
            "training and is fast enough for so few."
        )


def build(kind: str, dim: int, settings: Mapping[str, Any]) -> Any:
    """An empty FAISS index for inner products which keeps ids of its own, finds vectors by id and prints no warnings."""
    metric = faiss.METRIC_INNER_PRODUCT
    index: Any
    if kind in ("ivf", "ivfpq"):
        centres = faiss.IndexFlatIP(dim)
        if kind == "ivf":
            index = faiss.IndexIVFFlat(centres, dim, settings["nlist"], metric)
        else:
            index = faiss.IndexIVFPQ(centres, dim, settings["nlist"], settings["m"], settings["bits"], metric)
            index.pq.cp.seed = SEED
        index.cp.seed = SEED
        index.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]  # missing in FAISS's types
        tune(index, settings)
        return index
    inner: Any
    if kind == "flat":
        inner = faiss.IndexFlatIP(dim)
    elif kind == "hnsw":
        inner = faiss.IndexHNSWFlat(dim, settings["m"], metric)
        inner.hnsw.efConstruction = settings["ef_construction"]
    else:
        inner = faiss.IndexPQ(dim, settings["m"], settings["bits"], metric)
        inner.pq.cp.seed = SEED
    index = faiss.IndexIDMap2(inner)
    tune(index, settings)
    return index


def tune(index: Any, options: Mapping[str, int | None]) -> None:
    """Set the options of the search on a FAISS index made by `build`; others are ignored."""
    if "nprobe" in options:
        index.nprobe = options["nprobe"]
    if "ef_search" in options:
        inner_of(index).hnsw.efSearch = options["ef_search"]


def inner_of(index: Any) -> Any:
    """The FAISS index that holds the vectors: the one inside the map of ids, or, with lists, the index itself."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index


def effective(kind: str, index: Any) -> dict[str, int | None]:
    """The options as FAISS itself has them; nprobe is never more than nlist, since FAISS then searches every list."""
    inner = inner_of(index)
    readers = {
        "nlist": lambda: inner.nlist,
        "nprobe": lambda: min(inner.nprobe, inner.nlist),
        "m": lambda: inner.hnsw.nb_neighbors(1) if kind == "hnsw" else inner.pq.M,
        "bits": lambda: inner.pq.nbits,
        "ef_construction": lambda: inner.hnsw.efConstruction,
        "ef_search": lambda: inner.hnsw.efSearch,
    }
    return {name: readers[name]() for name in KINDS[kind]}


def n_bytes(index: Any) -> int:
    """Bytes that the index takes when written: the vectors or their codes, their ids, the graph or the centres."""
    return int(faiss.serialize_index(index).size)


def _listed(names: Any) -> str:
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last
