"""Fixtures for the tests of sources."""

from tests.support.plugin_packages import plugins

__all__ = ["plugins"]
