"""``python -m training``: from nothing to a model that streamcam loads."""

import argparse
import functools
import json
import tempfile
from pathlib import Path

import diffusers
import torch

from training import dataset, evaluate, model, text, tokenizer, train
from training.export import export, weight_bytes
from training.learner import Log
from training.plan import Plan, plan_for, smoke


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="time for all of it (default: 2)")
    parser.add_argument("--out", type=Path, help="where everything goes (default: out/nano)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in --out")
    parser.add_argument("--smoke", action="store_true", help="every stage once, in a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 takes as many as there are cores")
    parser.add_argument("--scenes", type=int, help="how many to train on")
    args = parser.parse_args()
    args.out = args.out or Path(tempfile.mkdtemp(prefix="nano-") if args.smoke else "out/nano")
    return args


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    if args.smoke:
        return smoke(args.out)
    chosen = {"seed": args.seed} | ({"scenes": args.scenes} if args.scenes else {})
    return plan_for(args.out, args.hours, **chosen)


def run(plan: Plan, **judged: int) -> Path:
    """Go through all stages, each from where it stopped; return the model's folder."""
    diffusers.utils.logging.set_verbosity_error()
    log = Log(plan.out / "log.jsonl")
    words = tokenizer.kept(
        plan.out / "tokenizer", lambda: text.corpus(plan.seed, text.CORPUS_PROMPTS)
    )
    parts = model.build(words, seed=plan.seed)
    log.write(stage="model", **model.sizes(parts))
    recipe, shards = plan.recipe, range(plan.shards)
    dataset.keep_recipe(recipe)
    make = functools.partial(dataset.make_pictures, recipe)
    dataset.fill(recipe, "pictures", make, shards, plan.workers)
    pictures = dataset.Shards(recipe, "pictures", plan.shards)
    log.write(stage="pictures", scenes=len(pictures))
    train.train_autoencoder(parts, pictures, plan, log)
    vae = plan.out / "vae"
    parts.vae.save_pretrained(vae)
    train.train_text(parts, plan, log)
    encode = functools.partial(dataset.make_latents, recipe, vae=vae)
    dataset.fill(recipe, "latents", encode, shards, plan.workers)
    latents = dataset.Shards(recipe, "latents", plan.shards)
    log.write(stage="latents", scenes=len(latents))
    train.train_unet(parts, latents, plan, log)
    train.train_together(parts, latents, pictures, plan, log)
    folder = export(parts, plan.out / "model")
    log.write(stage="export", bytes=weight_bytes(folder))
    sheets = plan.out / "evaluation"
    print(evaluate.evaluate(folder, sheets, seed=plan.seed, size=plan.size, **judged))
    log.write(stage="evaluation", folder=str(sheets))
    return folder


def main() -> None:
    """Train as the command line says."""
    args = arguments()
    if not args.resume and (args.out / "checkpoints").exists():
        raise SystemExit(f"{args.out} holds a training: go on with --resume, or take another --out")
    if args.threads:
        torch.set_num_threads(args.threads)
    plan = plan_of(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "plan.json").write_text(json.dumps(vars(args), default=str), encoding="utf-8")
    run(plan, **({"scenes": 1, "most_cases": 5} if args.smoke else {}))


if __name__ == "__main__":
    main()
