"""The Hugging Face hub, and staying off it."""

import pytest
from huggingface_hub import constants

from streamcam.models import hub


@pytest.mark.parametrize("before", [False, True])
def test_the_libraries_are_offline_only_within_the_context(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
    with hub.offline_mode(offline=True):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is before
    with hub.offline_mode(offline=False):
        assert constants.HF_HUB_OFFLINE is before
