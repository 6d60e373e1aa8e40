"""Where points of the map are on the screen, and what a hand does there."""

from collections.abc import Sequence

from playwright.sync_api import Page


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the embedding is on the screen."""
    return tuple(
        page.evaluate(
            """([x, y]) => {
                const within = (view) => view.model.type === "Figure" ? view
                    : (view.child_views ?? []).map(within).find(Boolean)
                const view = Object.values(Bokeh.index.roots ?? Bokeh.index).map(within).find(Boolean)
                const box = view.el.getBoundingClientRect()
                const {x_scale, y_scale} = view.frame
                return [box.x + x_scale.compute(x), box.y + y_scale.compute(y)]
            }""",
            [x, y],
        )
    )


def drag(page: Page, places: Sequence[tuple[float, float]]) -> None:
    """Press the button at the first place and let it go at the last."""
    page.mouse.move(*places[0])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(x, y)
    page.mouse.up()
