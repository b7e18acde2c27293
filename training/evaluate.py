"""Evaluate a trained model on held-out scenes, as a table and contact sheets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streamcam.bench.harness import STILL_FRAMES, STILL_NOISE, mean_frame_difference
from streamcam.types import Image
from training import contact_sheets, looks, wordings
from training.dataset import HELD_OUT, ColouredLook, scene
from training.measures import edge_correlation, psnr
from training.renderer import Renderer

SETTINGS: Mapping[str, dict[str, Any]] = {
    "[40]": {"t_index_list": (40,)},
    "[45]": {"t_index_list": (45,)},
    "[32]": {"t_index_list": (32,)},
    "[32, 45]": {"t_index_list": (32, 45)},
    "[30, 40]": {"t_index_list": (30, 40)},
    "[40, 43, 46]": {"t_index_list": (40, 43, 46)},
    "[40] self 1.5": {"cfg_type": "self", "guidance_scale": 1.5},
}
DEFAULT_SETTING = "[40]"


class Case(NamedTuple):
    """Look in some colours, with prompts that ask for it."""

    coloured_look: ColouredLook
    prompt: str
    held_out_prompt: str
    """With a wording that training never uses."""

    @property
    def name(self) -> str:
        """Return the name in tables, such as "neon (blue, black)"."""
        look, colours = self.coloured_look
        return f"{look} ({', '.join(colours)})" if colours else look


def cases(seed: int) -> list[Case]:
    """Return every look without colours, and in a colour where it takes one."""
    rng = np.random.default_rng((seed, HELD_OUT))
    result = []
    for name, look in looks.LOOKS.items():
        for count in sorted({min(look.colours), 1} & set(look.colours)):
            colours = looks.draw_colours(rng, name)
            while len(colours) != count:
                colours = looks.draw_colours(rng, name)
            prompt, held_out_prompt = (
                wordings.wording(rng, name, colours, held_out=held_out)
                for held_out in (False, True)
            )
            result.append(Case((name, colours), prompt, held_out_prompt))
    return result


def held_out_scenes(seed: int, count: int, size: int) -> list[Image]:
    """Return scenes that training never draws."""
    return [scene(seed, index, size, held_out=True) for index in range(count)]


class Row(NamedTuple):
    """Figures of one case, as means over all scenes."""

    case: Case
    source_psnr: float
    """PSNR of the source to the target in dB: the score of doing nothing."""
    autoencoder_psnr: float
    """PSNR in dB of the target encoded and decoded, without the U-Net."""
    edge_correlation: float
    """Correlation of edges with the target's at the default setting."""
    held_out_psnr: float
    """PSNR in dB at the default setting, with the held-out prompt."""
    psnr_by_setting: dict[str, float]
    """PSNR in dB by name in `SETTINGS`."""


def measure(renderer: Renderer, case: Case, images: Sequence[Image]) -> Row:
    """Measure one case over all settings."""
    targets = [looks.render(image, *case.coloured_look) for image in images]

    def mean(measure_one: Callable[[Image, Image], float], outputs: Sequence[Image]) -> float:
        return float(np.mean([measure_one(*pair) for pair in zip(outputs, targets, strict=True)]))

    outputs = renderer.render(images, case.prompt)
    return Row(
        case,
        source_psnr=mean(psnr, images),
        autoencoder_psnr=mean(psnr, [renderer.round_trip(target) for target in targets]),
        edge_correlation=mean(edge_correlation, outputs),
        held_out_psnr=mean(psnr, renderer.render(images, case.held_out_prompt)),
        psnr_by_setting={
            name: mean(psnr, renderer.render(images, case.prompt, **settings))
            for name, settings in SETTINGS.items()
        },
    )


def stillness(renderer: Renderer, case: Case, image: Image) -> float:
    """Return the model's frame differences on a still, noisy image, divided by the source's."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, STILL_NOISE, (STILL_FRAMES, *image.shape))
    noisy = [np.clip(image + n, 0, 255).astype(np.uint8) for n in noise]
    return mean_frame_difference(renderer.render(noisy, case.prompt)) / mean_frame_difference(noisy)


def table(rows: Sequence[Row], still: Mapping[str, float]) -> str:
    """Return the figures as Markdown."""
    names = list(SETTINGS)
    lines = [
        "| look | nothing | autoencoder | "
        + " | ".join(names)
        + " | unseen words | edges | still |",
        "|---|" + "--:|" * (len(names) + 5),
    ]
    for row in rows:
        figures = [
            row.source_psnr,
            row.autoencoder_psnr,
            *row.psnr_by_setting.values(),
            row.held_out_psnr,
        ]
        cells = [
            row.case.name,
            *(f"{figure:.1f}" for figure in figures),
            f"{row.edge_correlation:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {still[row.case.name]:.2f} |")
    means = np.mean(
        [
            [r.source_psnr, r.autoencoder_psnr, *r.psnr_by_setting.values(), r.held_out_psnr]
            for r in rows
        ],
        0,
    )
    cells = ["**mean**", *(f"{figure:.1f}" for figure in means)]
    lines.append(f"| {' | '.join(cells)} | | |")
    return "\n".join(lines) + "\n"


def shortcomings(rows: Sequence[Row], still: Mapping[str, float]) -> list[str]:
    """Return one line for each requirement that the model does not meet."""
    mean = float(np.mean([row.psnr_by_setting[DEFAULT_SETTING] for row in rows]))
    lines = [f"mean PSNR {mean:.1f} dB is below 24"] if mean < 24 else []
    for row in rows:
        default_psnr = row.psnr_by_setting[DEFAULT_SETTING]
        # The plain look is the source itself, or close to it.
        if default_psnr < row.source_psnr and row.case.coloured_look[0] != looks.PLAIN:
            lines.append(
                f"{row.case.name}: {default_psnr:.1f} dB, doing nothing {row.source_psnr:.1f}"
            )
        if looks.LOOKS[row.case.coloured_look[0]].lines and row.edge_correlation < 0.6:
            lines.append(
                f"{row.case.name}: edges agree by {row.edge_correlation:.2f}, less than 0.6"
            )
        if still[row.case.name] > 1.2:
            lines.append(f"{row.case.name}: moves {still[row.case.name]:.2f} times the source")
    return lines


def evaluate(
    folder: Path, out: Path, *, seed: int, size: int, scenes: int = 8, most_cases: int | None = None
) -> str:
    """Write ``evaluation.md`` and the sheets to `out`; return the text."""
    renderer = Renderer(folder, size)
    images = held_out_scenes(seed, scenes, size)
    all_cases = cases(seed)[:most_cases]
    rows = [measure(renderer, case, images) for case in all_cases]
    still = {case.name: stillness(renderer, case, images[0]) for case in all_cases}
    lines = shortcomings(rows, still)
    text = "PSNR to the target in dB, by t_index_list.\n\n" + table(rows, still)
    text += (
        "\n".join(["", "Shortcomings:", "", *(f"- {line}" for line in lines or ["none"])]) + "\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    contact_sheets.write_sheets(renderer, all_cases, images, out)
    return text
