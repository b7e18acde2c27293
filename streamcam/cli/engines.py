"""``streamcam engines``: list, build and remove the engines of this machine."""

from pathlib import Path
from typing import Any

import click

from streamcam.cli.build_report import build_report
from streamcam.cli.options import configured, settings
from streamcam.engines.store import Entry, Store
from streamcam.errors import EngineError
from streamcam.pipelines import pipeline_of
from streamcam.runtime.auto_settings import settle_model

ENGINE_DIR = click.option(
    "--engine-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder of the engines. [in the user's cache]",
)


@click.group()
def engines() -> None:
    """List, build and remove engines. They are models compiled for this machine."""


@engines.command(name="list")
@ENGINE_DIR
def list_(engine_dir: Path | None) -> None:
    """Show the engines that have been built, newest first."""
    store = Store(engine_dir)
    for entry in store.entries():
        click.echo(_line(entry))
    if not store.entries():
        click.echo(f"no engines in {store.folder}")


@engines.command(options_metavar="[OPTIONS]")
@settings()
@click.option(
    "--tune",
    is_flag=True,
    help="Search for minutes for faster kernels, and keep those that are measured to be faster.",
)
def build(
    presets: tuple[str, ...], assignments: tuple[str, ...], *, tune: bool, **flags: Any
) -> None:
    """Build engines in advance, so that the first start is quick.

    Give the settings that you will run with. With --acceleration auto, the default, all engines
    that can run on this machine are built and measured, and the fastest is used from then on.
    """
    from streamcam.bench.engine_comparison import measure_engines

    config, _ = settle_model(configured(presets, assignments, flags))
    build_engines = pipeline_of(config).build_engines
    if build_engines is None:
        raise EngineError(
            f"pipeline={config.pipeline} uses no engines, so there is nothing to build:"
            " acceleration=compiled compiles its layers each time it starts"
        )
    with build_report() as report:
        # Only one engine runs these, so there is nothing to compare.
        if config.acceleration == "auto" and config.dtype not in ("float8", "int8"):
            measure_engines(config, report, tunes=tune)
        else:
            build_engines(config, report, tune)


@engines.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="Remove all engines.")
@ENGINE_DIR
def remove(keys: tuple[str, ...], everything: bool, engine_dir: Path | None) -> None:
    """Remove engines, each named by the start of its key.

    A broadcast that is using one is not affected.
    """
    if bool(keys) == everything:
        raise click.UsageError("name engines by their keys, or use --all")
    store = Store(engine_dir)
    entries = store.entries()
    for key in keys:
        if not any(entry.key.startswith(key) for entry in entries):
            raise EngineError(f'no engine {key} in {store.folder}; see "streamcam engines list"')
    for entry in entries:
        if everything or entry.key.startswith(keys):
            store.remove(entry)
            click.echo(f"removed {_line(entry)}")
    if everything:
        store.remove_timings()


def _line(entry: Entry) -> str:
    start = f"{entry.key}  {entry.bytes / 1e6:8.1f} MB"
    if not entry.manifest:
        return f"{start}  damaged, will be built again"
    cache_key, refused = entry.manifest["identity"], entry.manifest.get("refused")
    if speeds := entry.manifest.get("ms"):
        timings = ", ".join(f"{name} {ms} ms" for name, ms in speeds.items())
        model = cache_key["settings"].get("model", "unknown")
        return f"{start}  {entry.manifest['made'][:16]}  timings of {model}: {timings}"
    accuracy = f"refused: {refused}" if refused else f"{entry.manifest['psnr']:.0f} dB"
    shape = next(iter(cache_key["inputs"]), "").partition(" ")[2]
    tuned = "  tuned" if "tuned" in entry.manifest else ""
    return (
        f"{start}  {entry.manifest['made'][:16]}  {cache_key['engine']} {cache_key['dtype']}"
        f"  {cache_key['stage'].lower()} {shape}  {accuracy}{tuned}"
    )
