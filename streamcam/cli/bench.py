"""``streamcam bench``."""

import click


@click.group()
def bench() -> None:
    """Measure, in one run and on the same weights."""
