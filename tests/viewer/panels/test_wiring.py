"""The wiring of panels, with panels made up for it, and the table of those on the page."""

import queue
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import panel as pn
import pytest

import viewer
from viewer.panels.table import PANELS
from viewer.panels.wiring import Panel, Place, Session, wire
from viewer.project.project import Failure, Points, ProjectError
from viewer.state.view import TROUBLE, View, choose, current, project_of
from viewer.widgets import markup


class Document:
    """What the wiring knows of Bokeh's document; a job is done, and its callback called, at a tick."""

    def __init__(self):
        self.session_context: Any = SimpleNamespace(destroyed=False)
        self.gate, self.due = threading.Semaphore(0), queue.SimpleQueue()

    def add_next_tick_callback(self, callback):
        self.due.put(callback)

    def tick(self):
        self.gate.release()
        self.due.get(timeout=10)()


class Stage:
    """A made-up panel on a page: it asks for the number of the page, and logs what becomes of it."""

    def __init__(self, project, **changes):
        self.log, self.view, self.document = [], View(), Document()
        self.begun = threading.Semaphore(0)
        choose(self.view, project)
        self.panel = Panel(
            **{
                "name": "made-up",
                "place": "rail",
                "reads": ("points", "page"),
                "build": self.build,
                "ask": lambda _, shown: shown.page,
                "work": self.work,
                "show": lambda _, job, made: self.log.append(f"show {made}"),
                "clear": lambda _, why: self.log.append(f"clear {why}".strip()),
                **changes,
            }
        )
        self.session: Any = Session([project], self.view, self.document)  # type: ignore[arg-type]
        self.laid = wire(self.panel, self.session)

    def build(self, session, redraw):
        self.log.append("build")
        return (markup("made up"),)

    def work(self, job):
        if threading.current_thread() is not threading.main_thread():
            self.begun.release()
            assert self.document.gate.acquire(timeout=10)
        self.log.append(f"work {job}")
        if job == 13:
            raise OSError("no such file")
        return job

    def do(self, step):
        match step:
            case "tick":
                self.document.tick()
            case "begun":
                assert self.begun.acquire(timeout=10)
            case "end":
                self.document.session_context.destroyed = True
            case "forget":
                self.document.session_context = None
            case "another class":
                self.view.points = Points(np.arange(3))
            case "nothing":
                self.view.points = None
            case str():
                self.view.panel = step
            case int():
                self.view.page = step


def shown_at_once(job):
    return job == 2


TAB = {"tab": "Made up"}
CASES = {
    "the later of two in flight wins": ({}, [1, 2, "tick", "tick"], ["work 0", "show 0", "work 2", "show 2"]),
    "what a later one replaced is passed over": (
        {},
        [1, 2, 3, 4, "tick", "tick"],
        ["work 0", "show 0", "work 4", "show 4"],
    ),
    "what is done at once is not overtaken by what began before": (
        {"at_once": shown_at_once},
        [2, "tick"],
        ["work 2", "show 2", "work 0"],
    ),
    "an error becomes a notice and the next request recovers": (
        {},
        ["tick", 13, "tick", 1, "tick"],
        ["work 0", "show 0", "work 13", "clear no such file", "work 1", "show 1"],
    ),
    "an error at once becomes a notice too": (
        {"at_once": lambda job: job > 0},
        ["tick", 13, 1],
        ["work 0", "show 0", "work 13", "clear no such file", "work 1", "show 1"],
    ),
    "what is of another class is not shown": (
        {"reads": ("page",)},
        ["another class", "tick", 1, "tick"],
        ["work 0", "work 1", "show 1"],
    ),
    "what belongs to nothing in particular is shown all the same": (
        {"reads": ("page",), "subject": ()},
        ["another class", "tick"],
        ["work 0", "show 0"],
    ),
    "where there is nothing to show, what is under way comes too late": (
        {"ask": lambda _, shown: shown.page or None},
        [1, 0, "tick"],
        ["clear", "clear", "work 1"],
    ),
    "without points nothing is asked": ({}, ["tick", "nothing", 1], ["work 0", "show 0", "clear", "clear"]),
    "a hidden panel does no work": (TAB, [1, 2, 3], []),
    "a hidden panel works once it is seen": (TAB, [1, "made-up", "tick"], ["work 1", "show 1"]),
    "what comes when the panel is hidden is not shown": (
        TAB,
        ["made-up", "samples", "tick", "made-up", "tick"],
        ["work 0", "work 0", "show 0"],
    ),
    "a panel that is to be there at once works while it is hidden": (
        {**TAB, "unseen": "works"},
        ["tick", 1, "tick"],
        ["work 0", "show 0", "work 1", "show 1"],
    ),
    "a session that has ended gets nothing": ({}, ["begun", 1, "end", "tick", "tick"], ["work 0"]),
    "a session that was forgotten gets nothing": ({}, ["begun", "forget", "tick", 1, "tick"], ["work 0"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_asked_for_is_done_and_shown(project, case):
    changes, steps, expected = CASES[case]
    stage = Stage(project, **changes)
    for step in steps:
        stage.do(step)
    assert stage.log == ["build", *expected]


@pytest.mark.parametrize("kind", [*TROUBLE, ProjectError])
def test_every_trouble_is_told_and_no_fault_is_hidden(project, kind):
    def work(job):
        if job == 1:
            raise kind("trouble")
        return 1 // job

    stage = Stage(project, work=work)
    with pytest.raises(ZeroDivisionError):
        stage.do("tick")
    for step in (1, "tick", 2, "tick"):
        stage.do(step)
    assert stage.log == ["build", "clear trouble", "show 0"]


def test_a_wait_is_announced_for_other_samples_only(project):
    said = []
    stage = Stage(project, wait=lambda _, job: said.append(job))
    for step in ("tick", 1, "tick", "another class", 2):
        stage.do(step)
    assert said == [0, 1, 2]


def test_outside_a_server_everything_is_done_at_once(project):
    log = []
    stage = Stage(project, reads=("page",), seen=lambda _: False)
    panel = replace(stage.panel, seen=lambda _: True, show=lambda _, job, made: log.append(made))
    wire(panel, Session([project], stage.view))
    stage.view.page = 3
    assert log == [0, 3]


def test_a_panel_that_costs_much_is_built_when_it_is_first_seen(project):
    stage = Stage(project, seen=lambda view: view.page > 0, unseen="unbuilt", kind="second")
    (holder,) = stage.laid.body
    assert isinstance(holder, pn.Column)
    assert (stage.log, len(holder), holder.visible) == ([], 0, False)
    for step in (1, "tick", 0, 2, "tick"):
        stage.do(step)
    assert stage.log == ["build", "work 1", "show 1", "work 2", "show 2"]
    assert (len(holder), holder.visible) == (1, True)


def test_nothing_is_shown_of_a_project_that_could_not_be_opened(project):
    view = View()
    assert current([project], view) is None
    assert project_of([project], view) is project
    choose(view, project)
    shown = current([project], view)
    assert shown is not None
    assert (shown.project, shown.points, shown.category) == (project, view.points, "ring")
    assert current([Failure(project.path, "broken")], view) is None
    assert project_of([Failure(project.path, "broken")], view) is None


def test_names_are_distinct_and_what_is_read_exists():
    assert len({panel.name for panel in PANELS}) == len(PANELS)
    assert len({panel.tab for panel in PANELS if panel.tab}) == sum(bool(panel.tab) for panel in PANELS)
    for panel in PANELS:
        assert panel.name
        assert panel.place in get_args(Place)
        assert {*panel.reads, *panel.subject} <= set(View.param)
        assert bool(panel.tab) == (panel.place == "below")
    assert View().panel in {panel.name for panel in PANELS if panel.tab}


@pytest.fixture
def laid(monkeypatch):
    """What the wiring lays on the page that is made next, by panel."""
    found = {}

    def recorded(panel, session):
        found[panel.name] = wire(panel, session)
        return found[panel.name]

    monkeypatch.setattr("viewer.page.wire", recorded)
    return found


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_every_panel_is_on_the_page(folder, project, laid, panel):
    view = View()
    page = viewer.app(folder, view=view)
    choose(view, project, second="spectral")
    if panel.tab:
        view.panel = panel.name
    body = laid[panel.name].body
    assert any(part.visible for part in body)
    assert {*body} <= {*page.select()}
    turns = [other for other in PANELS if other.tab and other.name != view.panel]
    assert not any(part.visible for other in turns for part in laid[other.name].body)


def test_a_panel_in_the_table_is_all_it_takes(folder, project, laid, monkeypatch):
    stage = Stage(project)
    mine = replace(stage.panel, name="mine", place="below", tab="Mine", work=lambda job: job)
    monkeypatch.setattr("viewer.page.PANELS", (*PANELS, mine))
    view = View()
    page = viewer.app(folder, view=view)
    tabs = next(group for group in page.select(pn.widgets.RadioButtonGroup) if "Mine" in group.options)
    tabs.value = "mine"
    assert stage.log[-1] == "show 0"
    assert all(part.visible for part in laid["mine"].body)
    assert not any(part.visible for part in (*laid["samples"].body, *laid["samples"].bar))


def test_a_panel_that_is_not_there_is_named(folder):
    with pytest.raises(ProjectError, match="no panel 'maps': choose one of samples, clusters, compare"):
        viewer.app(folder, view=View(panel="maps"))
