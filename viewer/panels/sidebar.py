"""What to show: class, embedding, clustering, colours; and the classes by score."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.results.words import p_words

from ..draw.colouring import BY, SCORE
from ..project.project import Project, axes, categories, clustering_names, embedding_names
from ..project.scores import SEPARABILITY, Ranked, measures, ranking, score_names
from ..state.view import Shown, View, project_of
from ..state.view import show as show_in
from ..widgets import Part, Rows, beside, choice, title
from .wiring import Panel, Redraw, Session, always

LEVEL: Final = 0.05
"""Of the p-values that are called more than chance."""
LISTS: Final = {"category": "Class", "embedding": "Embedding", "clustering": "Clustering"}
AXES: Final = {"x": "X axis", "y": "Y axis"}


class Choices(NamedTuple):
    """The lists to choose from, by parameter of the view, and what holds the axes."""

    lists: dict[str, Any]
    axes: Part
    colour: Any
    view: View


class Classes(NamedTuple):
    """The classes by score: the heading, the score, the list, and the session they are of."""

    heading: Any
    score: Any
    rows: Rows
    session: Session


class Ranking(NamedTuple):
    """What the classes can be ranked by, what they are, and the classes, the first one first."""

    scores: tuple[str, ...]
    score: str | None
    classes: Sequence[Ranked]


def build_choices(session: Session, redraw: Redraw) -> Choices:
    """Make the lists to choose from."""
    view = session.view
    lists = {name: choice(label) for name, label in {**LISTS, **AXES}.items()}
    for name, widget in lists.items():
        widget.param.watch(
            lambda event, name=name: (
                event.new in (None, getattr(view, name)) or show_in(session.projects, view, **{name: event.new})
            ),
            "value",
        )
    colour = choice("Colour of the points", options={by.capitalize(): by for by in BY}, value=view.colour)
    colour.param.watch(
        lambda event: event.new == view.colour or view.param.update(colour=event.new, hidden=[]), "value"
    )
    return Choices(lists, beside(*(lists[name] for name in AXES)), colour, view)


def choices_of(shown: Shown) -> dict[str, Sequence[Any]]:
    """Find what there is to choose from."""
    project, category = shown.project, shown.category
    dims = range(axes(project, category, shown.embedding) if shown.embedding else 0)
    return {
        "category": categories(project),
        "embedding": embedding_names(project, category),
        "clustering": clustering_names(project, category),
        "x": dims,
        "y": dims,
        "colour": [f"{SCORE}{name}" for name in measures(project, category)],
    }


def show_choices(choices: Choices, _: Any, offered: dict[str, Sequence[Any]]) -> None:
    """Offer what there is to choose from."""
    view = choices.view
    colours = dict.fromkeys((*BY, *offered["colour"], view.colour))
    choices.colour.param.update(options={by.capitalize(): by for by in colours}, value=view.colour)
    for name, widget in choices.lists.items():
        widget.param.update(
            options={str(value + 1): value for value in offered[name]} if name in AXES else list(offered[name]),
            value=getattr(view, name) if offered[name] else None,
            disabled=not offered[name],
        )
    choices.axes.visible = len(offered["x"]) > 2


def clear_choices(choices: Choices, _: str) -> None:
    """Offer nothing."""
    show_choices(choices, None, {name: [] for name in (*LISTS, *AXES, "colour")})


def build_classes(session: Session, redraw: Redraw) -> Classes:
    """Make the list of classes."""
    score = choice("Ranking of the classes", css_classes=["quiet"])
    classes = Classes(title("Classes"), score, Rows(sizing_mode="stretch_width", margin=0), session)
    score.param.watch(lambda _: redraw(), "value")
    classes.rows.on_msg(lambda event: _open(classes, event.data["pick"]))
    return classes


def ask_classes(classes: Classes, project: Project) -> tuple[Project, str | None]:
    """Ask for the classes by the score that is chosen."""
    return project, classes.score.value


def ranked(job: tuple[Project, str | None]) -> Ranking:
    """Rank the classes by a score, or by the first there is."""
    project, wanted = job
    names = score_names(project)
    score = wanted if wanted in names else next(iter(names), None)
    return Ranking(names, score, ranking(project, score) if score else ())


def show_classes(classes: Classes, _: Any, found: Ranking) -> None:
    """List the classes, and offer other scores to rank them by."""
    judged = any(one.margin is not None for one in found.classes)
    names = {SEPARABILITY: "evidence"} if judged else {}
    classes.score.param.update(
        options={f"by {names.get(name, name)}": name for name in found.scores}, value=found.score
    )
    classes.score.visible = len(found.scores) > 1
    classes.heading.object = "<h2>Classes</h2>" if found.classes else ""
    values = [one.value if one.margin is None else one.margin for one in found.classes]
    best = max((abs(value) for value in values if np.isfinite(value)), default=0) or 1
    classes.rows.items = [
        {
            "key": one.category,
            "name": one.category,
            "value": f"{value:.3g}" if np.isfinite(value) else "–",
            "verdict": None if one.margin is None else verdict(one.p_value),
            "apart": one.p_value <= LEVEL,
            "note": None if one.cluster is None else f"{one.size:,} samples{_apart(one)} · {one.clustering}",
            "share": max(value, 0) / best if np.isfinite(value) else 0,
            "on": one.category == classes.session.view.category,
            "hint": "Open this class" + ("" if one.margin is None else f": separability {one.value:.3g}"),
        }
        for one, value in zip(found.classes, values, strict=True)
    ]


def _apart(one: Ranked) -> str:
    return "" if one.margin is not None and not one.p_value <= LEVEL else " apart"


def verdict(p_value: float) -> str:
    """Say in words what a p-value, corrected for the number of classes, means.

    Examples
    --------
    >>> [verdict(p) for p in (0.00004, 0.0312, 0.4, np.nan)]
    ['stands apart, p < 0.0001', 'stands apart, p = 0.031', 'no more than chance', 'cannot be told from chance']
    """
    if np.isnan(p_value):
        return "cannot be told from chance"
    if p_value > LEVEL:
        return "no more than chance"
    return f"stands apart, {p_words(p_value)}"


def clear_classes(classes: Classes, _: str) -> None:
    """List no classes: the map says why."""
    show_classes(classes, None, Ranking((), None, ()))


def _open(classes: Classes, category: str) -> None:
    session, score = classes.session, classes.score.value
    if session.project is None:
        return
    # With the clustering whose score it is, so that what ranked the class can be seen.
    clustering = next((one.clustering for one in ranking(session.project, score) if one.category == category), "")
    also = {"clustering": clustering} if clustering else {}
    show_in(session.projects, session.view, category=category, **also)


CHOICES: Final = Panel(
    name="choices",
    place="side",
    reads=("points", "trouble", "colour"),
    build=build_choices,
    work=choices_of,
    show=show_choices,
    clear=clear_choices,
    at_once=always,
    body=lambda choices: (*(choices.lists[name] for name in LISTS), choices.axes, choices.colour),
)
CLASSES: Final = Panel(
    name="classes",
    place="side",
    reads=("points", "trouble"),
    build=build_classes,
    given=project_of,
    ask=ask_classes,
    work=ranked,
    show=show_classes,
    clear=clear_classes,
    at_once=always,
    body=lambda classes: (classes.heading, classes.score, classes.rows),
)
