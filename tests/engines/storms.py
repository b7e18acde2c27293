"""Many live changes, of every parameter that reaches a stage."""

from typing import Any

SETTINGS: dict[str, Any] = {
    "cfg_type": "initialize",
    "negative_prompt": "blurry",
    "width": 32,
    "height": 32,
    "t_index_list": [20, 30],
}


def storm(first: int = 2, count: int = 20) -> dict[int, dict[str, Any]]:
    """Return the changes by frame: each has another seed, and one more parameter in turn."""
    changes: list[dict[str, Any]] = [
        {"prompt": "a red dog"},
        {"negative_prompt": "cats", "guidance_scale": 0.5},
        {"t_index_list": [10, 20], "delta": 0.3},
        {"num_inference_steps": 40},
        {"prompt": [["cat", 0.5], ["dog", 0.5]], "prompt_interpolation": "slerp"},
        {"guidance_scale": 2.0, "t_index_list": [5, 35]},
    ]
    return {first + i: changes[i % len(changes)] | {"seed": i} for i in range(count)}
