import traceback

import pytest

from streamcam.errors import ConfigError, DeviceError, MediaError, StreamcamError
from streamcam.redaction import redacted, redacted_url
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources.source_table import open_source

SECRETS = ("s3cret", "t0ken", "k3y", "us3r")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://us3r:s3cret@host:554/live?token=t0ken", "rtsp://host:554/live"),
        ("rtsp://us3r:s3cret@[fe80::1]:554/live", "rtsp://[fe80::1]:554/live"),
        ("RTSP://us3r:s3cret@host/live#t=t0ken", "RTSP://host/live"),
        ("rtsp://us3r:a/s3cret@host/live", "rtsp://host/live"),
        ("rtsp://us3r:a@b?s3cret#c@host/live", "rtsp://host/live"),
        ("rtsp://us3r:my s3cret@host/live", "rtsp://host/live"),
        ("rtsp://us3r:my\"s3'cret@host/live", "rtsp://host/live"),
        ("rtsp://us3r@host", "rtsp://host"),
        ("rstp://us3r:s3cret@host/live", "rstp://host/live"),
        ("us3r:s3cret@host/live", "host/live"),
        ("rtsp:/us3r:s3cret@host/live", "rtsp:/host/live"),
        ("rtsp:us3r:s3cret@host/live", "host/live"),
        ("srt://host:9000?passphrase=s3cret&streamid=k3y", "srt://host:9000"),
        ("rtmp://host/app/k3y", "rtmp://host/app/***"),
        ("https://host/video;auth=t0ken", "https://host/video"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("https://host/page#section", "https://host/page#section"),
    ],
)
def test_a_url_is_shown_without_what_lets_others_in(url: str, shown: str) -> None:
    assert redacted_url(url) == shown
    assert redacted_url(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "cannot read rtsp://us3r:s3cret@host/live?a=t0ken: Connection refused",
        "source: 'http://us3r:s3cret@host/a', then (https://host/b?sig=t0ken).",
        'no source or file "us3r:s3cret@host": did you mean camera?',
        "Opening 'https://host/x.ts?t0ken' for reading\nrtsp://us3r:s3cret@host",
        "--source=us3r:s3cret@host",
    ],
)
def test_urls_inside_a_text_are_cut_and_the_text_stays(text: str) -> None:
    shown = redacted(text)
    assert not any(secret in shown for secret in SECRETS)
    assert "host" in shown


@pytest.mark.parametrize("kind", [ConfigError, MediaError, DeviceError])
def test_no_error_shows_a_password(kind: type[StreamcamError]) -> None:
    error = kind("cannot read rtsp://us3r:s3cret@host/live")
    assert str(error) == "cannot read rtsp://host/live"
    assert "s3cret" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("spec", ["us3r:s3cret@host", "rtsp:us3r:s3cret@host"])
def test_a_source_without_its_slashes_is_refused_without_its_password(spec: str) -> None:
    with pytest.raises(StreamcamError) as refused:
        open_source(spec, BroadcastSettings())
    assert "host" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "the page is http://127.0.0.1:8090/, since there is no virtual camera",
        "a portrait: 50% oil, mail me@example.org at 12:30",
        "preview http://[::1]:8090/ (see https://github.com/streamcam/streamcam#readme).",
        "/dev/video0: busy; sink virtual-camera:streamcam",
    ],
)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text
