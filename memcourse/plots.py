"""One style for every figure: colours for colour-blind readers, markers as well, and a text that says what is seen."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memcourse.metrics import Estimate

# Okabe and Ito's eight colours, in an order in which neighbours differ in lightness too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 11,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "legend.frameon": False,
}


def figure(columns: int = 1, rows: int = 1, width: float = 7.0, height: float = 3.6, **options: Any) -> tuple[Any, Any]:
    """A figure in the course's style; returns (figure, axes) as `plt.subplots` does, sizes in inches."""
    import matplotlib.pyplot as plt
    from matplotlib.rcsetup import cycler

    style: dict[Any, Any] = {**STYLE, "axes.prop_cycle": cycler(color=list(COLOURS)) + cycler(marker=list(MARKERS))}
    with plt.rc_context(style):
        return plt.subplots(rows, columns, figsize=(width, height), **options)


def show(fig: Figure, alt: str) -> None:
    """Put a figure into the notebook as a PNG with its alt text, and close it.

    The alt text stands in the output's metadata and as its plain text, so that it is there in every viewer and is
    compared by the tests.

    Raises:
        ValueError: the alt text says too little (under 20 characters).
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    if len(alt.strip()) < 20:
        raise ValueError(f"The alt text must say in a sentence what is to be seen, not {alt!r}.")
    picture = base64.b64encode(png(fig)).decode("ascii")
    plt.close(fig)
    display({"image/png": picture, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)


def png(fig: Figure) -> bytes:
    """The figure as PNG bytes, without the time and the program's name in them."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def bands(axes: Axes, x: Any, series: Mapping[str, Sequence[Estimate]]) -> None:
    """A line with markers for each named series of estimates, with its intervals as a shaded band, and a legend."""
    for (label, estimates), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
        value, low, high = ([e[i] for e in estimates] for i in range(3))
        axes.plot(x, value, color=colour, marker=marker, label=label)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.legend(fontsize=9)


def token_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """A logarithmic x axis of tokens whose ticks are the measured lengths themselves."""
    axes.set_xscale("log")
    axes.set_xticks(list(lengths), [f"{n:,}" for n in lengths], fontsize=9)
    axes.minorticks_off()
    axes.set_xlabel("tokens")


def shares(axes: Axes, estimates: Mapping[str, Estimate], guessing: float | None = None) -> None:
    """One point with its interval for each named share, and a dashed line where guessing would be."""
    for i, (share, colour, marker) in enumerate(zip(estimates.values(), COLOURS, MARKERS, strict=False)):
        error = [[share.value - share.low], [share.high - share.value]]
        axes.errorbar(i, share.value, yerr=error, fmt=marker, color=colour, capsize=6, markersize=9)
    if guessing is not None:
        axes.axhline(guessing, color="black", linestyle="--", marker="", label="guessing")
        axes.legend()
    n = len(estimates)
    axes.set(xticks=range(n), xticklabels=list(estimates), xlim=(-0.5, n - 0.5), ylim=(0, 1))


def groups(axes: Axes, names: Sequence[str], series: Mapping[str, Sequence[Estimate]]) -> None:
    """For each named group one marker with its interval from each series, side by side; n stands under the name."""
    step = 0.6 / max(1, len(series))
    for i, (label, estimates) in enumerate(series.items()):
        places = [place + (i - (len(series) - 1) / 2) * step for place in range(len(names))]
        value, low, high = zip(*(estimate[:3] for estimate in estimates), strict=True)
        reach = [[v - lo for v, lo in zip(value, low, strict=True)], [hi - v for v, hi in zip(value, high, strict=True)]]
        axes.errorbar(places, value, yerr=reach, fmt=MARKERS[i], color=COLOURS[i], capsize=3, label=label)
    some = next(iter(series.values()))
    labels = [f"{name}\n(n = {estimate.n})" for name, estimate in zip(names, some, strict=True)]
    axes.set_xticks(range(len(names)), labels)
    axes.legend(fontsize=9)


def memory_map() -> Figure:
    """The map of the course: where knowledge can live, how it gets there, and which notebooks visit it."""
    fig, axes = figure(width=9, height=4.6)
    axes.set_axis_off()
    axes.set(xlim=(0, 12), ylim=(0, 6.2))
    rooms = (
        (0.2, COLOURS[0], "WEIGHTS", "what training left behind",
         ("written by: training", "lives: as long as the file", "costs: GPU time, once", "notebooks 01, 03, 07, 08")),
        (4.2, COLOURS[1], "ACTIVATIONS", "what one prompt computes",
         ("written by: every token read", "lives: one conversation", "costs: memory and time, always",
          "notebooks 01, 02")),
        (8.2, COLOURS[2], "RETRIEVAL", "what an index can look up",
         ("written by: adding a document", "lives: until deleted", "costs: a search per question",
          "notebooks 04, 05, 06")),
    )  # fmt: skip
    for x, colour, name, meaning, facts in rooms:
        _room(axes, x, colour, name, meaning, facts)
    _box(axes, (4.2, 0.15), (3.6, 0.8), "black", 2)
    axes.text(6.0, 0.55, "the answer", ha="center", va="center", fontsize=12)
    for start, end in (((2.0, 2.0), (4.7, 1.0)), ((6.0, 2.0), (6.0, 1.0))):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "lw": 1.8})
    # what is looked up reaches the model as text, so the third arrow ends in the second room
    bend = {"arrowstyle": "->", "lw": 1.8, "connectionstyle": "arc3,rad=-0.45"}
    axes.annotate("", (7.2, 2.0), (10.0, 2.0), arrowprops=bend)
    axes.text(8.7, 1.2, "into the prompt", ha="left", va="top", style="italic")
    axes.text(6.0, 5.95, "Where can a language model's answer come from?", ha="center", va="center", fontsize=14)
    return fig


def _room(axes: Axes, x: float, colour: str, name: str, meaning: str, facts: tuple[str, ...]) -> None:
    _box(axes, (x, 2.0), (3.6, 3.55), colour, 2.5)
    axes.text(x + 1.8, 5.2, name, ha="center", va="center", fontsize=13, weight="bold", color=colour)
    axes.text(x + 1.8, 4.75, meaning, ha="center", va="center", style="italic")
    for i, fact in enumerate(facts):
        axes.text(x + 0.2, 4.15 - 0.55 * i, fact, ha="left", va="center", fontsize=10)


def _box(axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str, line: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0,rounding_size=0.15"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, fc="white", ec=colour, lw=line))
