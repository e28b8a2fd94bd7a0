"""One training on several processes: each computes a share of every batch, and all of them take the same step.

The batches, their order, how faces vary and with whom they are mixed are those of one process. A process computes its
share of a batch; its loss is weighted by its number of faces, so that the mean that DDP makes of the gradients is the
gradient of the whole batch, also where the shares are not equal. With ``sync_batch_norm`` the statistics are those of
the whole batch as well. What stays different is dropout, which every process draws for itself, and rounding.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.evaluation.devices import check_device
from mien.evaluation.processes import Processes
from mien.store.launch import processes_here
from mien.systems.base import Criterion, System
from mien.training.compute.lightning import LOGGERS, fabric_module
from mien.training.compute.precision import computed
from mien.training.compute.quiet import quietly
from mien.training.pipeline.augmentation import Share

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Loss = Callable[[Tensor, Tensor, Criterion], Mapping[str, Tensor]]

FEWEST = 2
"""Faces that a process needs of each batch: of one alone there are no statistics."""


def fabric_of(device: str, precision: str, processes: Processes | None = None, *, unused: bool = False) -> Fabric:
    """Device, precision and processes of a training, as Fabric drives them.

    Args:
        device: one of Fabric's accelerators.
        precision: of the recipe; what it is computed in, `computed` says.
        processes: those that train together; by default this one alone.
        unused: whether some parameters get no gradient.

    Raises:
        InputError: a device that is not there, or not once per process.
    """
    check_device(device)
    if ":" in device:
        raise InputError(f"a training takes cuda without a number, not {device!r}; CUDA_VISIBLE_DEVICES chooses one")
    processes = processes or Processes()
    options: dict[str, Any] = {"devices": 1}
    if processes.count > 1:
        here = processes_here()
        if processes.count % here:
            raise InputError("every machine has to run as many processes: give torchrun the same --nproc-per-node")
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        quiet = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
        chosen: dict[str, Any] = {quiet: False, "find_unused_parameters": unused}
        launched = fabric_module("plugins.environments.torchelastic").TorchElasticEnvironment()
        strategy = fabric_module("strategies.ddp").DDPStrategy(cluster_environment=launched, **chosen)
        options = {"devices": here, "num_nodes": processes.count // here, "strategy": strategy}
    made, misconfigured = fabric_module().Fabric, fabric_module("utilities.exceptions").MisconfigurationException
    with quietly(*LOGGERS):
        try:
            if precision == "bf16":  # the device is known to a Fabric only, and a Fabric wants the precision
                precision = computed(precision, made(accelerator=device, devices=1).device.type)
            name = "bf16-mixed" if precision == "bf16" else "32-true"
            driving: Fabric = made(accelerator=device, precision=name, **options)
            if processes.count > 1:
                driving.launch()
        except (ValueError, RuntimeError, ImportError, misconfigured) as error:
            raise InputError(f"no training on device {device!r}: {str(error).strip().splitlines()[0]}") from None
    return driving


class Together:
    """The part of one process in a training.

    Args:
        fabric: of `fabric_of`.
        processes: those that train together.
        module: the network.
        synchronised: whether its statistics are those of whole batches already.
    """

    def __init__(self, fabric: Fabric, processes: Processes, module: System, *, synchronised: bool) -> None:
        self.fabric, self.processes, self.module = fabric, processes, module
        self.norms: list[Any] = []
        if processes.count > 1 and not synchronised:
            self.norms = [part for part in module.modules() if getattr(part, "running_mean", None) is not None]

    def check_batches(self, shown: int, steps: int) -> None:
        """Refuse batches of which a process would get too little (`InputError`)."""
        smallest, count = shown // steps, self.processes.count
        if count > 1 and smallest < FEWEST * count:
            raise InputError(
                f"batches of {smallest} faces are too small for {count} processes, each of which needs {FEWEST}; start "
                "fewer processes, or --set batch_size higher"
            )

    def wrapped(self, loss: Loss) -> Loss:
        """The loss, behind which DDP makes the mean of all gradients."""
        if self.processes.count == 1:
            return loss
        gc.collect()  # the hooks of an earlier one would reduce the same gradients
        with quietly(*LOGGERS):
            made: Loss = self.fabric.setup_module(_Forward(self.module, loss))
        return made

    def share(self, rows: Tensor) -> Share | None:
        """This process's part of a batch; None where it computes all of it."""
        if self.processes.count == 1:
            return None
        places = torch.arange(len(rows), device=rows.device)
        return Share(places.tensor_split(self.processes.count)[self.processes.rank], len(rows))

    def weight(self, share: Share | None) -> float:
        """By which a mean loss over the share is multiplied, so that the mean over processes is that over faces."""
        return 1.0 if share is None else len(share.rows) * self.processes.count / share.count

    @torch.no_grad()
    def after_step(self, share: Share | None) -> None:
        """Make one of the running statistics that the processes' shares left."""
        if share is None or not self.norms:
            return
        own = [value for norm in self.norms for value in (norm.running_mean, norm.running_var)]
        whole = self._summed(torch.cat([value.flatten() for value in own]) * (len(share.rows) / share.count))
        for value, mean in zip(own, torch.split(whole, [value.numel() for value in own]), strict=True):
            value.copy_(mean.view_as(value))

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        return value if self.processes.count == 1 else self._summed(value)

    def _summed(self, value: Tensor) -> Tensor:
        whole = value.clone()  # the caller goes on adding to its own
        torch.distributed.all_reduce(whole)
        return whole


class _Forward(nn.Module):
    """The loss of a network as the forward pass that DDP wants."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, images: Tensor, targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        return dict(self.loss(images, targets, criterion))
