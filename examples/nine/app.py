"""Answers every request with the name of its runtime."""

import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"served by Python {sys.version_info.major}\n".encode()]
