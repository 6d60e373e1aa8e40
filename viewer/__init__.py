"""The application to explore attributions, embeddings and clusters."""

from viewer.page import app
from viewer.server import serve
from viewer.state.view import View

__all__ = ["View", "app", "serve"]
