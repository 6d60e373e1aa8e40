"""A panel is a value: what it reads, what it asks for, how that is made and shown. One function wires them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from bokeh.document import Document

from ..jobs import latest
from ..project.project import Opened, Project
from ..state.view import TROUBLE, Shown, View, current, project_of
from ..widgets import Part, card, spacer

Parts = TypeVar("Parts")
Job = TypeVar("Job")
Result = TypeVar("Result")

Redraw = Callable[[], None]
Place = Literal["side", "toolbar", "map", "tip", "rail", "below"]
"""A region of the page, as :func:`viewer.page.page` lays it out."""


@dataclass(frozen=True, eq=False)
class Session:
    """One visitor's page.

    Parameters
    ----------
    projects : sequence of Project or Failure
        What was opened.
    view : View
        What of it is shown.
    document : bokeh.document.Document, optional
        The page. Without one, outside a server, all work is done at once.
    """

    projects: Sequence[Opened]
    view: View
    document: Document | None = None

    @property
    def shown(self) -> Shown | None:
        """What is shown now; None if there is nothing."""
        return current(self.projects, self.view)

    @property
    def project(self) -> Project | None:
        """The project that is chosen, whether or not it can be shown; None if it could not be opened."""
        return project_of(self.projects, self.view)

    @property
    def ended(self) -> bool:
        """Whether the visitor has left."""
        if self.document is None:
            return False
        context = self.document.session_context  # Bokeh keeps no ended session alive
        return context is None or context.destroyed


def always(_: Any) -> bool:
    """Return True."""
    return True


def never(_: Any) -> bool:
    """Return False."""
    return False


@dataclass(frozen=True, kw_only=True)
class Panel(Generic[Parts, Job, Result]):
    """A part of the page that shows something of what is chosen.

    Parameters
    ----------
    name : str
        Unlike every other panel's.
    place : str
        Where on the page it lies.
    reads : tuple of str
        Parameters of the view; it is redrawn when one of them changes.
    build : callable
        Makes its parts for a session, and listens to them; it may also be given what redraws the panel.
    work : callable
        Does a job, in another thread; it must not touch the page.
    show : callable
        Puts the result of a job on the page.
    clear : callable
        Shows nothing but why: an error's message, empty where there is nothing to show.
    ask : callable
        Takes the parts and what is shown, and says what is to be done: all that ``work`` needs, by default what is
        shown; None if there is nothing to show.
    given : callable
        What ``ask`` is given: :func:`viewer.state.view.current`, or the project alone; where that is None, nothing is
        asked.
    wait : callable
        Told of a job whose result will take the place of that of other samples.
    subject : tuple of str
        Parameters of the view that a result belongs to: once one of them has changed, it is no longer shown.
    at_once : callable
        Whether a job takes so little time that it is done in the page's own thread.
    tab : str
        What the button is called that shows it in turn with others of its place; empty if it takes no turns.
    seen : callable
        Whether a view shows it, besides its tab.
    unseen : {"rests", "works", "unbuilt"}
        While it is not seen, it does no work; or is kept up to date, to be there at once; or is not even built before
        it is first seen, for a part that costs the browser time.
    kind : str
        The kind of card it is laid in; empty for none.
    body, bar : callable
        Those of its parts that lie in its place, and those in the bar above the tabs' panels.
    """

    name: str
    place: Place
    reads: tuple[str, ...]
    build: Callable[[Session, Redraw], Parts]
    work: Callable[[Job], Result]
    show: Callable[[Parts, Job, Result], None]
    clear: Callable[[Parts, str], None]
    ask: Callable[[Parts, Any], Job | None] = lambda _, given: given
    given: Callable[[Sequence[Opened], View], Any] = current
    wait: Callable[[Parts, Job], None] | None = None
    subject: tuple[str, ...] = ("points",)
    at_once: Callable[[Job], bool] = never
    tab: str = ""
    seen: Callable[[View], bool] = always
    unseen: Literal["rests", "works", "unbuilt"] = "rests"
    kind: str = ""
    body: Callable[[Any], Sequence[Part]] = tuple
    bar: Callable[[Any], Sequence[Part]] = lambda _: (spacer(),)

    def is_seen(self, view: View) -> bool:
        """Whether a view shows it."""
        return self.seen(view) and (not self.tab or view.panel == self.name)

    def is_due(self, view: View) -> bool:
        """Whether it is to be kept up to date."""
        return self.unseen == "works" or self.is_seen(view)


class Laid(NamedTuple):
    """The parts of a panel that go to its place, and those that go to the bar; they are added to when it is built."""

    body: list[Part]
    bar: list[Part]


def wire(panel: Panel[Any, Any, Any], session: Session) -> Laid:
    """Build a panel, redraw it when what it reads has changed, and let it be seen when the view shows it."""
    view, laid, built = session.view, Laid([], []), list[Redraw]()
    holder = card(kind=panel.kind) if panel.kind else None
    if holder is not None:
        laid.body.append(holder)

    def begin() -> None:
        parts, redraw = _connected(panel, session)
        (laid.body if holder is None else holder).extend(panel.body(parts))
        if panel.tab:
            laid.bar.extend(panel.bar(parts))
        built.append(redraw)

    def follow(*_: Any) -> None:
        seen = panel.is_seen(view)
        if not built and (seen or panel.unseen != "unbuilt"):
            begin()
        if panel.tab or panel.seen is not always:
            for part in (*laid.body, *laid.bar):
                part.visible = seen
        for redraw in built:
            redraw()

    view.param.watch(follow, [*panel.reads, *(["panel"] if panel.tab else [])])
    follow()
    return laid


def _connected(panel: Panel[Any, Any, Any], session: Session) -> tuple[Any, Redraw]:
    """Build a panel and return its parts, and what redraws it if that is due."""

    def redraw() -> None:
        if panel.is_due(session.view):
            given = panel.given(session.projects, session.view)
            request(None if given is None else panel.ask(parts, given))

    parts = panel.build(session, redraw)
    request = requests(
        session,
        panel.work,
        partial(panel.show, parts),
        partial(panel.clear, parts),
        wait=None if panel.wait is None else partial(panel.wait, parts),
        subject=panel.subject,
        due=panel.is_due,
        at_once=panel.at_once,
    )
    return parts, redraw


class _Request(NamedTuple):
    number: int
    subject: tuple[Any, ...]
    job: Any


def requests(
    session: Session,
    work: Callable[[Job], Result],
    show: Callable[[Job, Result], None],
    clear: Callable[[str], None],
    *,
    wait: Callable[[Job], None] | None = None,
    subject: tuple[str, ...] = ("points",),
    due: Callable[[View], bool] = always,
    at_once: Callable[[Job], bool] = never,
) -> Callable[[Job | None], None]:
    """Make a function that has jobs done beside the page, of which the latest is sure to be done and shown.

    Parameters
    ----------
    session : Session
        Whose page it is. Once it has ended, nothing is done or shown.
    work, show, clear, wait, subject, at_once
        As :class:`Panel` has them, without its parts.
    due : callable
        Whether results are wanted by a view.

    Returns
    -------
    callable
        Takes a job, or None if there is nothing to show.
    """
    view, numbers = session.view, {"asked": 0, "shown": 0}
    on_page: list[Any] = []

    def attempt(request: _Request) -> Any:
        if session.ended:
            return None
        try:
            return work(request.job)
        except TROUBLE as error:
            return error

    def finish(request: _Request, made: Any) -> None:
        mine = _same(request.subject, _values(view, subject)) and request.number > numbers["shown"]
        if session.ended or not mine or not due(view):
            return
        numbers["shown"] = request.number
        on_page[:] = request.subject
        if isinstance(made, Exception):
            clear(str(made))
        else:
            show(request.job, made)

    def ask(job: Job | None) -> None:
        numbers["asked"] += 1
        if job is None:
            numbers["shown"] = numbers["asked"]  # what is under way comes too late
            on_page.clear()
            clear("")
            return
        request = _Request(numbers["asked"], _values(view, subject), job)
        if at_once(job):
            finish(request, attempt(request))
            return
        if wait is not None and not _same(request.subject, on_page):
            wait(job)
        send(request)

    send = latest(attempt, finish, session.document)
    return ask


def _values(view: View, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(view, name) for name in names)


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two sequences hold the same objects; equal arrays may be selections of different samples."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
