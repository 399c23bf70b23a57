import json
import logging
import os
import random
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("lightning")

from torch import nn  # noqa: E402

import vicinal as vc  # noqa: E402
import vicinal_torch  # noqa: E402
from vicinal.api import InputError, apply_layers  # noqa: E402
from vicinal_torch import onnx as exporting  # noqa: E402
from vicinal_torch import to_onnx  # noqa: E402
from vicinal_torch.rebuilt import rebuilt  # noqa: E402

N, SIDE = 90, 4
TINY = {"n_jobs": 1, "init": "random", "n_training_epochs": 1, "warm_start_steps": 8, "accelerator": "cpu"}


def convolutions():
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(3 * SIDE**2, 2))


def own_decoder():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, SIDE**2), nn.Tanh(), nn.Unflatten(1, (1, SIDE, SIDE)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains and keeps a model, through a file as users do."""
    kept = {}

    def train(name, **options):
        if name not in kept:
            rows = np.random.default_rng(0).random((N, SIDE**2), dtype=np.float32)
            adata = ad.AnnData(rows)
            adata.var_names = [f"gene, {i}" for i in range(SIDE**2)]
            vc.tl.embed(adata, method="parametric_umap", use_rep="X", **{"reconstruction": True, **TINY, **options})
            path = tmp_path_factory.mktemp("models") / f"{name}.vicinal"
            vc.models.save(adata, path)
            kept[name] = vc.models.load(path)
        return kept[name]

    return train


@pytest.fixture(scope="module")
def mlp(trained):
    return trained("mlp")


@pytest.fixture(scope="module")
def residual(trained):
    return trained("residual", encoder="residual", encoder_params={"width": 32}, reconstruction_loss="bce")


@pytest.fixture(scope="module")
def own(trained):
    return trained("own", encoder=convolutions(), decoder=own_decoder(), dims=(1, SIDE, SIDE))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that writes and keeps a file, of what several tests look at."""
    kept = {}

    def export(model, part="encoder", **options):
        if (model, part) not in kept:
            kept[model, part] = tmp_path_factory.mktemp("files") / f"{part}.onnx"
            to_onnx(model, kept[model, part], part=part, **options)
        return kept[model, part]

    return export


def ran(path, **given):
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    ((name, values),) = given.items()
    assert [found.name for found in session.get_inputs()] == [name]
    (out,) = session.get_outputs()
    assert {name, out.name} == {"rows", "places"}
    assert isinstance(out.shape[0], str)
    return session.run(None, {name: values.astype(np.float32)})[0]


def rows(m=70, *dims, seed=3):
    return np.random.default_rng(seed).normal(0, 2, (m, *(dims or (SIDE**2,)))).astype(np.float32)


def places(m=70):
    return np.random.default_rng(4).uniform(-20, 20, (m, 2)).astype(np.float32)


def close(made, wanted):
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)


def described(network, given):
    return apply_layers(network.layers, network.arrays, given)


def projected(model, values, **options):
    adata = ad.AnnData(values.reshape(len(values), -1))
    adata.var_names = list(model.manifest.features or adata.var_names)
    vc.tl.project(adata, model, n_jobs=1, **options)
    return np.asarray(adata.obsm[model.manifest.basis])


class TestEqual:
    @pytest.mark.parametrize("name", ["mlp", "residual"])
    def test_encoder_is_project(self, name, request, exported):
        model = request.getfixturevalue(name)
        made = ran(exported(model), rows=rows())
        assert (made < 0).any() and (made > 0).any()
        close(made, projected(model, rows()))

    def test_decoder_of_mse(self, mlp, tmp_path):
        to_onnx(mlp, tmp_path / "d.onnx", part="decoder")
        far = 30 * places()
        made = ran(tmp_path / "d.onnx", places=far)
        assert (made < 0).any()
        close(made, described(mlp.fitted.decoder, far))

    def test_decoder_of_bce_gives_shares(self, residual, tmp_path):
        to_onnx(residual, tmp_path / "d.onnx", part="decoder")
        made = ran(tmp_path / "d.onnx", places=places())
        assert 0 <= made.min() < made.max() <= 1
        close(made, described(residual.fitted.decoder, places()))

    def test_own_encoder_of_images(self, own, exported):
        images = rows(70, 1, SIDE, SIDE)
        close(ran(exported(own, encoder=convolutions()), rows=images), projected(own, images, encoder=convolutions()))

    def test_own_decoder_of_images(self, own, tmp_path):
        to_onnx(own, tmp_path / "d.onnx", part="decoder", decoder=own_decoder())
        module, arrays = own_decoder(), own.fitted.decoder.arrays
        module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        with torch.no_grad():
            wanted = module(torch.tensor(places())).numpy()
        close(ran(tmp_path / "d.onnx", places=places()), wanted)

    def test_module_given_for_a_named_network(self, residual, tmp_path):
        network = residual.fitted.decoder
        module = rebuilt("decoder", network)
        # As the builder makes it: what makes shares of its logits is none of its parts.
        assert isinstance(module.parts[-1], nn.Sigmoid)
        module.parts = module.parts[:-1]
        to_onnx(residual, tmp_path / "d.onnx", part="decoder", decoder=module)
        close(ran(tmp_path / "d.onnx", places=places()), described(network, places()))

    @pytest.mark.parametrize("m", [0, 1, 2, 257])
    def test_any_number_of_rows(self, mlp, own, m, exported):
        close(ran(exported(mlp), rows=rows(m)), described(mlp.fitted.encoder, rows(m)))
        images = rows(m, 1, SIDE, SIDE)
        wanted = projected(own, images, encoder=convolutions()) if m else np.zeros((0, 2))
        close(ran(exported(own, encoder=convolutions()), rows=images), wanted)

    def test_any_width_and_depth(self, trained, tmp_path):
        model = trained("narrow", encoder_params={"width": 7, "depth": 0}, reconstruction=False)
        to_onnx(model, tmp_path / "e.onnx")
        close(ran(tmp_path / "e.onnx", rows=rows()), described(model.fitted.encoder, rows()))


class TestFile:
    def test_says_what_it_is(self, mlp, tmp_path):
        to_onnx(mlp, tmp_path / "e.onnx", opset=18)
        proto = onnx.load(tmp_path / "e.onnx")
        onnx.checker.check_model(proto, full_check=True)
        said = {entry.key: entry.value for entry in proto.metadata_props}
        assert (proto.producer_name, proto.producer_version) == ("vicinal", mlp.manifest.versions["vicinal"])
        assert json.loads(said.pop("features")) == list(mlp.manifest.features)
        assert said == {
            "part": "encoder",
            "method": "parametric_umap",
            "fingerprint": mlp.manifest.fingerprint,
            "representation": mlp.manifest.representation["name"],
        }
        assert [found.version for found in proto.opset_import if not found.domain] == [18]

    def test_is_one_file_without_paths_of_this_machine(self, own, exported):
        path = exported(own, encoder=convolutions())
        assert os.listdir(path.parent) == [path.name]
        assert b"site-packages" not in path.read_bytes()
        assert b".py" not in path.read_bytes()

    def test_same_model_same_bytes(self, mlp, exported, tmp_path):
        to_onnx(mlp, os.fspath(tmp_path / "again"))
        assert (tmp_path / "again").read_bytes() == exported(mlp).read_bytes()

    def test_failure_leaves_what_was_there(self, mlp, tmp_path, monkeypatch):
        (tmp_path / "e.onnx").write_bytes(b"before")

        def fail(*args):
            raise OSError("no space left")

        monkeypatch.setattr(exporting.os, "replace", fail)
        with pytest.raises(OSError, match="no space"):
            to_onnx(mlp, tmp_path / "e.onnx")
        assert os.listdir(tmp_path) == ["e.onnx"]
        assert (tmp_path / "e.onnx").read_bytes() == b"before"


class Logged(logging.Handler):
    """Streams are no witnesses: handlers may hold one from before a test."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record.getMessage())


class Talking(nn.Sequential):
    def forward(self, values):
        print("tracing")
        return super().forward(values)


class TestLeavesAsItWas:
    def test_nothing_is_said(self, mlp, tmp_path, capfd, recwarn):
        logged = Logged()
        for name in exporting.TALKATIVE:
            logging.getLogger(name).addHandler(logged)
        to_onnx(mlp, tmp_path / "e.onnx")
        for name in exporting.TALKATIVE:
            logging.getLogger(name).removeHandler(logged)
        assert capfd.readouterr() == ("", "")
        assert logged.records == []
        assert [str(warned.message) for warned in recwarn] == []

    def test_what_a_users_module_prints_is_kept_off_stdout(self, own, tmp_path, capsys):
        to_onnx(own, tmp_path / "e.onnx", encoder=Talking(*convolutions()))
        said = capsys.readouterr()
        assert said.out == ""
        assert "tracing" in said.err

    def test_random_states_threads_loggers(self, mlp, tmp_path):
        def state():
            levels = [logging.getLogger(name).level for name in exporting.TALKATIVE]
            random_states = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]
            return levels, random_states, torch.get_num_threads(), torch.is_grad_enabled(), sys.stdout

        before = state()
        to_onnx(mlp, tmp_path / "e.onnx")
        assert state() == before

    def test_the_users_module(self, own, tmp_path):
        module = convolutions()
        module[1].eval()
        modes = [part.training for part in module.modules()]
        before = {name: value.clone() for name, value in module.state_dict().items()}
        to_onnx(own, tmp_path / "e.onnx", encoder=module)
        assert [part.training for part in module.modules()] == modes
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())

    def test_torch_is_not_imported_where_plugins_are_found(self):
        found = "import sys, vicinal; assert 'residual' in str(vicinal.plugins.list()); import vicinal_torch"
        code = f"{found}; assert not {{'torch', 'onnx', 'lightning'}} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_other_attributes_are_not_there(self):
        with pytest.raises(AttributeError, match="no attribute 'to_onxn'"):
            _ = vicinal_torch.to_onxn


class Undecided(nn.Sequential):
    """Cannot be traced: what it does hangs on the numbers it gets."""

    def forward(self, values):
        values = super().forward(values)
        return values if values.sum() > 0 else 2 * values


class Fixed(nn.Sequential):
    """Makes two rows, whatever it gets."""

    def forward(self, values):
        return super().forward(values)[:2].reshape(2, -1)


class TestErrors:
    @pytest.fixture
    def refused(self, tmp_path):
        def refused(match, model, path=tmp_path / "e.onnx", **options):
            with pytest.raises(InputError, match=match):
                to_onnx(model, path, **options)
            assert os.listdir(tmp_path) == []

        return refused

    def test_model(self, refused, tmp_path, mlp):
        refused("model is a str; a vicinal.models.Model is needed.*vicinal.models.load", "model.vicinal")
        refused("model is a AnnData; .*vicinal.models.save", ad.AnnData(rows()))
        refused("part='both' is not allowed; give one of 'encoder', 'decoder'", mlp, part="both")

    def test_model_without_network(self, refused, tmp_path_factory):
        adata = ad.AnnData(rows())
        vc.tl.embed(adata, use_rep="X", n_jobs=1, n_epochs=2, init="random")
        path = tmp_path_factory.mktemp("models") / "m"
        vc.models.save(adata, path)
        refused("has no network; give one that was made by method='parametric_umap'", vc.models.load(path))

    def test_no_decoder(self, refused, mlp):
        class WithoutDecoder:
            manifest = mlp.manifest
            fitted = type(mlp.fitted)(encoder=mlp.fitted.encoder)

        refused("the model has no decoder, only encoder; .*reconstruction=True", WithoutDecoder(), part="decoder")

    def test_path(self, refused, mlp, tmp_path):
        refused("path=3 is not allowed", mlp, 3)
        refused("is a folder; name a file", mlp, tmp_path)
        refused("there is no folder", mlp, tmp_path / "none" / "e.onnx")

    @pytest.mark.parametrize("opset", [0, True, "18", 99])
    def test_opset(self, refused, mlp, opset):
        refused(f"opset={opset!r} is not allowed", mlp, opset=opset)

    def test_own_network(self, refused, own):
        refused("encoder=None: the model was trained with a network of the user's own; give it again", own)
        refused("decoder=None: .*decoder=module", own, part="decoder", encoder=convolutions())
        refused("encoder is a str; give the torch.nn.Module", own, encoder="mlp")
        refused("encoder is the class Sequential; give", own, encoder=nn.Sequential)
        refused("the encoder does not fit the weights", own, encoder=nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
        refused("encoder cannot take rows of shape", own, encoder=nn.Linear(3, 2))

    def test_network_that_cannot_be_traced(self, refused, own):
        refused("torch.onnx cannot export this network", own, encoder=Undecided(*convolutions()))
        refused("torch.onnx cannot export this network", own, encoder=Fixed(*convolutions()))

    @pytest.mark.parametrize("name", ["onnx", "onnxscript"])
    def test_missing(self, refused, mlp, name, monkeypatch):
        monkeypatch.setitem(sys.modules, name, None)
        refused("run: pip install onnx onnxscript", mlp)

    def test_too_large_for_one_file(self, refused, mlp, monkeypatch):
        monkeypatch.setattr(exporting, "LARGEST", 1000)
        refused("at most 1,000. Train a smaller network", mlp)


def test_unknown_layer_is_named(residual):
    network = type(residual.fitted.encoder)(**{**vars(residual.fitted.encoder), "layers": ({"op": "swirl"},)})
    with pytest.raises(InputError, match="layer 'swirl', which is unknown here"):
        rebuilt("encoder", network)
