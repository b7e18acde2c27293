"""Train nano from scratch: ``python -m training``."""

import argparse
import functools
import json
import tempfile
from pathlib import Path

import diffusers
import torch

from training import dataset, evaluate, model, scripts, text, tokenizer, train
from training.export import export, weight_bytes
from training.frames import FrameSet, fill_frames
from training.learner import Log
from training.plan import TrainingPlan, plan_for, smoke_plan
from training.start import load_parts, widened
from training.understanding import write_prompt_reader
from training.whole import train_whole


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="time for all stages (default: 2)")
    parser.add_argument("--out", type=Path, help="output folder (default: out/nano)")
    parser.add_argument("--start", type=Path, help="folder of an earlier edition to start from")
    parser.add_argument("--resume", action="store_true", help="continue the training in --out")
    parser.add_argument(
        "--smoke", action="store_true", help="run every stage for a few steps, in a minute"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: one per core")
    parser.add_argument("--scenes", type=int, help="number of scenes to train on")
    args = parser.parse_args()
    args.out = args.out or Path(tempfile.mkdtemp(prefix="nano-") if args.smoke else "out/nano")
    return args


def plan_from(args: argparse.Namespace) -> TrainingPlan:
    """Return the plan for the options of the command line."""
    if args.smoke:
        return smoke_plan(args.out, start=args.start)
    overrides = {"seed": args.seed, "start": args.start}
    overrides |= {"scenes": args.scenes} if args.scenes else {}
    return plan_for(args.out, args.hours, **overrides)


def run(plan: TrainingPlan, **evaluation: int) -> Path:
    """Run all stages, each from its checkpoint; return the model's folder."""
    diffusers.utils.logging.set_verbosity_error()
    log = Log(plan.out / "log.jsonl")
    folder = plan.out / "frames"
    fill_frames(folder, plan.seed, plan.frames, plan.workers)
    frames = FrameSet(folder)
    log.write(stage="frames", frames=len(frames))
    if plan.start:
        parts = widened(load_parts(plan.start), frames, plan, log)
        log.write(stage="model", **model.sizes(parts))
    else:
        parts = from_zero(plan, log)
    train_whole(parts, frames, plan, log)
    for part in (parts.unet, parts.text_encoder):
        part.cpu()
    scripts.teach_scripts(parts, steps=plan.steps or scripts.STEPS)
    made = export(parts, plan.out / "model")
    log.write(stage="prompt reader", result=write_prompt_reader(parts, made))
    log.write(stage="export", bytes=weight_bytes(made))
    sheets = plan.out / "evaluation"
    print(evaluate.evaluate(made, sheets, seed=plan.seed, size=plan.size, **evaluation))
    log.write(stage="evaluation", folder=str(sheets))
    return made


def from_zero(plan: TrainingPlan, log: Log) -> model.Parts:
    """Train the parts one after the other, then together, on scenes and their latents."""
    learnt = tokenizer.load_or_learn(
        plan.out / "tokenizer", lambda: text.corpus(plan.seed, text.CORPUS_PROMPTS)
    )
    parts = model.build(learnt, seed=plan.seed)
    log.write(stage="model", **model.sizes(parts))
    recipe, shards = plan.recipe, range(plan.shards)
    dataset.check_recipe(recipe)
    make = functools.partial(dataset.make_images, recipe)
    dataset.fill(recipe, "images", make, shards, plan.workers)
    images = dataset.Shards(recipe, "images", plan.shards)
    log.write(stage="images", scenes=len(images))
    train.train_autoencoder(parts, images, plan, log)
    vae = plan.out / "vae"
    parts.vae.save_pretrained(vae)
    train.train_text(parts, plan, log)
    encode = functools.partial(dataset.make_latents, recipe, vae=vae)
    dataset.fill(recipe, "latents", encode, shards, plan.workers)
    latents = dataset.Shards(recipe, "latents", plan.shards)
    log.write(stage="latents", scenes=len(latents))
    train.train_unet(parts, latents, plan, log)
    train.train_together(parts, latents, images, plan, log)
    return parts


def main() -> None:
    """Train with the options of the command line."""
    args = parse_arguments()
    if not args.resume and (args.out / "checkpoints").exists():
        raise SystemExit(
            f"{args.out} already contains a training: continue it with --resume, or change --out"
        )
    if args.threads:
        torch.set_num_threads(args.threads)
    plan = plan_from(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "plan.json").write_text(json.dumps(vars(args), default=str), encoding="utf-8")
    run(plan, **({"scenes": 1, "most_cases": 5} if args.smoke else {}))


if __name__ == "__main__":
    main()
