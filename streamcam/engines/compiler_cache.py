"""Cache of torch's compiler: what lasts is kept apart from the temporary files of a process."""

from pathlib import Path


def keep_headers() -> None:
    """Have torch keep precompiled headers in its cache, where the next process finds them.

    It looks for them where temporary files are, which go with the process; and as kernels are
    cached by the command that compiles them, all would be compiled again at each start.
    """
    from torch._inductor import codecache
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    headers = Path(cache_dir(), "precompiled_headers")
    codecache._HEADER_DIR = str(headers)
    codecache._HEADER_LOCK_DIR = str(headers / "locks")
