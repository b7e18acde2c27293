"""Check of a graphics card in a few minutes: right answers, speeds, energy, builds, targets.

``python -m benchmarks.gpu_check --minutes 7 --out DIR`` runs in a plain checkout, without a
network. Each section has a process of its own, so that a crash or a hang costs that section only.
"""
