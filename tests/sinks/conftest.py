"""Fixtures for the tests of sinks."""

from tests.support.plugin_packages import plugins

__all__ = ["plugins"]
