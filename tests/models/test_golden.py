"""Files that earlier versions wrote load, and place rows where they did then; `golden/make_golden.py` made them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import vicinal as vc
from vicinal.models.manifest import SCHEMA

FOLDER = Path(__file__).parent / "golden"
MODELS = sorted(FOLDER.glob("*.zip"))
N_OWN = 6
SCRIPT = """
import json, sys
import anndata as ad, numpy as np
import vicinal as vc

found = {}
for path in sys.argv[1:]:
    with np.load(path.removesuffix("zip") + "npz", allow_pickle=False) as stored:
        if "genes" in stored:
            new = ad.AnnData(stored["genes"])
            new.var_names = stored["names"]
            new = new[:, ::-1].copy()
        else:
            new = ad.AnnData(obsm={"X_pca": stored["rows"]})
    vc.tl.project(new, path, key_added="map")
    found[path] = {"places": new.obsm["map"].tolist()}
    for name, column in {"scores": "map_stranger_score", "p_values": "map_stranger_p"}.items():
        found[path][name] = new.obs[column].tolist() if column in new.obs else []
print(json.dumps({"found": found, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """What a new process makes of all of them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, MODELS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expected(path: Path, name: str) -> np.ndarray:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        return stored[name]


def placed(found: dict, path: Path) -> np.ndarray:
    return np.array(found["found"][str(path)]["places"], dtype=np.float32)


def test_each_kind_of_the_present_schema_has_one() -> None:
    kinds = {path.name.partition("-")[0] for path in MODELS if path.stem.endswith(f"-schema{SCHEMA}")}
    assert kinds == {"landmarks", "landmarks_genes", "network"}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
class TestGolden:
    def test_is_what_its_name_says(self, path: Path) -> None:
        kind, version, schema = path.stem.split("-")
        with zipfile.ZipFile(path) as archive:
            stated = json.loads(archive.read("model.json"))
        assert kind.partition("_")[0] == stated["kind"] and kind.endswith("genes") == ("genes" in stated)
        assert (version, schema) == (stated["versions"]["vicinal"], f"schema{stated['schema']}")

    def test_rows_are_where_they_were(self, path: Path, found: dict) -> None:
        np.testing.assert_allclose(placed(found, path), expected(path, "places"), rtol=1e-6, atol=1e-6)

    def test_can_be_saved_again(self, path: Path, tmp_path: Path) -> None:
        model = vc.models.load(path)
        model.save(tmp_path / "again.zip")
        back = vc.models.load(tmp_path / "again.zip")
        assert back.manifest == model.manifest
        assert all(np.array_equal(back.arrays[name], array) for name, array in model.arrays.items())


@pytest.mark.parametrize("path", [path for path in MODELS if path.name.startswith("landmarks")], ids=lambda p: p.stem)
def test_cells_of_the_map_are_on_their_own_places(path: Path, found: dict) -> None:
    layout = vc.models.load(path).arrays["layout"]
    np.testing.assert_array_equal(placed(found, path)[:N_OWN], layout[:N_OWN])


@pytest.mark.parametrize("path", [path for path in MODELS if "genes" in path.name], ids=lambda p: p.stem)
@pytest.mark.parametrize("name", ["scores", "p_values"])
def test_strangers_are_told_as_they_were(path: Path, found: dict, name: str) -> None:
    np.testing.assert_allclose(found["found"][str(path)][name], expected(path, name), rtol=1e-5)


def test_networks_by_name_need_no_torch(found: dict) -> None:
    assert not found["torch"]
