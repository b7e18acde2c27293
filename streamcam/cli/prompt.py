"""``streamcam prompt``: change the prompt of a running broadcast, or show it."""

import json
import time
from collections.abc import Iterator

import click

from streamcam.cli import value_completion
from streamcam.cli.osc_client import Client, client_options
from streamcam.control.messages import Message
from streamcam.errors import printable
from streamcam.runtime.parameters_summary import prompt_text
from streamcam.settings.base import as_utf8
from streamcam.settings.parameters import Parameters

READING_S = 3.0
"""Longest wait for the model to read a new prompt, before it is asked what it made of it."""
ASK_AGAIN_S = 0.05
NOT_READ = {
    True: "the model is still loading, and reads it then",
    False: "the model has not read it yet",
}
"""By whether the model is loading."""


@click.command(options_metavar="[OPTIONS]")
@click.argument("words", nargs=-1, metavar="[TEXT]...", shell_complete=value_completion.looks)
@click.option(
    "--blend",
    metavar="TEXT",
    help="Blend with a second text.",
    shell_complete=value_completion.looks,
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    metavar="0-1",
    help="Share of the second text in the blend.  [0.5]",
)
@click.option("--negative", metavar="TEXT", help="Set the negative prompt: what to avoid.")
@click.option(
    "--fade",
    type=click.FloatRange(0, 600),
    metavar="SECONDS",
    help="Fade the prompt in over this time. Default: the setting prompt_time.",
)
@client_options
def prompt(
    words: tuple[str, ...],
    blend: str | None,
    share: float | None,
    negative: str | None,
    fade: float | None,
    host: str,
    port: int,
    prefix: str,
) -> None:
    """Change the prompt of a running broadcast. Without a text, show it.

    streamcam prompt "oil painting" --fade 4

    Several words need no quotes; an empty text ("") clears the prompt. What is shown is what the
    broadcast has taken.
    """
    if (share is not None and blend is None) or (blend is not None and not words):
        raise click.UsageError("a blend needs a text and --blend, such as prompt oil --blend neon")
    if fade is not None and not words:
        raise click.UsageError("--fade needs a text to fade in")
    messages = list(_changes(words, blend, 0.5 if share is None else share, fade, prefix))
    if negative is not None:
        messages.append(Message(f"{prefix}/negative_prompt", (as_utf8(negative),)))
    with Client(host, port, prefix) as client:
        for message in messages:
            client.ask(message)
        if words or not messages:
            over = f", fading in over {fade:g} s" if fade else ""
            click.echo(f'prompt: "{_prompt(client, f"{prefix}/prompt")}"{over}')
        if negative is not None:
            click.echo(f'negative prompt: "{_prompt(client, f"{prefix}/negative_prompt")}"')
        if messages and not _is_read(client):
            click.echo(NOT_READ[_text(client, f"{prefix}/stat/state") == "loading"])
        elif notice := _text(client, f"{prefix}/stat/notice"):
            click.echo(printable(notice))


def _changes(
    words: tuple[str, ...], blend: str | None, share: float, fade: float | None, prefix: str
) -> Iterator[Message]:
    """Yield the message that sets the prompt, if there is one."""
    if not words:
        return
    text = as_utf8(" ".join(words))
    if blend is not None:
        weighted = [[text, 1 - share], [as_utf8(blend), share]]
        text = json.dumps(weighted, ensure_ascii=False)
    if fade is None:
        yield Message(f"{prefix}/prompt", (text,))
    else:
        yield Message(f"{prefix}/prompt/fade", (text, fade))


def _is_read(client: Client) -> bool:
    """Wait until the model has read the newest prompt; return False if it takes too long."""
    until = time.monotonic() + READING_S
    while _text(client, f"{client.prefix}/stat/prompt_read") == "0":
        is_loading = _text(client, f"{client.prefix}/stat/state") == "loading"
        if is_loading or time.monotonic() >= until:
            return False
        time.sleep(ASK_AGAIN_S)
    return True


def _prompt(client: Client, address: str) -> str:
    """Return the prompt at `address` of the broadcast; of several, with their shares."""
    text = _text(client, address)
    return printable(prompt_text(Parameters.parse({"prompt": text}).prompt))


def _text(client: Client, address: str) -> str:
    get = Message(f"{client.prefix}/get", (address,))
    answers = dict(client.ask(get, strict=False))
    return str(next(iter(answers.get(address, ())), ""))
