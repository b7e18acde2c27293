"""Faders, knobs, pads and program changes move values, and none ever jumps."""

import pytest

from tests.control.midi.controller import Controller

FADER = '[controls]\n"cc 0" = "guidance_scale"\n'


def test_a_fader_takes_nothing_until_it_reaches_the_value() -> None:
    controller = Controller(FADER, guidance_scale=2)
    assert controller.cc(0, 20, 50).guidance_scale == 2
    assert controller.cc(64).guidance_scale == pytest.approx(4 * 64 / 127)
    assert controller.cc(127).guidance_scale == 4
    assert controller.cc(0).guidance_scale == 0


@pytest.mark.parametrize("moves", [(10, 100), (100, 10)])
def test_a_fast_fader_picks_a_value_up_as_it_crosses_it(moves: tuple[int, int]) -> None:
    controller = Controller(FADER, guidance_scale=2)
    assert controller.cc(*moves).guidance_scale == pytest.approx(4 * moves[1] / 127)


def test_a_value_that_another_client_changes_is_let_go() -> None:
    controller = Controller(FADER, guidance_scale=0)
    assert controller.cc(0, 10).guidance_scale == pytest.approx(4 * 10 / 127)
    controller.change("guidance_scale", 3.5)
    assert controller.cc(11, 12).guidance_scale == 3.5
    assert controller.cc(120).guidance_scale == pytest.approx(4 * 120 / 127)


def test_a_value_that_is_set_late_is_still_the_one_of_the_fader() -> None:
    controller = Controller(FADER, guidance_scale=0)
    controller.cc(0, 64)
    controller.change("guidance_scale", 4 * 64 / 127 + 0.01)
    assert controller.cc(127).guidance_scale == 4


@pytest.mark.parametrize(
    "line",
    [
        '{ address = "guidance_scale", pickup = false }',
        '{ address = "guidance_scale", motor = true }',
    ],
)
def test_a_motor_fader_needs_no_pick_up(line: str) -> None:
    controller = Controller(f'[controls]\n"cc 0" = {line}\n', guidance_scale=2)
    assert controller.cc(127).guidance_scale == 4
    assert Controller(f"pickup = false\n{FADER}", guidance_scale=2).cc(127).guidance_scale == 4


def test_a_value_that_is_not_set_yet_is_taken_at_once() -> None:
    controller = Controller('[controls]\n"cc 0" = "strength"\n')
    assert controller.surface.control.target.strength is None
    assert controller.cc(127).strength == 1


def test_a_fader_may_span_a_part_of_the_range_or_run_backwards() -> None:
    line = '"cc 0" = { address = "guidance_scale", range = [4, 1] }'
    controller = Controller(f"[controls]\n{line}\n", guidance_scale=4)
    assert controller.cc(0).guidance_scale == 4
    assert controller.cc(127).guidance_scale == 1


def test_a_fader_spans_what_the_model_wants_and_leaves_alone_what_is_beyond() -> None:
    text = '[controls]\n"cc 0" = "strength"\n"cc 1" = "guidance_scale"\n'
    controller = Controller(text, faders={"strength": 0.5}, strength=0.25)
    assert controller.cc(64).strength == pytest.approx(0.5 * 64 / 127)
    controller.change("strength", 0.8)
    assert controller.feedback() == [(0xB0, 0, 127), (0xB0, 1, 38)]
    assert controller.cc(70, number=1).strength == 0.8
    assert controller.cc(50, 60).strength == 0.8
    assert controller.cc(127).strength == 0.5


def test_a_fader_picks_whole_numbers_and_choices_up_too() -> None:
    text = '[controls]\n"cc 0" = "rotate"\n"cc 1" = "num_inference_steps"\n'
    controller = Controller(text, num_inference_steps=50, rotate="180")
    assert controller.cc(0).rotate == "180"
    assert controller.cc(90, 127).rotate == "270"
    assert controller.cc(0, number=1).num_inference_steps == 50
    assert controller.cc(127, number=1).num_inference_steps == 100
    assert controller.cc(126, number=1).num_inference_steps == 99


def test_controllers_of_14_bits_are_finer_than_7() -> None:
    controller = Controller('[controls]\n"cc14 0" = "mix"\n', mix=0)
    assert controller(0xB0, 0, 0, 0xB0, 32, 1).mix == pytest.approx(1 / 16383)
    assert controller(0xB0, 0, 127, 0xB0, 32, 127).mix == 1
    controller = Controller('[controls]\n"nrpn 300" = "mix"\n"pitch ch 1" = "detail"\n', mix=0.5)
    select = (0xB0, 99, 2, 0xB0, 98, 44)
    assert controller(*select, 0xB0, 6, 64, 0xB0, 38, 1).mix == pytest.approx(8193 / 16383)
    assert controller(0xE0, 0x7F, 0x7F, 0xE0, 1, 0x40).detail == pytest.approx(8193 / 16383)


@pytest.mark.parametrize(
    ("encoding", "up", "down"),
    [("twos-complement", 1, 127), ("offset", 65, 63), ("sign-bit", 1, 65), ("auto", 1, 127)],
)
def test_encoders_move_values_by_steps_from_wherever_they_are(
    encoding: str, up: int, down: int
) -> None:
    line = f'"cc 0" = {{ address = "mix", relative = "{encoding}", step = 0.1 }}'
    controller = Controller(f"[controls]\n{line}\n", mix=0.5)
    assert controller.cc(up, up).mix == pytest.approx(0.7)
    controller.change("mix", 0.2)
    assert controller.cc(down).mix == pytest.approx(0.1)
    assert controller.cc(down, down, down, up).mix == pytest.approx(0.1)


def test_encoders_step_through_whole_numbers_choices_and_flags() -> None:
    names = {0: "seed", 1: "rotate", 2: "freeze", 3: "preset/next", 4: "num_inference_steps"}
    lines = [
        f'"cc {n}" = {{ address = "{a}", relative = "twos-complement" }}' for n, a in names.items()
    ]
    controller = Controller("[controls]\n" + "\n".join(lines), seed=7)
    assert controller.cc(1, 1, 127).seed == 8
    assert controller.cc(1, 1, 1, 1, 1, number=1).rotate == "270"
    assert controller.cc(127, number=1).rotate == "180"
    assert controller.cc(1, number=2).freeze
    assert not controller.cc(127, number=2).freeze
    assert controller.cc(1, number=4).num_inference_steps == 51
    controller.cc(127, number=3)
    assert controller.surface.presets.current is None
    controller.cc(1, number=3)
    assert controller.surface.presets.current == controller.surface.presets.names[0]


def test_many_steps_in_one_batch_add_up() -> None:
    line = '"cc 0" = { address = "seed", relative = "twos-complement" }'
    controller = Controller(f"[controls]\n{line}\n", seed=100)
    assert controller(*(0xB0, 0, 2) * 50).seed == 200


def test_encoders_do_not_pull_in_what_was_set_beyond_a_fader() -> None:
    line = '"cc 0" = { address = "seed", relative = "twos-complement" }'
    controller = Controller(f"[controls]\n{line}\n", seed=123456)
    assert controller.cc(1).seed == 123456
    assert controller.cc(127).seed == 123455


def test_pads_toggle_flags_press_buttons_and_send_values() -> None:
    controller = Controller("""
        [controls]
        "note 36" = "freeze"
        "note 37" = "snapshot"
        "note 38" = { address = "preset/load", value = "neon" }
        "note 39" = { address = "prompt", value = "oil painting" }
        "note 40" = "rotate"
        "note 41" = { address = "blackout", mode = "follow" }
        "note 42" = "mix"
        "note 43" = { address = "detail", velocity = true }
        "note 44" = "play"
    """)
    assert controller(0x90, 36, 1).freeze
    assert controller(0x80, 36, 0).freeze
    assert not controller(0x90, 36, 127).freeze
    assert controller(0x90, 37, 9, 0x90, 37, 0, 0x90, 37, 9).snapshot == 2
    controller(0x90, 38, 100)
    assert controller.surface.presets.current == "neon"
    assert controller(0x90, 39, 100).prompt == (("oil painting", 1.0),)
    assert controller(0x90, 40, 100, 0x90, 40, 100).rotate == "180"
    assert controller(0x90, 41, 100).blackout
    assert not controller(0x90, 41, 0).blackout
    assert controller(0x90, 42, 3).mix == 0
    assert controller(0x90, 42, 3).mix == 1
    assert controller(0x90, 43, 64).detail == pytest.approx(64 / 127)
    assert controller(0x80, 43, 64).detail == pytest.approx(64 / 127)
    assert [controller(0x90, 44, 1).freeze for _ in range(3)] == [False, True, False]


def test_two_presses_in_one_batch_toggle_twice() -> None:
    controller = Controller('[controls]\n"note 36" = "freeze"\n')
    assert not controller(0x90, 36, 1, 0x80, 36, 0, 0x90, 36, 1).freeze
    assert controller(0x90, 36, 1).freeze


def test_buttons_that_are_controllers_count_once_a_press() -> None:
    controller = Controller("""
        [controls]
        "cc 0" = "freeze"
        "cc 1" = { address = "panic", mode = "follow" }
        "cc 2" = { address = "rotate", mode = "toggle" }
        "cc 3" = { address = "prompt", value = "ink", relative = "offset" }
    """)
    assert controller.cc(127, 0, number=2).rotate == "90"
    assert controller.cc(127, 0, number=2).rotate == "180"
    assert controller.cc(65, number=3).prompt == (("ink", 1.0),)
    assert controller.cc(127).freeze
    assert controller.cc(127, 0).freeze
    assert not controller.cc(127, 0).freeze
    assert controller.cc(127, number=1).panic
    assert not controller.cc(0, number=1).panic


def test_program_changes_load_presets_in_their_order_without_a_mapping() -> None:
    controller = Controller("")
    names = controller.surface.presets.names
    controller(0xC0, 2)
    assert controller.surface.presets.current == names[2]
    controller(0xC5, 127)
    assert controller.surface.presets.current == names[2]
    assert 'no "127"' in controller.refused[0][1]


def test_program_changes_may_do_something_else_or_nothing() -> None:
    controller = Controller('programs = ""\n')
    controller(0xC0, 2)
    assert controller.surface.presets.current is None
    controller = Controller(
        '[controls]\n"program 5" = "panic"\n"program" = { address = "seed", offset = 1000 }\n'
    )
    assert controller(0xC0, 5).panic
    assert controller(0xC0, 6).seed == 1006


def test_a_control_may_have_one_meaning_for_each_channel() -> None:
    controller = Controller('[controls]\n"cc 0" = "seed"\n"cc 0 ch 2" = "mix"\n', mix=0, seed=0)
    after = controller(0xB1, 0, 0, 0xB1, 0, 127)
    assert (after.mix, after.seed) == (1, 0)
    assert controller(0xB4, 0, 0, 0xB4, 0, 127).seed == 9999


def test_a_control_may_move_several_values_at_once() -> None:
    line = '"cc 0" = ["mix", { address = "detail", range = [1, 0] }]'
    after = Controller(f"[controls]\n{line}\n", mix=0).cc(0, 127)
    assert (after.mix, after.detail) == (1, 0)


def test_of_a_flood_only_the_newest_position_is_applied() -> None:
    controller = Controller(FADER, guidance_scale=0)
    changes: list[float] = []
    controller.surface.control.listen(lambda _before, after: changes.append(after.guidance_scale))
    controller(*(byte for n in range(5000) for byte in (0xB0, 0, n % 128)), 0xB0, 0, 127)
    assert changes == [4]
    assert controller.port.lost == 5001 - 4096


def test_feedback_is_what_other_clients_change() -> None:
    controller = Controller("""
        [controls]
        "cc 0" = "mix"
        "cc14 1" = "detail"
        "pitch ch 2" = "guidance_scale"
        "note 36" = "freeze"
        "note 37 ch 3" = { address = "preset/load", value = "neon", on = 21, off = 5 }
        "note 38" = "snapshot"
        "cc 9" = { address = "delta", feedback = false }
    """)
    first = controller.feedback()
    assert (0xB0, 0, 127) in first
    assert (0x90, 36, 0) in first
    assert (0x92, 37, 5) in first
    assert all(data[1] != 38 and data[1] != 9 for data in first)
    assert controller.feedback() == []
    controller.change("mix", 0.5)
    assert controller.feedback() == [(0xB0, 0, 64)]
    controller.change("detail", 0.5)
    assert controller.feedback() == [(0xB0, 1, 64), (0xB0, 33, 0)]
    controller.change("guidance_scale", 30)
    assert controller.feedback() == [(0xE1, 0x7F, 0x7F)]
    controller.change("preset/load", "neon")
    assert (0x92, 37, 21) in controller.feedback()


def test_a_fader_is_sent_nothing_while_it_is_moved() -> None:
    line = '"cc 0" = { address = "mix", motor = true }'
    controller = Controller(f"[controls]\n{line}\n", mix=0)
    controller.feedback()
    controller.now += 1
    controller.cc(100)
    controller.change("mix", 0)
    assert controller.feedback(after_s=0.1) == []
    assert controller.port.needs_feedback
    assert controller.feedback(after_s=0.5) == [(0xB0, 0, 0)]
    controller.cc(100)
    assert controller.feedback() == []


def test_a_pad_shows_the_flag_whatever_it_did_to_its_own_light() -> None:
    controller = Controller('[controls]\n"note 36" = "freeze"\n')
    controller.feedback()
    controller(0x94, 36, 100)
    assert controller.feedback(after_s=0.01) == [(0x94, 36, 127)]
    assert controller.feedback(after_s=0.01) == []
    controller(0x84, 36, 0)
    assert controller.feedback(after_s=0.01) == [(0x94, 36, 127)]


def test_a_control_that_repeats_what_it_is_sent_changes_nothing() -> None:
    controller = Controller('[controls]\n"cc 0" = "mix"\n"note 36" = "freeze"\n', mix=0)
    controller.feedback()
    controller.change("mix", 0.5)
    controller.change("freeze", True)
    echo = [byte for data in controller.feedback() for byte in data]
    after = controller(*echo)
    assert (after.mix, after.freeze) == (0.5, True)
    controller.now += 0.1
    assert not controller(0x90, 36, 127).freeze


def test_a_motor_fader_may_send_where_it_passes() -> None:
    line = '"cc 0" = { address = "mix", motor = true }'
    controller = Controller(f"[controls]\n{line}\n", mix=0)
    controller.feedback()
    controller.change("mix", 1)
    assert controller.feedback() == [(0xB0, 0, 127)]
    assert controller.cc(30, 70, 127).mix == 1
    controller.now += 1
    assert controller.cc(120).mix == pytest.approx(120 / 127)


def test_the_ring_of_an_encoder_follows_it() -> None:
    line = '"cc 0" = { address = "mix", relative = "twos-complement", step = 0.5 }'
    controller = Controller(f"[controls]\n{line}\n", mix=0)
    controller.feedback()
    controller.cc(1)
    assert controller.feedback() == [(0xB0, 0, 64)]
