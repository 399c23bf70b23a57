"""Parameters of the optimizer; torch is not needed to state them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vicinal.api import MACHINE_LOCAL, InputError

from .checks import require_count, require_depth, require_flag, require_number, require_one_of

NEGATIVES = ("batch", "uniform")
SCHEDULES = ("one_cycle", "constant")
RECONSTRUCTION_LOSSES = ("mse", "bce")
PRECISIONS = ("32-true", "bf16-mixed")
"""Those in which weights and rows are float32, and slopes need no scaling."""
OF_EMBED = ("callbacks", "logger", "accelerator", "devices", "precision", "max_epochs", "max_steps")
NOT_OURS = (
    *("accumulate_grad_batches", "barebones", "fast_dev_run", "gradient_clip_algorithm", "gradient_clip_val"),
    *("min_epochs", "min_steps", "num_nodes", "num_sanity_val_steps", "strategy"),
)
"""Arguments of the trainer that do not fit how updates are made here."""
LOCAL = {MACHINE_LOCAL: True}


@dataclass(frozen=True, kw_only=True)
class MlpParams:
    """Parameters of a multilayer perceptron.

    Attributes
    ----------
    width
        Units of each hidden layer.
    depth
        Hidden layers.
    """

    width: int = 100
    depth: int = 3

    def __post_init__(self) -> None:
        require_count("width", self.width)
        require_count("depth", self.depth, low=0)
        require_depth(self.depth)


@dataclass(frozen=True, kw_only=True)
class ResidualParams:
    """Parameters of a residual network.

    Attributes
    ----------
    width
        Units of each layer.
    depth
        Blocks of two layers, whose result is added to what goes in.
    """

    width: int = 256
    depth: int = 3

    def __post_init__(self) -> None:
        require_count("width", self.width)
        require_count("depth", self.depth, low=0)
        require_depth(self.depth)


@dataclass(frozen=True, kw_only=True)
class TorchParams:
    """Parameters of maps that torch trains.

    Attributes
    ----------
    parametric
        Whether a network maps the cells. False moves each cell by itself, by the same code.
    encoder
        From rows to places: a network's name (``mlp``; ``residual``, stronger and slower), or a ``torch.nn.Module``
        that maps ``(m, *dims)`` to ``(m, n_components)``; it is copied, not changed.
    encoder_params
        Parameters of a named network, such as ``{"width": 200}``.
    decoder
        From places to rows, likewise; used with ``reconstruction``.
    decoder_params
        As ``encoder_params``.
    dims
        Shape in which a network gets a row, such as ``(1, 28, 28)``; None for ``(n_features,)``.
    batch_size
        Edges in a step; None for half the number of cells, from 256 to 2,048.
    n_training_epochs
        Epochs, in each of which as many edges are drawn as the graph has, and at least 20 steps taken; None for as many
        as make 1,200 steps for 20,000 cells, by the root of their number, at least 800.
    loss_report_frequency
        How often in an epoch the loss is reported; None for about 20 reports in all.
    torch_optimizer
        What makes the optimiser: called with the parameters and ``lr=``, as `torch.optim.AdamW` is. None for Muon on
        the hidden layers of networks by name, and Adam for all else.
    learning_rate
        Its largest value; None for 0.015, for 0.2 where each cell moves by itself.
    learning_rate_schedule
        ``one_cycle``: rises over a tenth of the steps and falls to nothing (Smith and Topin 2018, arXiv:1708.07120);
        or ``constant``.
    warm_start_steps
        Steps in which the network first learns the first layout by regression; None for 300. 0: it starts anywhere.
        One that goes on from a model takes none.
    negatives
        What cells are kept apart from: ``batch``, others of their batch, as in the paper; ``uniform``, any cells.
    global_correlation_loss_weight
        Weight of the correlation between distances of rows and of places, which is then raised.
    reconstruction
        Whether a decoder is trained from places to rows; see `vicinal.tl.reconstruct`.
    reconstruction_loss
        ``mse``, as a share of the variance; ``bce``, binary cross-entropy of rows between 0 and 1; or a function of
        ``(made, rows)``, tensors ``(m, *dims)``, that gives a number.
    reconstruction_loss_weight
        Its weight.
    autoencoder_loss
        Whether reconstruction shapes the map too, rather than the decoder alone.
    validation
        Cells that are never trained on, whose losses are reported: a share of the cells, such as 0.1; a boolean mask
        ``(n_obs,)``; rows ``(m, n_features)`` of other cells in the representation; or an AnnData that has it.
    landmark_positions
        Places that cells should have: a key of ``obsm`` or an array ``(n_obs, n_components)``; NaN for cells that may
        go anywhere.
    landmark_loss_weight
        Weight of their distance.
    landmark_loss
        ``euclidean``, the mean distance, or a function of ``(places, positions)`` that gives a number.
    extra_losses
        Functions of a `Batch` that give a number, added to the loss and reported by their names.
    continue_from
        A trained model to go on from: a path, a `Model`, or an AnnData that carries one. The first layout is not
        needed then; ``init="random"`` spares the time it takes.
    logger
        Lightning loggers, or True for its own.
    accelerator
        Where: ``auto``, ``cpu``, ``cuda`` (``gpu``), ``mps``.
    devices
        Which of them, or how many, as Lightning takes it: 1, ``[2]``. With several, run a script: Lightning starts it
        once for each, and each makes the same map.
    precision
        ``32-true``, or ``bf16-mixed``, in which Lightning multiplies matrices in bfloat16.
    trainer_params
        Other arguments of ``lightning.pytorch.Trainer``.
    """

    parametric: bool = True
    encoder: Any = "mlp"
    encoder_params: Mapping[str, Any] = field(default_factory=dict)
    decoder: Any = "mlp"
    decoder_params: Mapping[str, Any] = field(default_factory=dict)
    dims: tuple[int, ...] | None = None
    batch_size: int | None = None
    n_training_epochs: int | None = None
    loss_report_frequency: int | None = None
    torch_optimizer: Callable[..., Any] | None = None
    learning_rate: float | None = None
    learning_rate_schedule: str = "one_cycle"
    warm_start_steps: int | None = None
    negatives: str = "batch"
    global_correlation_loss_weight: float = 0.0
    reconstruction: bool = False
    reconstruction_loss: str | Callable[..., Any] = "mse"
    reconstruction_loss_weight: float = 1.0
    autoencoder_loss: bool = False
    validation: Any = None
    landmark_positions: Any = None
    landmark_loss_weight: float = 1.0
    landmark_loss: str | Callable[..., Any] = "euclidean"
    extra_losses: Sequence[Callable[..., Any]] = ()
    continue_from: Any = field(default=None, metadata=LOCAL)
    logger: Any = field(default=False, metadata=LOCAL)
    accelerator: str = field(default="auto", metadata=LOCAL)
    devices: int | str | Sequence[int] = field(default=1, metadata=LOCAL)
    precision: str = "32-true"
    trainer_params: Mapping[str, Any] = field(default_factory=dict, metadata=LOCAL)

    def __post_init__(self) -> None:
        for name in ("parametric", "reconstruction", "autoencoder_loss"):
            require_flag(name, getattr(self, name))
        for name in ("batch_size", "n_training_epochs", "loss_report_frequency"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name), low=0 if name == "n_training_epochs" else 1)
        if self.warm_start_steps is not None:
            require_count("warm_start_steps", self.warm_start_steps, low=0)
        if self.learning_rate is not None:
            require_number("learning_rate", self.learning_rate, above=True)
        for name in ("global_correlation_loss_weight", "reconstruction_loss_weight", "landmark_loss_weight"):
            require_number(name, getattr(self, name))
        require_one_of("negatives", self.negatives, NEGATIVES)
        require_one_of("learning_rate_schedule", self.learning_rate_schedule, SCHEDULES)
        require_one_of("precision", self.precision, PRECISIONS)
        _check_functions(self)
        for name in ("encoder_params", "decoder_params", "trainer_params"):
            _check_mapping(name, getattr(self, name))
        _check_together(self)
        if self.dims is not None:
            _check_dims(self.dims)
        if self.validation is not None:
            _check_validation(self.validation)

    @property
    def is_plain(self) -> bool:
        """Whether nothing of the user's is called on the way, nor a lower precision used, which belongs to a thread."""
        modules = [self.encoder] if self.parametric else []
        modules += [self.decoder] if self.reconstruction else []
        own = [*self.extra_losses, *filter(callable, (self.reconstruction_loss, self.landmark_loss))]
        return not own and all(isinstance(module, str) for module in modules) and self.precision == "32-true"


def _check_functions(params: TorchParams) -> None:
    if not callable(params.reconstruction_loss):
        require_one_of("reconstruction_loss", params.reconstruction_loss, RECONSTRUCTION_LOSSES, ", or a function")
    if not callable(params.landmark_loss):
        require_one_of("landmark_loss", params.landmark_loss, ("euclidean",), ", or a function")
    if params.torch_optimizer is not None and not callable(params.torch_optimizer):
        msg = f"torch_optimizer={params.torch_optimizer!r} cannot be called; give one such as torch.optim.AdamW"
        raise InputError(msg)
    losses = params.extra_losses
    if not isinstance(losses, Sequence) or isinstance(losses, str) or not all(map(callable, losses)):
        raise InputError(f"extra_losses={losses!r} is not allowed; give a list of functions of a batch")


def _check_together(params: TorchParams) -> None:
    if params.autoencoder_loss and not params.reconstruction:
        raise InputError("autoencoder_loss=True needs a decoder; give reconstruction=True too")
    for role in ("encoder", "decoder"):
        if getattr(params, f"{role}_params") and not isinstance(getattr(params, role), str):
            raise InputError(f"{role}_params are for networks given by name; leave them out beside a module")
    if not params.reconstruction and (not _is_default(params.decoder) or params.decoder_params):
        raise InputError("decoder needs reconstruction=True, without which it is not trained")
    if params.parametric:
        return
    for name, is_given in (
        ("encoder", not _is_default(params.encoder) or bool(params.encoder_params)),
        ("reconstruction", params.reconstruction),
        ("validation", params.validation is not None),
        ("continue_from", params.continue_from is not None),
        ("warm_start_steps", bool(params.warm_start_steps)),
    ):
        if is_given:
            raise InputError(f"{name} needs a network; leave it out, or parametric=False")


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is a {type(value).__name__}; give a dict")
    for key in value if name == "trainer_params" else ():
        if key in OF_EMBED:
            other = "callbacks=, n_training_epochs= and the like are arguments of embed"
            raise InputError(f"trainer_params holds {key!r}; {other}")
        if key in NOT_OURS:
            raise InputError(f"trainer_params holds {key!r}, which does not fit how updates are made here")


def _check_dims(dims: Any) -> None:
    if not isinstance(dims, tuple | list) or not dims:
        raise InputError(f"dims={dims!r} is not allowed; give the shape of a row, such as (1, 28, 28)")
    for size in dims:
        require_count("dims", size)


def _check_validation(validation: Any) -> None:
    if isinstance(validation, bool | str) or (isinstance(validation, float | int) and not 0 < validation < 1):
        wanted = "give a share of the cells above 0 and below 1, a boolean mask, rows, or an AnnData"
        raise InputError(f"validation={validation!r} is not allowed; {wanted}")
    if isinstance(validation, np.ndarray) and validation.ndim not in (1, 2):
        raise InputError(f"validation has shape {validation.shape}; give a mask (n_obs,) or rows (m, n_features)")


def _is_default(network: Any) -> bool:
    return isinstance(network, str) and network == "mlp"
