"""``streamcam engines``: what has been built for this machine, and building it ahead."""

from pathlib import Path
from typing import Any

import click

from streamcam.cli.options import configured, settings
from streamcam.engines.store import Entry, Store
from streamcam.errors import EngineError
from streamcam.pipelines import pipeline_of
from streamcam.runtime.auto_settings import settle_model

FOLDER = click.option(
    "--engine-dir", type=Path, metavar="DIR", help="Where they are kept. [the user's cache]"
)


@click.group()
def engines() -> None:
    """List, build and remove engines: models made ready for this machine."""


@engines.command(name="list")
@FOLDER
def list_(engine_dir: Path | None) -> None:
    """Show the engines there are, newest first."""
    store = Store(engine_dir)
    for entry in store.entries():
        click.echo(_line(entry))
    if not store.entries():
        click.echo(f"no engines in {store.folder}")


@engines.command(options_metavar="[OPTIONS]")
@settings()
def build(presets: tuple[str, ...], assignments: tuple[str, ...], **flags: Any) -> None:
    """Build the engines of a stream, so that its first start finds them.

    Give the settings that you will run with. With --acceleration auto, which is its default, all
    engines that can run here are built and measured, and the fastest is taken from then on.
    """
    from streamcam.bench.engine_comparison import measure_engines

    config, _ = settle_model(configured(presets, assignments, flags))
    build_engines = pipeline_of(config).build_engines
    if build_engines is None:
        raise EngineError(
            f"pipeline={config.pipeline} uses no engines, so there is nothing to build:"
            " acceleration=compiled compiles its layers each time it starts"
        )
    # There is but one engine for float8.
    if config.acceleration == "auto" and config.dtype != "float8":
        measure_engines(config, click.echo)
    else:
        build_engines(config, click.echo)


@engines.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="Remove them all.")
@FOLDER
def remove(keys: tuple[str, ...], everything: bool, engine_dir: Path | None) -> None:
    """Remove engines by the beginning of their keys; a stream that runs on one goes on."""
    if bool(keys) == everything:
        raise click.UsageError("name engines by their keys, or give --all")
    store = Store(engine_dir)
    found = store.entries()
    for key in keys:
        if not any(entry.key.startswith(key) for entry in found):
            raise EngineError(f'no engine {key} in {store.folder}; see "streamcam engines list"')
    for entry in found:
        if everything or entry.key.startswith(keys):
            store.remove(entry)
            click.echo(f"removed {_line(entry)}")


def _line(entry: Entry) -> str:
    size = f"{entry.key}  {entry.bytes / 1e6:8.1f} MB"
    if not entry.manifest:
        return f"{size}  damaged, will be built anew"
    cache_key, refused = entry.manifest["identity"], entry.manifest.get("refused")
    if speeds := entry.manifest.get("ms"):
        told = ", ".join(f"{name} {ms} ms" for name, ms in speeds.items())
        model = cache_key["settings"]["model"]
        return f"{size}  {entry.manifest['made'][:16]}  speeds of {model}: {told}"
    how = f"refused: {refused}" if refused else f"{entry.manifest['psnr']:.0f} dB"
    shape = cache_key["inputs"][0].partition(" ")[2]
    return (
        f"{size}  {entry.manifest['made'][:16]}  {cache_key['engine']} {cache_key['dtype']}"
        f"  {cache_key['stage'].lower()} {shape}  {how}"
    )
