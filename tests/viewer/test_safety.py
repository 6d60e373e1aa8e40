"""What a stranger cannot do, and what visitors leave behind: nothing."""

import gc
import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import panel as pn
import pytest
from bokeh.client import pull_session
from bokeh.document import Document
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

import viewer
from viewer.server import HOST, options
from viewer.state.view import View, select

from .chromium import free_port, serving


@pytest.fixture(scope="module")
def server(folder) -> Iterator[SimpleNamespace]:
    """Serve in a thread, and forget sessions soon after they end."""
    port, views, documents = free_port(), [], []

    def app() -> pn.viewable.Viewable:
        views.append(View())
        documents.append(pn.state.curdoc)
        return viewer.app(folder, view=views[-1])

    soon = {"check_unused_sessions_milliseconds": 200, "unused_session_lifetime_milliseconds": 300}
    thread = pn.serve(app, port=port, show=False, threaded=True, **options(HOST, port), **soon)
    url = f"http://{HOST}:{port}"
    for _ in range(100):
        try:
            _get(HOST, port, "/static/js/bokeh.min.js")
            break
        except OSError:
            time.sleep(0.1)
    yield SimpleNamespace(port=port, url=url, views=views, documents=documents)
    thread.stop()


def test_only_this_machine_can_connect(server):
    assert options(HOST, server.port)["address"] == "127.0.0.1"
    with pytest.raises(OSError):
        _get("127.0.0.2", server.port, "/")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_is_refused(server, origin):
    assert _handshake(server, origin) == 403


def test_the_page_itself_is_not_refused(server):
    # Without a token the server closes the connection, after it has accepted the origin.
    assert _handshake(server, server.url) is None


def test_with_a_password_a_stranger_is_sent_to_the_login(folder):
    port = free_port()
    command = ["panel", "serve", "viewer", "--port", str(port), "--basic-auth", "pass", "--cookie-secret", "secret"]
    with serving(*command, "--args", str(folder), path="/viewer", port=port):
        status, content = _get(HOST, port, "/viewer")
    assert status == 302
    assert b"img-0000" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2f..%2f..%2fetc/passwd",
        "/static//etc/passwd",
        "/static/extensions/panel/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/components/os/../../../../etc/passwd",
        "/attributions.nc",
        "/viewer/page.py",
    ],
)
def test_no_file_is_served(server, path):
    status, content = _get(HOST, server.port, path)
    assert status in (400, 403, 404)
    assert b"root:" not in content


@pytest.mark.parametrize("identifier", ["../../secret", "..%2fsecret", "/etc/passwd", "a/b", ""])
def test_a_link_names_no_file_outside_the_findings(folder, identifier):
    (folder.parent / "secret.json").write_text('{"relfunc": 1, "name": "secret"}')
    view = View()
    page = viewer.app(folder, view=view)
    viewer.page.follow_link([viewer.opening.opened(folder)], view, f"?project=shapes&finding={identifier}")
    assert "secret" not in {item["name"] for item in page.select(viewer.widgets.Keep)[0].items}
    assert view.points is not None
    assert not view.trouble


def test_visitors_do_not_see_each_other_s_choices(server):
    sessions = [pull_session(url=server.url) for _ in range(3)]
    one, two, three = server.views[-3:]
    server.documents[-3].add_next_tick_callback(lambda: select(one, np.array([1, 2])))
    server.documents[-2].add_next_tick_callback(lambda: two.param.update(colour="label", hidden=[0]))
    for _ in range(100):
        if one.selected.size and two.hidden:
            break
        time.sleep(0.1)
    assert [view.selected.size for view in (one, two, three)] == [2, 0, 0]
    assert [view.colour for view in (one, two, three)] == ["cluster", "label", "cluster"]
    assert one.points is two.points is three.points
    for session in sessions:
        session.close()


@pytest.mark.slow
def test_sessions_are_freed_when_they_end(server):
    _come_and_go(server, 3)
    before = _alive(server)
    _come_and_go(server, 6)
    assert _alive(server) == before


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _handshake(server: SimpleNamespace, origin: str) -> int | None:
    """Return the status with which a connection is refused, None if it is not."""
    request = HTTPRequest(f"ws://{HOST}:{server.port}/ws", headers={"Origin": origin})
    loop = IOLoop(make_current=False)
    try:
        loop.run_sync(lambda: websocket_connect(request, subprotocols=["bokeh", "none"]), timeout=10)
    except HTTPClientError as error:
        return error.code
    finally:
        loop.close()
    return None


def _come_and_go(server: SimpleNamespace, times: int) -> None:
    for _ in range(times):
        pull_session(url=server.url).close()
    server.views.clear()
    server.documents.clear()


def _alive(server: SimpleNamespace) -> tuple[int, int]:
    """Count documents and views, once the sessions that ended have been forgotten."""
    counts = (0, 0)
    for _ in range(40):
        time.sleep(0.25)
        gc.collect()
        # Of the type: asking an object of its class makes some of them warn.
        kinds = [type(each) for each in gc.get_objects()]
        latest = sum(issubclass(kind, Document) for kind in kinds), kinds.count(View)
        if latest == counts:
            break
        counts = latest
    return counts
