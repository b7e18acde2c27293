"""``streamcam models``: list the models that are here, and download more."""

from typing import Any

import click

from streamcam.cli import value_completion
from streamcam.cli.options import configured, settings
from streamcam.embedded_model import NANO, embedded
from streamcam.errors import ModelError
from streamcam.pipelines import pipeline_of
from streamcam.settings.aliases import model_id


@click.group()
def models() -> None:
    """List, download and locate models."""


@models.command(name="list")
def list_() -> None:
    """Show nano, which comes with streamcam, and what is in the cache.

    Those are models, autoencoders and LoRAs.
    """
    from streamcam.models.hub_cache import cached_models

    folder = embedded(NANO)
    files = folder.rglob("*") if folder else ()
    size = sum(file.stat().st_size for file in files if file.is_file())
    click.echo(f"{size / 1e9:7.2f} GB  {NANO}")
    repos = cached_models()
    for repo in repos:
        click.echo(f"{repo.bytes / 1e9:7.2f} GB  {repo.id}")
    if not repos:
        click.echo("no models in the cache; to download one:")
        click.echo("streamcam models pull stabilityai/sd-turbo")


@models.command(options_metavar="[OPTIONS]")
@click.argument("names", nargs=-1, metavar="[ID]...", shell_complete=value_completion.model_names)
@settings()
def pull(
    names: tuple[str, ...], presets: tuple[str, ...], assignments: tuple[str, ...], **flags: Any
) -> None:
    """Download models, each with its autoencoder and LoRAs.

    They come from the Hugging Face hub. Give the settings that you will run with. A download whose
    connection broke continues where it stopped; if the command itself was stopped, files that
    are complete are not downloaded again.
    """
    if not names and not presets and not flags.get("model"):
        raise click.UsageError("name a model, such as stabilityai/sd-turbo, or a --config")
    for fixed in [{"model": name} for name in names] or [{}]:
        config = configured(presets, assignments, flags, **fixed)
        pipeline_of(config).fetch(config, click.echo)


@models.command()
@click.argument("name", metavar="ID", shell_complete=value_completion.model_names)
def path(name: str) -> None:
    """Print the folder of a model: of nano, or of one in the cache."""
    name = model_id(name)
    from streamcam.models.hub_cache import cached_models
    from streamcam.models.model_names import local_path

    if (folder := local_path(name)) is not None:
        click.echo(folder.absolute())
        return
    for repo in cached_models():
        if repo.id == name:
            click.echo(repo.path)
            return
    raise ModelError(f'{name} is not in the cache; fetch it with "streamcam models pull {name}"')
