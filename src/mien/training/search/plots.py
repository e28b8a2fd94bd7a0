"""Pictures of a search: how its best value rose, and which choices moved it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from mien.store import atomic_file


def plot(study: Any, folder: Path) -> list[Path]:
    """Write ``history.png`` and, from the third finished trial on, ``importance.png`` (fANOVA, Hutter et al. 2014).

    Args:
        study: an Optuna study.
        folder: where to.

    Returns:
        The files written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

        done = [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]
        pictures: dict[str, Any] = {"history.png": plot_optimization_history} if done else {}
        if len(done) > 2 and len(set(done)) > 1:
            pictures["importance.png"] = plot_param_importances
        written = []
        with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11}):
            for name, draw in pictures.items():
                axes = draw(study)
                figure: Any = axes.figure
                figure.set_size_inches(7, 4)
                _tidy(axes, history=name == "history.png")
                figure.tight_layout()
                with atomic_file(folder / name) as out:
                    canvas: Any = FigureCanvasAgg(figure)
                    canvas.print_png(out)
                _close(figure)
                written.append(folder / name)
    return written


def _tidy(axes: Any, *, history: bool) -> None:
    axes.set_facecolor("white")
    axes.figure.set_facecolor("white")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.grid(True, axis="y" if history else "x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title("")
    if history:
        axes.set_title("Selection accuracy of the trials", loc="left")
        axes.set_xlabel("trial")
        axes.set_ylabel("selection accuracy")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.1f} %")
        for line in axes.lines:
            line.set_color("#b3541e")
            line.set_alpha(1)
            line.set_drawstyle("steps-post")  # a best value holds until a trial beats it
        for points in axes.collections:
            points.set_color("#2f6690")
        # Beside the title: within the axes there is always a trial somewhere.
        axes.legend(["trial", "best so far"], frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2,
                    borderaxespad=0.2)  # fmt: skip
    else:
        axes.set_title("Share of the accuracy's variance that a choice explains", loc="left")
        axes.set_xlabel("importance")
        axes.set_ylabel("")
        for bar in axes.patches:
            bar.set_color("#2f6690")
        gap = 0.01 * (axes.get_xlim()[1] - axes.get_xlim()[0])
        for value in axes.texts:
            value.set_x(value.get_position()[0] + gap)
        if axes.get_legend() is not None:
            axes.get_legend().remove()


def _close(figure: Any) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
