"""What this package brings, as cheap data."""

from __future__ import annotations

from vicinal.api import API_VERSION, BackendSpec, Capabilities, Preset

from .knn import SPEC as KNN
from .params import MlpParams, ResidualParams, TorchParams

INSTALL = "pip install plugins/vicinal-torch, in a checkout of vicinal"
PAPER = "Sainburg, McInnes & Gentner 2021, doi:10.1162/neco_a_01434"

OPTIMIZER = BackendSpec(
    api_version=API_VERSION,
    stage="optimizer",
    name="torch",
    target="vicinal_torch.optimizer:TorchOptimizer",
    summary="Networks, or a free table of places, trained by torch and Lightning",
    params=TorchParams,
    capabilities=Capabilities(
        inputs=("representation",),
        forms=("torch",),
        deterministic=True,
        out_of_sample=True,
        devices=("cpu", "cuda", "mps"),
    ),
    requires=("torch", "lightning"),
    install=INSTALL,
    cite=(PAPER,),
)
MLP = BackendSpec(
    api_version=API_VERSION,
    stage="network",
    name="mlp",
    target="vicinal_torch.networks:Mlp",
    summary="Hidden layers with ReLU; by default three of 100",
    params=MlpParams,
    requires=("torch",),
    install=INSTALL,
    cite=(PAPER,),
)
RESIDUAL = BackendSpec(
    api_version=API_VERSION,
    stage="network",
    name="residual",
    target="vicinal_torch.networks:Residual",
    summary="Residual blocks; keeps more neighbours, takes longer",
    params=ResidualParams,
    requires=("torch",),
    install=INSTALL,
    cite=("He et al. 2016, arXiv:1512.03385",),
)
PRESET = Preset(
    api_version=API_VERSION,
    name="parametric_umap",
    summary="UMAP by a network, which maps new cells in no time",
    stages={"knn": "auto", "graph": "auto", "init": "map", "objective": "umap", "optimizer": "torch"},
    n_neighbors=15,
    defaults={"min_dist": 0.1},
)
SPECS: tuple[BackendSpec | Preset, ...] = (OPTIMIZER, KNN, MLP, RESIDUAL, PRESET)
