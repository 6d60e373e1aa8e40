"""The script of ``panel serve viewer --args PATH…``."""

import sys

import viewer

# Bokeh names the module it runs; an import, such as a test collector's, does nothing.
if __name__.startswith("bokeh_app_"):
    viewer.app(sys.argv[1:]).servable(title="relfunc")
