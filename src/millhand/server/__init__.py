"""Kept jobs asked over HTTP."""

from millhand.server.app import App, build_app
from millhand.server.serve import HttpService, serve, tune_process
from millhand.server.settings import ServerSettings

__all__ = ["App", "HttpService", "ServerSettings", "build_app", "serve", "tune_process"]
