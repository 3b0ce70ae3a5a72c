"""PyTorch DistributedDataParallel over gloo: what `start.py --torchrun` measures the launcher against.

    torchrun --nproc-per-node=2 tests/benchmarks/ddp.py [MEGABYTES [STEPS]]

It needs PyTorch in an environment of its own. Every process prints when its first step was over, and its number.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 0
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000 if not megabytes else 100


class One(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = torch.nn.Parameter(torch.ones(int(megabytes * 1e6 / 4)))

    def forward(self) -> Any:
        return (self.p * self.p).sum() * 0.0005


model = torch.nn.parallel.DistributedDataParallel(One() if megabytes else torch.nn.Linear(1, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.rand(64, 1)
y = x * 0.25 + 0.8


def step() -> None:
    optimizer.zero_grad()
    loss = model() if megabytes else ((model(x) - y) ** 2).mean() / 2
    loss.backward()
    optimizer.step()


step()
os.write(1, f"first step: rank {rank} pid {os.getpid()} at {time.time():.3f}\n".encode())
for _ in range(10):
    step()
start = time.perf_counter()
for _ in range(steps):
    step()
seconds = time.perf_counter() - start
if rank == 0:
    print(f"DDP {megabytes:g} MB: {steps / seconds:.0f} steps/s, {seconds / steps * 1e3:.2f} ms/step")
dist.destroy_process_group()
