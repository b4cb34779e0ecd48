"""The processes that train one system together: which of them writes, and all that they tell each other.

Every process holds the whole system and computes the losses of its share of each batch. One sum over all
processes a step carries the gradients, the moves of the buffers (statistics of batch norm), the losses and
the wish to stop. After it all take the same step: weights, statistics and moments of the optimisers are equal
to the bit, so the state that the first process saves is the state of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avglance.errors import ArgumentError
from avglance.training.draws import seed_of

if TYPE_CHECKING:
    from accelerate import Accelerator

LEAST_SHARE = 2  # videos a process and step: batch norm needs company
RANK = 7  # kind of draw, after those of ``draws``
NO, YES, FAILED = 0, 1, 2  # what the first process tells of a job


@dataclass(frozen=True)
class Team:
    """One process among those that train together; by default it is alone.

    Attributes:
        rank: its number, 0 <= rank < size; number 0, the first, alone writes, prints and validates.
        size: how many there are.
        device: where tensors lie that are sent.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, accelerator: Accelerator) -> Team:
        """The team that a launcher started."""
        return cls(accelerator.process_index, accelerator.num_processes, accelerator.device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> list[int]:
        """The part of a batch that this process computes."""
        return list(rows[self.rank :: self.size])

    def seed(self, seed: int) -> int:
        """A seed of this process's own; the first keeps the one that a process alone would have."""
        return seed_of(seed, RANK, self.rank) if self.rank else seed

    def check_batch(self, size: int) -> None:
        """Raises ArgumentError where a batch of ``size`` videos is too small to be shared out."""
        if self.size > 1 and size // self.size < LEAST_SHARE:
            raise ArgumentError(
                f"{size} videos a step cannot be shared by {self.size} processes: each needs {LEAST_SHARE}",
                where="train",
                hint=f"a batch of at least {LEAST_SHARE * self.size} (--batch), or fewer processes",
            )

    def ask_first(self, job: Callable[[], bool]) -> bool:
        """What ``job`` answers in the first process, which alone does it while the others wait.

        Raises:
            ArgumentError: in the others, where the job fails; the first raises what the job raised.
        """
        if self.size == 1:
            return job()
        said = torch.tensor([FAILED], device=self.device)
        if self.first:
            try:
                said.fill_(YES if job() else NO)
            except BaseException:
                with suppress(RuntimeError):  # the others may have left before
                    dist.broadcast(said, src=0)
                raise
        self._send(lambda: dist.broadcast(said, src=0))
        if int(said) == FAILED:
            raise self._left()
        return int(said) == YES

    def any(self, mine: bool) -> bool:
        """Whether it is so in any process; all wait for each other here."""
        if self.size == 1:
            return mine
        found = torch.tensor([mine], dtype=torch.int64, device=self.device)
        self._send(lambda: dist.all_reduce(found))
        return bool(found)

    def part(self) -> None:
        """Waits for the others before this process leaves: its end may cut off what one still reads."""
        if self.size > 1:
            with suppress(RuntimeError):  # that one has gone ahead changes nothing any more
                dist.barrier()

    def agree(self, *numbers: int) -> None:
        """Raises ArgumentError where the processes have different numbers: they see different files.

        Args:
            *numbers: whole numbers of 64 bits, as many in each process.
        """
        if self.size == 1:
            return
        own = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        of_first = own.clone()
        self._send(lambda: dist.broadcast(of_first, src=0))
        if self.any(not torch.equal(own, of_first)):
            raise ArgumentError(
                "the processes see different files",
                where=self._name,
                hint="dataset, cache and run folder must lie where every process sees them",
            )

    def before(self, system: nn.Module) -> list[Tensor]:
        """The buffers of real numbers before a step, which may move them; a process alone needs none."""
        return [x.clone() for x in _buffers(system)] if self.size > 1 else []

    def meet(
        self,
        system: nn.Module,
        before: Sequence[Tensor],
        terms: Mapping[str, Tensor],
        *,
        videos: int,
        stop: bool,
    ) -> tuple[dict[str, Tensor], bool]:
        """Averages over all processes, weighted by their videos: gradients, moves of the buffers, losses.

        Args:
            system: its gradients are those of this process's share, and become their mean over the videos:
                those of the whole batch for losses that are means over videos. A loss that counts present
                snippets alone is averaged within each share first, which weighs them a little otherwise. A
                parameter that has none in some process counts there as 0, one that has none anywhere keeps
                none. Its floating buffers go where they stood before, plus the mean move.
            before: those buffers before the step.
            terms: losses of the share, scalars; the same names in every process.
            videos: of the share.
            stop: whether this process was asked to stop.

        Returns:
            The losses of the whole batch, and whether any process was asked to stop.
        """
        held = {name: term.detach().float() for name, term in terms.items()}
        if self.size == 1:
            return held, stop
        learned = [p for p in system.parameters() if p.requires_grad]
        buffers = _buffers(system)
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learned]
        parts += [now - old for now, old in zip(buffers, before, strict=True)]
        parts.append(torch.tensor([stop, *(p.grad is not None for p in learned)]))
        parts.append(torch.stack(list(held.values())))
        *means, flags, losses = self._means(parts, weight=videos)
        halt, *counts = flags.tolist()
        with torch.no_grad():
            for parameter, mean, count in zip(learned, means, counts, strict=False):
                if count:  # in the parameter's own layout, whoever had it: its norm adds up in that order
                    parameter.grad = torch.empty_like(parameter).copy_(mean.view_as(parameter))
            for now, old, move in zip(buffers, before, means[len(learned) :], strict=True):
                now.copy_(old + move.view_as(old))
        return dict(zip(held, losses.unbind(), strict=True)), halt > 0

    def _means(self, parts: Sequence[Tensor], *, weight: float) -> list[Tensor]:
        """The weighted means of all parts over the processes, float32, flat; one sum is sent."""
        own = torch.tensor([1.0], device=self.device)
        flat = weight * torch.cat([x.detach().flatten().to(own) for x in (*parts, own)])
        self._send(lambda: dist.all_reduce(flat))
        sizes = [x.numel() for x in parts]
        mean = flat[:-1] / flat[-1]
        return [mean[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]

    @property
    def _name(self) -> str:
        return f"process {self.rank + 1} of {self.size}"

    def _send(self, together: Callable[[], object]) -> None:
        try:
            together()
        except RuntimeError as error:  # the connection of one that has gone is closed
            raise self._left(str(error).partition("\n")[0]) from error

    def _left(self, why: str = "") -> ArgumentError:
        hint = "its own message says why; the same command goes on from the last saved state"
        if why:
            hint += f" (if all processes say this, they cannot reach each other: {why[:200]})"
        return ArgumentError("another process of this training has stopped", where=self._name, hint=hint)


def digest(system: nn.Module) -> int:
    """A number of 63 bits that other weights or statistics would not give."""
    found = hashlib.sha256()
    for name, x in system.state_dict().items():
        found.update(name.encode())
        found.update(x.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(found.digest()[:8], "big") >> 1


def _buffers(system: nn.Module) -> list[Tensor]:
    return [x for x in system.buffers() if x.is_floating_point()]
