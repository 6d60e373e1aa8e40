"""Serving the viewer to this machine's browsers."""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import panel as pn

from relfunc.errors import RelfuncError

from .opening import opened, sources
from .page import app
from .project.project import Failure, ProjectError

HOST: Final = "127.0.0.1"
PORT: Final = 5006


class ServerError(RelfuncError, OSError):
    """The server cannot be started."""


def serve(
    paths: str | Path | Sequence[str | Path],
    *,
    port: int | None = None,
    show: bool = True,
    address: str = HOST,
    **more: Any,
) -> None:
    """Serve the viewer until it is interrupted, and print its address.

    Parameters
    ----------
    paths : str, pathlib.Path or sequence of them
        As :func:`viewer.app` takes them.
    port : int, optional
        Where to listen. By default the first free port from 5006 on.
    show : bool
        Whether to open a browser.
    address : str
        The interface to listen on; by default only this machine can connect. Pages of other origins are refused.
    **more
        Further options of :func:`panel.serve`, such as ``basic_auth``.

    Raises
    ------
    viewer.project.project.ProjectError
        If a project cannot be opened.
    ServerError
        If the port is taken.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    for source in sources(listed):
        project = opened(source)
        if isinstance(project, Failure):
            raise ProjectError(project.reason)
    port = free_port(address) if port is None else checked(address, port)
    url = f"http://{address}:{port}"
    sys.stdout.write(f"The viewer runs at {url} (stop it with Ctrl+C)\n")
    sys.stdout.flush()
    pn.serve(lambda: app(listed), port=port, show=show, **{**options(address, port), **more})


def options(address: str, port: int) -> dict[str, Any]:
    """Return what keeps strangers out: only ``address`` is listened on, and pages of other origins are refused."""
    origins = [f"{address}:{port}", f"localhost:{port}"]
    return {"title": "relfunc", "address": address, "websocket_origin": origins, "verbose": False}


def free_port(address: str = HOST, first: int = PORT) -> int:
    """Return the first port from ``first`` on that nothing listens on.

    Raises
    ------
    ServerError
        If a hundred ports are taken.
    """
    for port in range(first, first + 100):
        if _free(address, port):
            return port
    raise ServerError(f"ports {first} to {first + 99} of {address} are all taken: name another with --port")


def checked(address: str, port: int) -> int:
    """Return ``port`` if nothing listens on it.

    Raises
    ------
    ServerError
        If something does.
    """
    if not _free(address, port):
        raise ServerError(f"port {port} of {address} is taken: name another with --port, or leave it out")
    return port


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
