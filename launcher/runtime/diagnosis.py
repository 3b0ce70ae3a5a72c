"""``python -m launcher.runtime.diagnosis``: what TensorFlow finds on this machine, as JSON, in a separate process."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import time
from pathlib import Path

from launcher.runtime.forkserver import prepare

# What a CUDA build of TensorFlow 2.21 opens when it is first asked for a GPU (CUDA 12, cuDNN 9), and NCCL.
_LIBRARIES = (
    "cudart.so.12",
    "cublas.so.12",
    "cufft.so.11",
    "cusolver.so.11",
    "cusparse.so.12",
    "cudnn.so.9",
    "nccl.so.2",
)


def main() -> None:
    """Print what there is; a traceback if TensorFlow cannot be imported."""
    began = time.monotonic()
    why_not_forked = prepare()
    import tensorflow as tf  # with a traceback, if it cannot be

    seconds = time.monotonic() - began
    libraries = {f"lib{name}": _opens(f"lib{name}") for name in _LIBRARIES}
    build = tf.sysconfig.get_build_info()
    print(json.dumps({
        "tensorflow": tf.__version__,
        "seconds": round(seconds, 1),
        "why_not_forked": why_not_forked,
        "cuda": str(build.get("cuda_version", "")),
        "cudnn": str(build.get("cudnn_version", "")),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "found": [name for name, opens in libraries.items() if opens],
        "missing": [name for name, opens in libraries.items() if not opens],
    }))  # fmt: skip


def _opens(name: str) -> bool:
    """Whether a library can be opened by its name, or is in one of the nvidia packages that pip installs."""
    places = [str(found) for path in sys.path for found in Path(path).glob(f"nvidia/*/lib/{name}")]
    return any(_loads(place) for place in (name, *places))


def _loads(place: str) -> bool:
    with contextlib.suppress(OSError):
        ctypes.CDLL(place)
        return True
    return False


if __name__ == "__main__":
    main()
