import socket
import subprocess
import sys

import pytest

from viewer.project.project import ProjectError
from viewer.server import HOST, ServerError, checked, free_port, serve


def test_a_project_that_cannot_be_opened_stops_before_serving(tmp_path):
    with pytest.raises(ProjectError, match=r"attributions\.nc"):
        serve(tmp_path, show=False)


def test_a_taken_port_is_named():
    with socket.socket() as held:
        held.bind((HOST, 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} of {HOST} is taken"):
            checked(HOST, port)
        assert free_port(first=port) != port


def test_the_viewer_does_without_torch():
    code = "import sys, viewer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
