"""The control page in a real browser: what hands do on it, and what it shows of others."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from streamcam.control.messages import Message
from streamcam.settings.base import traits
from streamcam.settings.parameters import Parameters
from streamcam.sinks.preview import Preview
from streamcam.stats import SinkState
from streamcam.system.web_tokens import WebTokens
from streamcam.types import Frame
from tests.clients.browser import Browser, installed
from tests.control.web.running_page import RunningPage, running_page

pytestmark = pytest.mark.skipif(installed() is None, reason="needs Chromium")

SIZE = 1400, 900
PHONE = 360, 780
RECORD_FAULTS = """
    window.faults = [];
    addEventListener("error", (event) => faults.push(event.message));
    addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
    addEventListener("securitypolicyviolation", (event) => faults.push(event.violatedDirective));
"""


class Show(NamedTuple):
    """A control page, and a browser to use it."""

    server: RunningPage
    browser: Browser

    def change(self, name: str, *arguments: object) -> None:
        """Change a value by other means than this page."""
        message = Message(f"/streamcam/{name}", arguments)  # type: ignore[arg-type]
        assert not self.server.surface.apply([message], "another").refused

    def value(self, name: str) -> object:
        return getattr(self.server.control.target, name)

    def wait_for_value(self, name: str, wanted: object) -> None:
        """Wait until a live value has been changed."""
        self.wait_for(lambda: self.value(name), wanted)

    def wait_for(self, found: Callable[[], object], wanted: object) -> None:
        """Wait until what the page has sent has led to `wanted`."""
        for _ in range(100):
            if found() == wanted:
                return
            self.browser.evaluate("new Promise((done) => setTimeout(done, 50))")
        raise AssertionError(f"it is {found()}, not {wanted}")


@pytest.fixture(scope="module")
def opened() -> Iterator[Show]:
    with running_page() as server, Browser(*SIZE) as browser:
        browser.call("Page.enable")
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=RECORD_FAULTS)
        server.preview.send(Frame(np.zeros((36, 64, 3), np.uint8), 0, 0.0))
        open_page(browser, server.preview.url)
        yield Show(server, browser)


@pytest.fixture
def show(opened: Show) -> Iterator[Show]:
    """The page as it is when a broadcast begins."""
    opened.server.control.change(Parameters().model_dump())
    opened.browser.wait_until(f"{shown('mix')} === '1'")
    yield opened
    assert opened.browser.evaluate("faults") == []


def open_page(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait_until("document.querySelector('[data-connection=open] [data-name=mix]') !== null")


def shown(name: str) -> str:
    """Return a script for the number in the field of a fader."""
    return f"document.querySelector('[data-control={name}] .number input').value"


def pressed(name: str) -> str:
    return f"document.querySelector('button[data-name={name}]').getAttribute('aria-pressed')"


def text_of(selector: str) -> str:
    return f"(document.querySelector({json.dumps(selector)})?.innerText ?? '')"


def test_every_live_value_has_a_control(show: Show) -> None:
    fields = Parameters.model_fields.items()
    in_use = {name for name, field in fields if not (traits(field).needs or traits(field).named_by)}
    names = in_use - {"prompt", "negative_prompt"}
    script = "[...document.querySelectorAll('[data-name], [data-control]')].map((element) =>"
    script += " element.dataset.name ?? element.dataset.control)"
    found = set(show.browser.evaluate(script))
    # A broadcast without a recorder has nothing to start.
    assert names - found == {"record"}


def test_dragging_a_fader_changes_the_value(show: Show) -> None:
    browser = show.browser
    x, y, width, _ = browser.box("input[data-name=mix]")
    browser.mouse("Pressed", x + width / 2 - 8, y)
    for step in range(10):
        browser.mouse("Moved", x + (width / 2 - 8) * (1 - step / 9), y)
    browser.mouse("Released", x, y)
    show.wait_for_value("mix", 0.5)
    browser.wait_until(f"{shown('mix')} === '0.5'")


def test_a_fader_that_is_held_is_not_pulled_away(show: Show) -> None:
    browser = show.browser
    x, y, width, _ = browser.box("input[data-name=mix]")
    browser.mouse("Pressed", x + width / 2 - 8, y)
    browser.mouse("Moved", x, y)
    show.wait_for_value("mix", 0.5)
    show.change("mix", 0.1)
    show.change("detail", 0.25)
    browser.wait_until(f"{shown('detail')} === '0.25'")
    assert browser.evaluate(shown("mix")) == "0.5"
    browser.mouse("Released", x, y)
    browser.wait_until(f"{shown('mix')} === '0.1'")


def test_a_double_click_resets_a_fader(show: Show) -> None:
    show.change("guidance_scale", 7.5)
    show.browser.wait_until(f"{shown('guidance_scale')} === '7.5'")
    show.browser.click("[data-control=guidance_scale] .label", clicks=2)
    show.wait_for_value("guidance_scale", 1.2)


def test_a_number_is_typed(show: Show) -> None:
    show.browser.click("[data-control=guidance_scale] .number input")
    show.browser.type("3,25")
    show.change("guidance_scale", 9)
    show.browser.press("Enter")
    show.wait_for_value("guidance_scale", 3.25)


def test_what_is_no_number_is_refused_in_words(show: Show) -> None:
    show.browser.click("[data-control=detail] .number input")
    show.browser.type("lots")
    show.browser.press("Enter")
    show.browser.wait_until(f"{text_of('.notices')}.includes('“lots” is no number')")
    assert show.value("detail") == 1.0


def test_a_refusal_of_the_server_is_shown(show: Show) -> None:
    show.browser.click("[data-control=t_index_list] input")
    show.browser.type("9000 x")
    show.browser.press("Enter")
    show.browser.wait_until(f"{text_of('.notices')}.includes('t_index_list')")


def test_arrow_keys_move_a_fader(show: Show) -> None:
    show.browser.evaluate("document.querySelector('input[data-name=mix]').focus()")
    show.browser.press("ArrowLeft")
    show.wait_for_value("mix", 0.99)


def test_a_prompt_is_sent_with_enter_and_kept_as_a_draft_before(show: Show) -> None:
    browser = show.browser
    browser.click("#prompt-b")
    browser.type("a red fox")
    show.change("prompt/b/text", "something else")
    show.change("detail", 0.5)
    browser.wait_until(f"{shown('detail')} === '0.5'")
    assert browser.evaluate("document.querySelector('#prompt-b').value") == "a red fox"
    assert show.value("prompt")[1][0] == "something else"  # type: ignore[index]
    browser.press("Enter")
    show.wait_for_value("prompt", (("", 1.0), ("a red fox", 0.0)))
    kept = json.loads(browser.evaluate("localStorage.getItem('streamcam.prompts')"))
    assert kept[0] == "a red fox"


def test_the_crossfader_fades_between_two_prompts(show: Show) -> None:
    show.change("prompt_list", '[["one", 1], ["two", 0], ["three", 0]]')
    show.browser.wait_until("document.querySelector('#prompt-b').value === 'two'")
    show.browser.click(".crossfader input")
    show.wait_for_value("prompt", (("one", 0.5), ("two", 0.5), ("three", 0.0)))


def test_panic_is_seen_whoever_sets_it(show: Show) -> None:
    show.change("panic", 1)
    show.browser.wait_until(f"{text_of('.override-banner')}.includes('PANIC')")
    assert show.browser.evaluate(pressed("panic")) == "true"
    assert show.browser.evaluate("document.title").startswith("PANIC")
    show.browser.click("button[data-name=panic]")
    show.wait_for_value("panic", False)
    show.browser.wait_until(f"{text_of('.override-banner')} === ''")


def test_keys_work_unless_one_is_typing(show: Show) -> None:
    browser = show.browser
    browser.evaluate("document.activeElement.blur()")
    browser.press("k")
    show.wait_for_value("blackout", True)
    browser.click("#prompt-a")
    browser.press("k")
    browser.wait_until("document.querySelector('#prompt-a').value === 'k'")
    browser.press("Escape")
    assert show.value("blackout") is True
    browser.evaluate("document.activeElement.blur()")
    browser.press("?")
    browser.wait_until("document.querySelector('#help').open")
    browser.press("?")
    browser.wait_until("!document.querySelector('#help').open")


def test_a_preset_is_loaded_and_marked(show: Show) -> None:
    name = show.server.surface.presets.names[1]
    tile = "document.querySelectorAll('.tile')[1]"
    show.browser.evaluate(f"{tile}.click()")
    show.browser.wait_until(f"{tile}.getAttribute('aria-pressed') === 'true'")
    assert show.server.surface.presets.current == name


def test_presets_are_saved_and_deleted_where_that_can_be_done(show: Show) -> None:
    browser, commands, sent = show.browser, show.server.surface.commands, []
    for name in ("preset/save", "preset/rename", "preset/delete"):
        commands.bind(name, lambda arguments, name=name: sent.append((name, *arguments)))
    open_page(browser, show.server.preview.url)
    browser.click(".presets form input")
    browser.type("a look of mine")
    browser.click(".presets form button")
    browser.evaluate("document.querySelector('.panel-head button').click()")
    browser.wait_until("document.querySelector('.editable') !== null")
    first = show.server.surface.presets.names[0]
    for _ in "sure", "really":
        browser.evaluate("document.querySelector('.editable button').click()")
        browser.evaluate("new Promise(requestAnimationFrame)")
    browser.wait_until("document.querySelector('.editable button').innerText === 'Really delete'")
    browser.evaluate("document.querySelector('.panel-head button').click()")
    show.wait_for(lambda: sent, [("preset/save", "a look of mine"), ("preset/delete", first)])


def test_two_tabs_follow_each_other(show: Show) -> None:
    browser = show.browser
    with browser.second_tab():
        open_page(browser, show.server.preview.url)
        browser.click("[data-control=mix] .number input")
        browser.type("0.3")
        browser.press("Enter")
        browser.wait_until(f"{shown('mix')} === '0.3'")
    browser.wait_until(f"{shown('mix')} === '0.3'")
    browser.click("[data-control=mix] .reset")
    show.wait_for_value("mix", 1.0)


def test_figures_follow_the_broadcast(show: Show) -> None:
    sinks = SinkState("preview", None, 30.0, 0), SinkState("obs", "no such device", 0.0, 0)
    show.server.view.change_status(
        microphone_delay_ms=123, sink_states=sinks, last_snapshot="/shots/fox.png"
    )
    retried: list[object] = []
    show.server.surface.commands.bind("sink/retry", retried.extend)
    open_page(show.browser, show.server.preview.url)
    show.browser.wait_until(f"{text_of('.microphone')} === 'Delay your microphone by 123 ms'")
    assert show.browser.evaluate(text_of(".sinks .bad")) == "obs\nno such device\nRetry"
    show.browser.click(".sinks .bad button")
    show.browser.wait_until(f"{text_of('.saved')}.includes('Saved fox.png')")
    show.wait_for(lambda: retried, ["obs"])


def test_every_control_has_a_name(show: Show) -> None:
    nodes = show.browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(n["role"]["value"], n["name"]["value"]) for n in nodes if "name" in n]
    named = ("button", "slider", "switch", "textbox", "combobox", "image", "group", "region")
    assert not [role for role, name in roles if role in named and not name]
    assert {role for role, _ in roles} >= {"button", "slider", "switch", "textbox", "alert", "log"}


def test_nothing_is_fetched_from_elsewhere(show: Show) -> None:
    script = "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    assert set(show.browser.evaluate(script)) == {show.server.preview.url.rstrip("/")}


def test_a_phone_shows_every_part_without_scrolling_sideways(show: Show) -> None:
    browser = show.browser
    browser.resize(*PHONE, phone=True)
    try:
        browser.wait_until(f"innerWidth === {PHONE[0]}")
        for tab in range(4):
            browser.evaluate(f"document.querySelectorAll('.tabs button')[{tab}].click()")
            browser.wait_until(
                f"document.querySelectorAll('.tabs button')[{tab}].ariaPressed === 'true'"
            )
            assert browser.evaluate("document.documentElement.scrollWidth") == PHONE[0]
            small = """[...document.querySelectorAll("main button, main select, main input")]
                .filter((element) => element.checkVisibility())
                .filter((element) => element.getBoundingClientRect().height < 32)
                .map((element) => element.outerHTML)"""
            assert browser.evaluate(small) == []
    finally:
        browser.resize(*SIZE)


def test_a_link_for_viewing_changes_nothing(show: Show) -> None:
    browser, view = show.browser, show.server.view
    view.tokens, tokens = WebTokens("the-token-of-this-show"), view.tokens
    with browser.second_tab(), Preview("127.0.0.1", 0, view) as preview:
        open_page(browser, view.tokens.links(preview.url).viewer)
        browser.wait_until(f"{text_of('header')}.includes('view only')")
        open_controls = """[...document.querySelectorAll("main :is(.column, fieldset) .control *")]
            .filter((element) => element.matches("button, input, select"))
            .filter((element) => !element.matches(":disabled")).length"""
        assert browser.evaluate(open_controls) == 0
        browser.press("p")
        browser.click("button[data-name=panic]")
        show.change("detail", 0.5)
        browser.wait_until(f"{shown('detail')} === '0.5'")
        assert show.value("panic") is False
        browser.press("s")
        browser.wait_until("document.querySelector('#before') !== null")
    view.tokens = tokens


def test_a_lost_connection_is_shown_and_found_again(show: Show) -> None:
    browser, view = show.browser, show.server.view
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with browser.second_tab():
        with Preview("127.0.0.1", port, view) as preview:
            open_page(browser, preview.url)
        browser.wait_until(f"{text_of('.connection-banner')}.includes('No connection')")
        fader = "document.querySelector('input[data-name=mix]')"
        assert browser.evaluate(f"{fader}.matches(':disabled')")
        show.server.control.change({"mix": 0.75})
        with Preview("127.0.0.1", port, view):
            browser.wait_until(f"{shown('mix')} === '0.75'")
            assert browser.evaluate(text_of(".connection-banner")) == ""
