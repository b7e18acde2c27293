import pytest

from streamcam.errors import ConfigError, ParameterError
from streamcam.settings.config import Config
from streamcam.settings.named_numbers import blended, short_names
from streamcam.settings.parameters import Parameters

LORAS = {"loras/sketch.safetensors": 0.8, "user/Neon City": 0.5}


@pytest.fixture
def config() -> Config:
    return Config.parse({"lora": LORAS})


def test_things_are_called_by_the_last_part_of_their_path_and_no_two_alike() -> None:
    items = ["a/sketch.safetensors", r"C:\b\sketch.SAFETENSORS", "user/Neon City!", "x/sketch", "/"]
    names = list(short_names(items).values())
    assert names == ["sketch", "sketch.SAFETENSORS", "Neon_City", "sketch_2", "unnamed"]


def test_numbers_begin_as_given_at_start(config: Config) -> None:
    assert config.live.lora_scale == (("sketch", 0.8), ("Neon_City", 0.5))
    assert Config().live.lora_scale == ()


def test_those_that_are_not_named_stay(config: Config) -> None:
    changed = config.changed(config.live, {"lora_scale": '{"sketch": 0.1}'})
    assert changed.lora_scale == (("sketch", 0.1), ("Neon_City", 0.5))
    assert config.changed(changed, {"seed": 5}).lora_scale == changed.lora_scale
    given = Config.parse({"lora": LORAS, "live": Parameters.parse({"lora_scale": {"sketch": 0}})})
    assert given.live.lora_scale == (("sketch", 0.0), ("Neon_City", 0.5))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"skech": 1}, r'lora_scale: no lora "skech": did you mean "sketch"'),
        ({"sketch": 11}, r"less than or equal to 10, got 11"),
        ("sketch", r"valid tuple, got 'sketch'"),
        ([1, 2], r"valid tuple"),
        ({"sketch": None}, r"valid number"),
    ],
)
def test_what_fits_no_name_or_range_is_refused(config: Config, value: object, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        config.changed(config.live, {"lora_scale": value})


def test_without_names_there_are_no_numbers() -> None:
    with pytest.raises(ParameterError, match=r'no lora "a": none was given at start'):
        Config().changed(Parameters(), {"lora_scale": {"a": 1}})
    with pytest.raises(ConfigError, match="less than or equal to 10"):
        Config.parse({"lora": {"a": 11}})


def test_a_snapshot_survives_json(config: Config) -> None:
    # As the engine process gets it.
    assert Parameters.model_validate_json(config.live.model_dump_json()) == config.live


def test_a_fade_goes_name_by_name() -> None:
    assert blended((("a", 0.0), ("b", 1.0)), (("b", 0.0), ("c", 2.0)), 0.25) == (
        ("b", 0.75),
        ("c", 2.0),
    )
