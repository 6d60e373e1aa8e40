"""What to show: class, embedding, clustering, colours; and the classes by score."""

from collections.abc import Sequence
from typing import Any

from .colouring import BY, SCORE
from .components import Part, Rows, beside, card, choice, title
from .project import Held, Project, axes, categories, clustering_names, embedding_names
from .scores import measures, ranking, score_names
from .state import View, show


def sidebar(projects: Sequence[Held], view: View) -> Part:
    """Make the choices of what to show, and the classes by score."""
    picks = {
        name: choice(label)
        for name, label in (("category", "Class"), ("embedding", "Embedding"), ("clustering", "Clustering"))
    }
    axis = {name: choice(f"{name.upper()} axis") for name in ("x", "y")}
    both = beside(*axis.values())
    colour = choice("Colour of the points", options={by.capitalize(): by for by in BY}, value=view.colour)
    colour.param.watch(
        lambda event: event.new == view.colour or view.param.update(colour=event.new, hidden=[]), "value"
    )
    score, ranked, heading = (
        choice("Ranking of the classes", css_classes=["quiet"]),
        Rows(sizing_mode="stretch_width", margin=0),
        title("Classes"),
    )

    for name, widget in {**picks, **axis}.items():
        widget.param.watch(
            lambda event, name=name: (
                event.new in (None, getattr(view, name)) or show(projects, view, **{name: event.new})
            ),
            "value",
        )
    score.param.watch(lambda event: rank(), "value")
    ranked.on_msg(lambda event: opened(event.data["pick"]))

    def opened(category: str) -> None:
        project = projects[view.project]
        assert isinstance(project, Project)
        # With the clustering whose score it is, so that what ranked the class can be seen.
        clustering = next((one.clustering for one in ranking(project, score.value) if one.category == category), "")
        show(projects, view, category=category, **({"clustering": clustering} if clustering else {}))

    def colours(*_: Any) -> None:
        project = projects[view.project]
        scores: list[str] = []
        if isinstance(project, Project) and view.points is not None:
            scores = [f"{SCORE}{name}" for name in measures(project, view.category)]
        offered = dict.fromkeys((*BY, *scores, view.colour))
        colour.param.update(options={by.capitalize(): by for by in offered}, value=view.colour)

    def offer(*_: Any) -> None:
        project = projects[view.project]
        offered: dict[str, Sequence[Any]] = {name: [] for name in (*picks, *axis)}
        if isinstance(project, Project) and view.points is not None:
            dims = axes(project, view.category, view.embedding) if view.embedding else 0
            offered = {
                "category": categories(project),
                "embedding": embedding_names(project, view.category),
                "clustering": clustering_names(project, view.category),
                "x": range(dims),
                "y": range(dims),
            }
        for name, widget in {**picks, **axis}.items():
            widget.param.update(
                options={str(value + 1): value for value in offered[name]} if name in axis else list(offered[name]),
                value=getattr(view, name) if offered[name] else None,
                disabled=not offered[name],
            )
        both.visible = len(offered["x"]) > 2
        scores = score_names(project) if isinstance(project, Project) else ()
        score.param.update(
            options={f"by {name}": name for name in scores},
            value=score.value if score.value in scores else next(iter(scores), None),
        )
        score.visible = len(scores) > 1
        rank()

    def rank() -> None:
        project = projects[view.project]
        held = ranking(project, score.value) if isinstance(project, Project) and score.value else ()
        heading.object = "<h2>Classes</h2>" if held else ""
        best = max((abs(one.value) for one in held), default=0) or 1
        ranked.items = [
            {
                "key": one.category,
                "name": one.category,
                "value": f"{one.value:.3g}",
                "note": None if one.cluster is None else f"{one.size:,} samples apart · {one.clustering}",
                "share": max(one.value, 0) / best,
                "on": one.category == view.category,
                "hint": "Open this class",
            }
            for one in held
        ]

    view.param.watch(colours, ["points", "colour"])
    view.param.watch(offer, ["points", "trouble"])
    colours()
    offer()
    return card(*picks.values(), both, colour, heading, score, ranked, kind="side")
