"""A model to go on from, given as it is, by its path, or in an AnnData."""

from __future__ import annotations

import dataclasses
from typing import Any

from anndata import AnnData

from vicinal.contract.errors import InputError, ModelError
from vicinal.contract.options import EmbedOptions
from vicinal.models import Model

from .project import find_model

NAME = "continue_from"


def with_loaded_model(options: EmbedOptions) -> EmbedOptions:
    """Return the options with the model itself where they name one.

    Raises
    ------
    InputError
        If it is none of these.
    ModelError
        If it cannot be read.
    """
    loaded = {
        name: _found(value)
        for name, value in options.params.items()
        if name.rpartition("__")[2] == NAME and value is not None
    }
    return dataclasses.replace(options, params={**options.params, **loaded}) if loaded else options


def _found(value: Any) -> Model:
    try:
        return find_model(value, genes=False)
    except (InputError, ModelError) as error:
        hint = ". Or save the one you mean, vc.models.save(adata, path, key=...), and give its path"
        raise type(error)(f"{NAME}: {error}{hint if isinstance(value, AnnData) else ''}") from error
