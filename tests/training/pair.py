"""What each of several processes does in the tests of ``team``; started by them, never collected.

    python -m tests.training.pair meet FOLDER          (RANK, WORLD_SIZE in the environment)
    torchrun -m tests.training.pair loop DATA OUT EPOCHS STOP [PATIENCE]

``meet``: one meeting of a small module whose gradients are known. ``loop``: a training of the tiny system,
which the last process interrupts in the step number STOP (0: never); with PATIENCE the best epoch is kept,
and none of the last stage is better than its first. Results lie in files of each rank.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tests.training.worlds import VIEW, make_loop, weights
from torch import nn

from avglance.data.cache import Cache
from avglance.data.records import read_dataset
from avglance.errors import AVGLanceError
from avglance.training import best
from avglance.training.team import Team

ROWS = torch.arange(20, dtype=torch.float32).reshape(5, 4) / 7


class Known(nn.Module):
    """Its gradients are means over rows; the second process alone uses ``odd``, none uses ``never``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(4, 3, 1, bias=False).to(memory_format=torch.channels_last)
        self.odd, self.never = nn.Linear(4, 1), nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("still", torch.tensor([0.1, 1e8]))

    def loss(self, rows: torch.Tensor, *, odd: bool) -> torch.Tensor:
        self.norm(rows)  # moves its statistics
        out = self.body(rows[:, :, None, None]).square().sum((1, 2, 3)).mean()
        return out + self.odd(rows).square().sum(1).mean() if odd else out


def known(seed: int = 3) -> Known:
    torch.manual_seed(seed)
    return Known()


def meet(folder: Path) -> None:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    team, module = Team(rank, size), known()
    rows = ROWS[team.share(range(5))]
    before = team.before(module)
    loss = module.loss(rows, odd=rank == 1)
    loss.backward()
    terms, stop = team.meet(
        module, before, {"loss": loss, "half": loss / 2}, videos=len(rows), stop=rank == 1
    )
    found = {f"gradient.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    found |= {f"buffer.{name}": x for name, x in module.named_buffers()} | terms
    save_file({name: x.contiguous() for name, x in found.items()}, folder / f"{rank}.safetensors")
    said: dict[str, object] = {"stop": stop, "rows": team.share(range(5)), "seed": team.seed(11)}
    said["never"] = module.never.weight.grad is None
    said["any"] = [team.any(rank == 1), team.any(False)]
    said["asked"] = [team.ask_first(lambda: rank == 0), team.ask_first(lambda: rank == 1)]
    said["agree"] = refused(lambda: team.agree(4, 5))
    said["differ"] = refused(lambda: team.agree(4, rank))

    def broken() -> bool:
        raise ZeroDivisionError

    try:
        said["failed"] = refused(lambda: team.ask_first(broken))
    except ZeroDivisionError:
        said["failed"] = "its own error"
    (folder / f"{rank}.json").write_text(json.dumps(said))
    if rank == 0:
        return  # leaves while the other still waits
    (folder / "left.json").write_text(json.dumps(refused(lambda: team.any(True))))


def refused(job: object) -> str:
    try:
        job()  # type: ignore[operator]
    except AVGLanceError as error:
        return error.what
    return ""


def train(folder: Path, out: Path, epochs: int, stop: int, patience: int = 0) -> None:
    torch.set_num_threads(1)
    how = {"keep": "best", "patience": patience} if patience else {}
    if patience:
        best.merit = lambda said, *, several: (0.5,)
    told: list[str] = []
    cache = Cache(read_dataset(folder), VIEW, folder / ".cache")
    loop = make_loop(cache, out, tell=lambda said: told.append(said.text), batch=5, epochs=epochs, **how)
    rank, steps, step = loop.team.rank, 0, loop._step

    def counted(*args: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == stop and rank == loop.team.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)  # one of them only, in the midst of a step
        return step(*args)

    loop._step = counted
    try:
        loop.run()
        ended = "whole"
    except KeyboardInterrupt:
        ended = "stopped"
    save_file(weights(loop.system), out / f"{ended}.{rank}.safetensors")
    said = {"ended": ended, "step": loop.place.step, "told": len(told), "said": loop.exam.said is not None}
    (out / f"{ended}.{rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1] == "meet":
        meet(Path(sys.argv[2]))
    else:
        train(Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:]))
