"""What a trained model can do, on scenes that it has never seen: a table and contact sheets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streamcam.bench.harness import STILL_FRAMES, STILL_NOISE, mean_frame_difference
from streamcam.types import Image
from training import contact_sheets, looks, wordings
from training.dataset import HELD_OUT, Shown, scene
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
HOME = "[40]"


class Case(NamedTuple):
    """A look in some colours, asked for in some words."""

    shown: Shown
    prompt: str
    unseen_words: str

    @property
    def name(self) -> str:
        """Return what tables call it."""
        look, colours = self.shown
        return f"{look} ({', '.join(colours)})" if colours else look


def cases(seed: int) -> list[Case]:
    """Return every look as it is, and in a colour where it takes one."""
    rng = np.random.default_rng((seed, HELD_OUT))
    found = []
    for name, look in looks.LOOKS.items():
        for count in sorted({min(look.colours), 1} & set(look.colours)):
            colours = looks.draw_colours(rng, name)
            while len(colours) != count:
                colours = looks.draw_colours(rng, name)
            words, unseen = (
                wordings.wording(rng, name, colours, held_out=held_out)
                for held_out in (False, True)
            )
            found.append(Case((name, colours), words, unseen))
    return found


def held_out_scenes(seed: int, count: int, size: int) -> list[Image]:
    """Return scenes that no training draws."""
    return [scene(seed, index, size, held_out=True) for index in range(count)]


class Row(NamedTuple):
    """What was measured of one case, the mean over all scenes."""

    case: Case
    nothing: float
    """dB of the source to the target."""
    ceiling: float
    """dB of the target through the autoencoder alone."""
    edges: float
    """Correlation at home."""
    unseen: float
    """dB at home, in words that training never used."""
    by_setting: dict[str, float]
    """dB."""


def measure(renderer: Renderer, case: Case, pictures: Sequence[Image]) -> Row:
    """Measure one case over all settings."""
    targets = [looks.render(picture, *case.shown) for picture in pictures]

    def mean(of: Callable[[Image, Image], float], made: Sequence[Image]) -> float:
        return float(np.mean([of(*pair) for pair in zip(made, targets, strict=True)]))

    home = renderer.render(pictures, case.prompt)
    return Row(
        case,
        nothing=mean(psnr, pictures),
        ceiling=mean(psnr, [renderer.round_trip(target) for target in targets]),
        edges=mean(edge_correlation, home),
        unseen=mean(psnr, renderer.render(pictures, case.unseen_words)),
        by_setting={
            name: mean(psnr, renderer.render(pictures, case.prompt, **settings))
            for name, settings in SETTINGS.items()
        },
    )


def stillness(renderer: Renderer, case: Case, picture: Image) -> float:
    """Return how much more a still, noisy picture moves after the model than before it."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, STILL_NOISE, (STILL_FRAMES, *picture.shape))
    noisy = [np.clip(picture + n, 0, 255).astype(np.uint8) for n in noise]
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
        figures = [row.nothing, row.ceiling, *row.by_setting.values(), row.unseen]
        cells = [row.case.name, *(f"{figure:.1f}" for figure in figures), f"{row.edges:.2f}"]
        lines.append(f"| {' | '.join(cells)} | {still[row.case.name]:.2f} |")
    means = np.mean([[r.nothing, r.ceiling, *r.by_setting.values(), r.unseen] for r in rows], 0)
    cells = ["**mean**", *(f"{figure:.1f}" for figure in means)]
    lines.append(f"| {' | '.join(cells)} | | |")
    return "\n".join(lines) + "\n"


def shortcomings(rows: Sequence[Row], still: Mapping[str, float]) -> list[str]:
    """Return where the model misses what is asked of it, in one line each."""
    mean = float(np.mean([row.by_setting[HOME] for row in rows]))
    found = [f"mean PSNR {mean:.1f} dB is below 24"] if mean < 24 else []
    for row in rows:
        home = row.by_setting[HOME]
        # The plain look is the source itself, or next to it.
        if home < row.nothing and row.case.shown[0] != looks.PLAIN:
            found.append(f"{row.case.name}: {home:.1f} dB, doing nothing {row.nothing:.1f}")
        if looks.LOOKS[row.case.shown[0]].lines and row.edges < 0.6:
            found.append(f"{row.case.name}: edges agree by {row.edges:.2f}, less than 0.6")
        if still[row.case.name] > 1.2:
            found.append(f"{row.case.name}: moves {still[row.case.name]:.2f} times the source")
    return found


def evaluate(
    folder: Path, out: Path, *, seed: int, size: int, scenes: int = 8, most_cases: int | None = None
) -> str:
    """Write ``evaluation.md`` and the sheets to `out`; return the text."""
    renderer = Renderer(folder, size)
    pictures = held_out_scenes(seed, scenes, size)
    known = cases(seed)[:most_cases]
    rows = [measure(renderer, case, pictures) for case in known]
    still = {case.name: stillness(renderer, case, pictures[0]) for case in known}
    found = shortcomings(rows, still)
    text = "PSNR to the target in dB, by t_index_list.\n\n" + table(rows, still)
    text += "\n".join(["", "Short of:", "", *(f"- {line}" for line in found or ["nothing"])]) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    contact_sheets.write_sheets(renderer, known, pictures, out)
    return text
