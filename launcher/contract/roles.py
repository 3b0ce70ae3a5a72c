"""What a task does, which follows from its job and the mode."""

from __future__ import annotations

from typing import Literal

# Take part in synchronous training, coordinate asynchronous training, serve (ps and asynchronous workers), or score
# checkpoints beside the cluster.
Role = Literal["train", "coordinate", "serve", "evaluate"]
