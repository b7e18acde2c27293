"""Run one section in a process of its own, and end all that it started when its time is over."""

import faulthandler
import multiprocessing
import os
import secrets
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import Record, SectionEnd
from benchmarks.gpu_check.section_table import PACKAGE, Section
from streamcam.errors import StreamcamError, one_line
from streamcam.system.child_process import guarded_children
from streamcam.system.process_guard import end_marked

SECTION = "STREAMCAM_GPU_CHECK"
"""Variable by which the processes of a section are found."""
FORKSERVER, SPAWN = "forkserver", "spawn"
PRELOADED = (
    "diffusers.models.autoencoders.autoencoder_tiny",
    "diffusers.models.transformers.transformer_wan",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "diffusers.schedulers.scheduling_euler_discrete",
    "diffusers.schedulers.scheduling_lcm",
    f"{PACKAGE}.build_section",
    f"{PACKAGE}.video_section",
)
"""Imported once for all sections, which takes seconds; none of them may use a GPU."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For the process that sections are forked from: a fork has none of its threads to wait for."""
QUIET = {"TRANSFORMERS_VERBOSITY": "error"}
BAD_FORK = "bad fork"
JOIN_S, DUMP_S = 10.0, 0.5


class SectionRunner:
    """Runs sections, each in a process that is forked from one that has imported everything."""

    def __init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        self._method = FORKSERVER if FORKSERVER in methods else SPAWN

    def prepare(self) -> None:
        """Import everything, in the process that the sections' are forked from."""
        if self._method == FORKSERVER:
            context = multiprocessing.get_context(self._method)
            context.set_forkserver_preload(list(PRELOADED))
            process = context.Process(target=_nothing)  # type: ignore[attr-defined]
            self._start(process)
            process.join()

    @staticmethod
    def _start(process: "multiprocessing.process.BaseProcess") -> None:
        # Whatever it starts ends with this process, even when this one is killed.
        with guarded_children(), _environment(ONE_THREAD | QUIET):
            process.start()

    def run(self, section: Section, settings: CheckSettings, log: Path) -> Iterator[Record]:
        """Yield what `section` reports until ``settings.deadline``, and last its `SectionEnd`.

        Args:
            section: what to run.
            settings: of the check.
            log: takes what the section's processes print.
        """
        started_at = time.monotonic()
        context = multiprocessing.get_context(self._method)
        receiving, sending = context.Pipe(duplex=False)
        mark = secrets.token_hex(8)
        target, arguments = _serve, (section, settings, sending, str(log), mark)
        process = context.Process(  # type: ignore[attr-defined]
            target=target, args=arguments, name=section.name
        )
        problem: str | None = None
        try:
            self._start(process)
            sending.close()
            for record in _received(receiving, settings.deadline):
                if isinstance(record, str):
                    problem = record
                else:
                    yield record
            if problem is None and receiving.closed is False and process.is_alive():
                problem = _late(process, started_at)
        finally:
            _end(process, mark)
            receiving.close()
        if problem == BAD_FORK:
            # The driver was in use when the process forked, and cannot be used after that.
            self._method = SPAWN
            yield from self.run(section, settings, log)
            return
        if problem is None and process.exitcode:
            problem = _exit_reason(process.exitcode)
        seconds = time.monotonic() - started_at
        yield SectionEnd("failed" if problem else "ok", problem or "", seconds)


def _nothing() -> None:
    """Run in the process of `SectionRunner.prepare`."""


def _received(connection: "Connection", deadline: float) -> Iterator[Record | str]:
    """Yield what comes until the other end is closed, or `deadline` is there."""
    with suppress(EOFError, OSError):
        while connection.poll(max(0.0, deadline - time.monotonic())):
            yield connection.recv()


def _late(process: "multiprocessing.process.BaseProcess", started_at: float) -> str | None:
    """Return that `process` took too long, unless it ends at once."""
    process.join(1.0)
    if process.exitcode is not None:
        return None
    return f"it took longer than {time.monotonic() - started_at:.0f} s and was ended"


def _exit_reason(code: int) -> str:
    if code > 0:
        return f"its process ended with status {code}; the log has the reason"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was ended by {name}"


def _end(process: "multiprocessing.process.BaseProcess", mark: str) -> None:
    """End `process`, its group, and what else it has started and left."""
    if process.pid is None:
        return
    if process.is_alive():
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    end_marked(mark, SECTION)
    process.join(JOIN_S)


def _serve(
    section: Section, settings: CheckSettings, sending: "Connection", log: str, mark: str
) -> None:
    """Run as the section's process."""
    if hasattr(os, "setsid"):
        # Out of reach of Ctrl-C, and a group that can be ended as a whole.
        os.setsid()
    _print_into(log)
    os.environ[SECTION] = mark
    # Where it hangs is in the log.
    faulthandler.enable()
    left_s = settings.deadline - time.monotonic() - DUMP_S
    faulthandler.dump_traceback_later(max(0.1, left_s), exit=False)
    if not settings.is_small:
        _use_all_cores()
    problem: str | None = None
    try:
        if _is_bad_fork():
            problem = BAD_FORK
            return
        module, function = section.function.split(":")
        run = getattr(import_module(module), function)
        for record in run(settings, section.engine):
            sending.send(record)
    except StreamcamError as error:
        problem = str(error)
    except BaseException as error:
        traceback.print_exc()
        problem = one_line(error)
    finally:
        if problem is not None:
            sending.send(problem)
        sending.close()


def _print_into(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _use_all_cores() -> None:
    import torch

    for name in ONE_THREAD:
        os.environ.pop(name, None)
    torch.set_num_threads(os.cpu_count() or 1)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set `variables` for what is started meanwhile, but those that the user has set."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _is_bad_fork() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda._is_in_bad_fork()
