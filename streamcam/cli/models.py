"""``streamcam models``: what is in the cache, and how to get more into it."""

import click

from streamcam.errors import ModelError


@click.group()
def models() -> None:
    """List, fetch and find models."""


@models.command(name="list")
def list_() -> None:
    """Show the models in the cache, and the random ones that need none."""
    from streamcam.diffusion.hub import cached

    found = cached()
    for repo in found:
        click.echo(f"{repo.bytes / 1e9:7.2f} GB  {repo.id}")
    if not found:
        click.echo("no models in the cache; one way to get one:")
        click.echo("streamcam models pull stabilityai/sd-turbo")


@models.command()
@click.argument("names", nargs=-1, metavar="[ID]...")
@click.option(
    "--config",
    "presets",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="Fetch all that a preset needs.",
)
def pull(names: tuple[str, ...], presets: tuple[str, ...]) -> None:
    """Fetch models from the hub, each with the autoencoder and LCM-LoRA it runs with.

    An interrupted download goes on where it stopped.
    """
    from streamcam.cli.options import configured
    from streamcam.diffusion.checkpoint import fetch

    if not names and not presets:
        raise click.UsageError("name a model, such as stabilityai/sd-turbo, or a --config")
    configs = [configured(presets, (), {"model": name}) for name in names] or [
        configured(presets, (), {})
    ]
    for config in configs:
        fetch(config, click.echo)


@models.command()
@click.argument("name", metavar="ID")
def path(name: str) -> None:
    """Print the folder that a model in the cache lies in."""
    from streamcam.diffusion.hub import cached

    for repo in cached():
        if repo.id == name:
            click.echo(repo.path)
            return
    raise ModelError(f'{name} is not in the cache; fetch it with "streamcam models pull {name}"')
