"""The same verbs for pipelines: ``vicinal embed in.h5ad out.h5ad``.

What people asked for goes to stdout; progress, log and errors to stderr. Exit codes: 0 done, 1 a plugin cannot be used
(``plugins check``), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .adata.keys import map_keys
from .adata.model import MIN_OVERLAP
from .contract.errors import InputError, VicinalError, listing
from .contract.options import EmbedOptions
from .tl.embed import embed, make_map
from .tl.spectrum import N_EPOCHS, make_spectrum

if TYPE_CHECKING:
    from anndata import AnnData


def _phases(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        example = """'[{"n": 100, "learning_rate": 0.5}, {"n": 400}]'"""
        raise argparse.ArgumentTypeError(f"expected JSON such as {example}, not {text!r} ({error})") from error


EMBED_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "n_components": (int, "dimensions of the map, 1 to 10"),
    "n_neighbors": (int, "neighbours of each cell, itself counted (default: those stored, else 15; of tsne 91)"),
    "neighbors_key": (str, "key in uns of the stored neighbours (default: neighbors)"),
    "use_rep": (str, "where neighbours are found: a key of obsm, X, or a layer (default: X_pca, else a narrow X)"),
    "n_pcs": (int, "columns of the representation to use (default: all)"),
    "metric": (str, "metric of the representation"),
    "init": (str, "first layout: spectral, pca, random, paga, or a key of obsm"),
    "min_dist": (float, "distance in the map at which cells touch (default: the method's, 0.5 for umap)"),
    "spread": (float, "scale that --min-dist is relative to (default: the method's, 1.0 for umap)"),
    "n_epochs": (int, "passes over the graph (default: 500 up to 10,000 cells, else 200; of tsne 475)"),
    "phases": (
        _phases,
        'the optimisation in parts, JSON: \'[{"n": 500, "learning_rate": 0.5}, …]\' (default: its own)',
    ),
    "random_state": (int, "the seed everything random is derived from"),
    "n_jobs": (int, "threads (default: all processors)"),
    "labels": (str, "column of obs that the map is to follow, such as cell types (default: none)"),
    "key_added": (str, "key of the map in obsm and uns (default: X_METHOD and METHOD)"),
    "checkpoint": (Path, "keep the run in this file while it lasts; the same command goes on from it (default: none)"),
    "checkpoint_every": (int, "epochs between two checkpoints (default: a tenth of all)"),
}
FLAGS = {"random_state": "--seed"}
STORES = (".h5ad", ".zarr")
PICTURES = (".png", ".pdf", ".svg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(format="vicinal: %(message)s")
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        options = build_parser().parse_args(arguments)
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            return options.command(options)
    except (VicinalError, OSError) as error:
        print("vicinal: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("vicinal:", str(interrupt) or "interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    description = "Neighbour embedding for AnnData files: make, score and reuse maps of cells."
    parser = _Parser(prog="vicinal", description=description)
    parser.add_argument("--version", action="version", version=f"vicinal {metadata.version('vicinal')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_embed(commands)
    _add_spectrum(commands)
    _add_score(commands)
    _add_project(commands)
    _add_update(commands)
    _add_rerun(commands)
    _add_plugins(commands)
    _add_warmup(commands)
    return parser


def _command(commands: Any, name: str, run: Callable, summary: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _add_demo(commands: Any) -> None:
    parser = _command(commands, "demo", _demo, "map 700 blood cells from end to end", "vicinal demo --out demo")
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where the files go (default: %(default)s)")


def _add_embed(commands: Any) -> None:
    example = (
        "vicinal embed pbmc3k.h5ad mapped.h5ad --min-dist 0.3 --plot map.png --color louvain\n"
        "  vicinal embed pbmc3k.h5ad mapped.h5ad --param knn=exact --param negative_sample_rate=10"
    )
    parser = _command(commands, "embed", _embed, "make a map of the cells in a file", example)
    parser.add_argument("input", metavar="IN", help="cells, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the cells with their map, .h5ad or .zarr; may be IN")
    default = inspect.signature(embed).parameters["method"].default
    parser.add_argument("--method", default=default, help="preset of stages (default: %(default)s)")
    _add_embed_options(parser)
    parser.add_argument("--model", metavar="PATH", help="save the model too, for `vicinal project`")


def _add_spectrum(commands: Any) -> None:
    example = "vicinal spectrum pbmc3k.h5ad maps.h5ad --exaggerations inf 30 4 1 --plot maps.png --color louvain"
    parser = _command(commands, "spectrum", _spectrum, "make maps from attraction to repulsion on one graph", example)
    parser.add_argument("input", metavar="IN", help="cells, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the cells with their maps, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--exaggerations",
        type=float,
        nargs="+",
        metavar="X",
        help="factors of the attraction, falling; inf for Laplacian eigenmaps (default: by the number of cells,"
        " 30 12 4 2 1 0.5 from 45,000 on)",
    )
    changed = {
        "n_epochs": f"steps for each map (default: {N_EPOCHS})",
        "key_added": "key of the maps in obsm and uns (default: X_spectrum and spectrum)",
        "n_neighbors": "neighbours of each cell, the cell itself counted (default: as many as the graph wants)",
        "phases": None,
        "min_dist": None,
        "spread": None,
    }
    _add_embed_options(parser, changed)
    parser.set_defaults(method="spectrum", model=None)


def _add_embed_options(parser: argparse.ArgumentParser, changed: Mapping[str, str | None] | None = None) -> None:
    """Add the options of maps; ``changed`` are other words for some, None for those that are not to be had."""
    signature = inspect.signature(embed).parameters
    for name, (kind, usual) in EMBED_OPTIONS.items():
        text = (changed or {}).get(name, usual)
        if text is None:
            continue
        default = signature[name].default
        shown = text if default is None else f"{text} (default: {default})"
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        metavar = {int: "N", float: "X", Path: "PATH", _phases: "JSON"}.get(kind, "NAME")
        parser.add_argument(flag, dest=name, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=shown)
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        type=_key_and_value,
        metavar="KEY=VALUE",
        help="any other argument of vicinal.tl.embed; the value is read as JSON if it is JSON (repeatable)",
    )
    parser.add_argument("--plot", metavar="PATH", help=f"draw it too ({', '.join(PICTURES)})")
    parser.add_argument("--color", metavar="COLUMN", help="column of obs, or gene, that colours the plot")


def _add_score(commands: Any) -> None:
    example = "vicinal score mapped.h5ad --labels louvain"
    parser = _command(commands, "score", _score, "say how well a map keeps what it was made from", example)
    parser.add_argument("file", metavar="FILE", help="cells with a map, .h5ad or .zarr")
    parser.add_argument(
        "--basis", default="X_umap", metavar="NAME", help="key of the map in obsm (default: %(default)s)"
    )
    parser.add_argument("--labels", metavar="COLUMN", help="column of obs for label_accuracy (default: none)")
    parser.add_argument("--use-rep", metavar="NAME", help="representation (default: the one recorded with the map)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sample (default: %(default)s)")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default: all processors)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="store the scores in FILE as well")


def _add_project(commands: Any) -> None:
    example = "vicinal embed old.h5ad mapped.h5ad --model model.zip\n  vicinal project new.h5ad model.zip placed.h5ad"
    parser = _command(commands, "project", _project, "place new cells in an existing map", example)
    parser.add_argument("input", metavar="IN", help="new cells, .h5ad or .zarr")
    parser.add_argument("model", metavar="MODEL", help="a saved model, or an .h5ad or .zarr that carries one")
    parser.add_argument("output", metavar="OUT", help="the new cells with their places, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--use-rep",
        metavar="NAME",
        help="obsm key, layer or X with what the model reads (default: genes, or its own key)",
    )
    parser.add_argument(
        "--min-overlap",
        type=float,
        default=MIN_OVERLAP,
        metavar="X",
        help="how much of the PCA's squared loadings the genes must have (default: %(default)s)",
    )
    parser.add_argument(
        "--stranger-level",
        type=_level,
        default=0.05,
        metavar="P",
        help="p-value up to which cells are flagged as unlike the map's; none for no flags (default: %(default)s)",
    )
    parser.add_argument("--park-strangers", action="store_true", help="give flagged cells NaN for a place")
    _add_keys(parser, "MODEL carries several", "as the model's map")


def _level(text: str) -> float | None:
    return None if text == "none" else float(text)


def _add_update(commands: Any) -> None:
    example = "vicinal update all.h5ad mapped.h5ad grown.h5ad --max-drift 0.02"
    parser = _command(commands, "update", _update, "add cells to a map whose own cells stay", example)
    parser.add_argument("input", metavar="IN", help="old and new cells, .h5ad or .zarr")
    parser.add_argument("model", metavar="MODEL", help="an .h5ad or .zarr that carries the map, or a saved model")
    parser.add_argument("output", metavar="OUT", help="the cells with the map, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--max-drift",
        type=float,
        default=0.0,
        metavar="X",
        help="how far old cells may go, as a share of the map's spread (default: %(default)s)",
    )
    _add_keys(parser, "MODEL carries several", "as the model's map")


def _add_rerun(commands: Any) -> None:
    example = "vicinal rerun mapped.h5ad again.h5ad --key umap"
    parser = _command(commands, "rerun", _rerun, "make a stored map again and say whether it is the same", example)
    parser.add_argument("input", metavar="IN", help="cells with the map, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the same with both maps, .h5ad or .zarr; may be IN")
    _add_keys(parser, "IN has several", "KEY_rerun")


def _add_keys(parser: argparse.ArgumentParser, several: str, default: str) -> None:
    parser.add_argument("--key", metavar="NAME", help=f"the map, where {several}")
    parser.add_argument("--key-added", metavar="NAME", help=f"key in obsm and uns (default: {default})")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default: all processors)")


def _add_plugins(commands: Any) -> None:
    text = "say which backends and methods there are, and which plugins are broken"
    parser = _command(commands, "plugins", _plugins, text, "vicinal plugins list\n  vicinal plugins check --json")
    parser.add_argument(
        "action",
        choices=("list", "check"),
        help="list: what there is; check: import and build all, exit 1 if any fails",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_warmup(commands: Any) -> None:
    text = "compile all kernels now and measure the machine: no later process waits, and plans forecast their time"
    example = "vicinal warmup\n  VICINAL_CACHE=/opt/vicinal vicinal warmup   # keeps the measurements there"
    _command(commands, "warmup", _warmup, text, example)


def _warmup(options: argparse.Namespace) -> int:
    from ._warmup import calibrate, warmup
    from .pipeline.calibration import write_calibration

    print(f"kernels are compiled and cached; it took {warmup():.1f} s", flush=True)
    seconds = calibrate()
    try:
        print(f"plans forecast their time now, by {write_calibration(seconds)}")
    except (OSError, RuntimeError) as error:  # nowhere to write
        print(f"vicinal: plans cannot forecast their time: {error}", file=sys.stderr)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from ._demo import demo

    for line in demo(Path(options.out)):
        print(line, flush=True)
    return 0


def _embed(options: argparse.Namespace) -> int:
    from . import models

    given = _given_options(options)
    targets = [_target(options.output, STORES), _target(options.model), _target(options.plot, PICTURES)]
    adata = _read(options.input)
    _check_picture(adata, options, given)
    _, keeper = make_map(adata, EmbedOptions.collect(options.method, given))
    keys = map_keys(options.method, given.get("key_added"))
    with _replacing(targets) as (output, model, plot):
        _write(adata, output)
        if model:
            models.save(adata, model, key=keys.uns)
        if plot:
            _draw(adata, keys.obsm, options.color, plot)
    keeper.remove()
    _print_table(_facts_of_map(adata, keys, options))
    return 0


def _spectrum(options: argparse.Namespace) -> int:
    given = _given_options(options)
    targets = [_target(options.output, STORES), _target(options.plot, PICTURES)]
    adata = _read(options.input)
    _check_picture(adata, options, given)
    n_epochs = given.pop("n_epochs", N_EPOCHS)
    _, keeper = make_spectrum(adata, given, exaggerations=options.exaggerations, n_epochs=n_epochs)
    keys = map_keys("spectrum", given.get("key_added"))
    with _replacing(targets) as (output, plot):
        _write(adata, output)
        if plot:
            _draw_spectrum(adata, keys.uns, options.color, plot)
    keeper.remove()
    entry = adata.uns[keys.uns]
    found = zip(entry["exaggerations"], entry["snapshot_loss"], strict=True)
    losses = ", ".join(f"{loss:.3f} at {factor:g}" for factor, loss in found)
    _print_table({**_facts_of_map(adata, keys, options), "losses": losses})
    return 0


def _score(options: argparse.Namespace) -> int:
    from . import tl

    target = _target(options.file) if options.write else None
    adata = _read(options.file)
    scores = tl.score(
        adata,
        options.basis,
        labels=options.labels,
        use_rep=options.use_rep,
        random_state=options.seed,
        n_jobs=options.n_jobs,
    )
    if target is not None:
        with _replacing([target]) as (output,):
            _write(adata, output)
    if options.json:
        print(json.dumps(scores, indent=1))
    else:
        _print_table({name: f"{value:.4f}" for name, value in scores.items()})
    return 0


def _project(options: argparse.Namespace) -> int:
    from . import tl
    from .tl.project import find_model

    target = _target(options.output, STORES)
    carried = Path(options.model).suffix in STORES
    model = find_model(_read(options.model) if carried else options.model, options.key)
    adata = _read(options.input)
    names = "key_added", "use_rep", "min_overlap", "stranger_level", "park_strangers", "n_jobs"
    tl.project(adata, model, **{name: getattr(options, name) for name in names})
    with _replacing([target]) as (output,):
        _write(adata, output)
    keys = map_keys(model.method, options.key_added)
    others = f"among {model.n_landmarks:,}" if model.n_landmarks else "by the map's network"
    facts = {"placed": f"{adata.n_obs:,} cells placed {others}", "map": f"{options.output}: obsm[{keys.obsm!r}]"}
    _print_table(facts | _strangers_of(adata.uns[keys.uns].get("strangers")))
    return 0


def _strangers_of(record: Mapping[str, Any] | None) -> dict[str, str]:
    if record is None:
        return {}
    if "unavailable" in record:
        return {"strangers": f"not told, {record['unavailable']}"}
    parked = "; they have no places" if record["parked"] else ""
    return {"strangers": f"{record['n_strangers']:,} at p up to {record['level']}{parked}"}


def _update(options: argparse.Namespace) -> int:
    from . import tl
    from .tl.project import find_model

    target = _target(options.output, STORES)
    carrier = _read(options.model) if Path(options.model).suffix in STORES else find_model(options.model)
    adata, keys = (
        _read(options.input),
        map_keys(find_model(carrier, options.key, genes=False).method, options.key_added),
    )
    tl.update(
        adata, carrier, max_drift=options.max_drift, key=options.key, key_added=options.key_added, n_jobs=options.n_jobs
    )
    with _replacing([target]) as (output,):
        _write(adata, output)
    record = adata.uns[keys.uns]["update"]
    moved = f"{100 * record['drift_median_share']:.3g} % of the spread in the median, "
    moved += f"{100 * record['drift_max_share']:.3g} % at most"
    cells = f"{record['n_new']:,} cells to {record['n_old']:,}"
    _print_table({"added": cells, "moved": moved, "map": f"{options.output}: obsm[{keys.obsm!r}]"})
    return 0


def _rerun(options: argparse.Namespace) -> int:
    from . import tl
    from .adata.record import read_record

    target = _target(options.output, STORES)
    adata = _read(options.input)
    key = options.key_added or f"{read_record(adata, options.key).key}_rerun"
    tl.rerun(adata, options.key, key_added=key, n_jobs=options.n_jobs)
    with _replacing([target]) as (output,):
        _write(adata, output)
    found = adata.uns[key]["rerun_of"]
    verdict = "the same to the bit" if found.get("equal") else f"differs by up to {found.get('largest_difference')}"
    _print_table({"map": f"{options.output}: obsm[{key!r}]", found["key"]: verdict})
    return 0


def _plugins(options: argparse.Namespace) -> int:
    from . import plugins

    table = {"list": plugins.list, "check": plugins.check}[options.action]()
    rows: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        _print_plugins(rows)
    failed = any(row["status"] not in ("ok", "disabled") for row in rows)
    return int(options.action == "check" and failed)


def _given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `embed` that were given, by their own options or by ``--param``."""
    given = {name: getattr(options, name) for name in EMBED_OPTIONS if hasattr(options, name)}
    for name, value in options.param:
        if name in ("adata", "method", "copy"):
            raise InputError(f"--param {name} is not allowed here")
        if name in given:
            raise InputError(f"--param {name}: {name} is given twice")
        given[name] = value
    return given


def _key_and_value(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, such as negative_sample_rate=10, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _check_picture(adata: AnnData, options: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Raise before the work for what would fail after it."""
    from .pl.embedding import check_colors

    if options.color and not options.plot:
        raise InputError(f"--color {options.color} colours a plot; give --plot PATH too")
    if options.plot and given.get("n_components") == 1:
        raise InputError("--plot needs a map of at least 2 dimensions; --n-components is 1")
    check_colors(adata, options.color)


def _read(path: str) -> AnnData:
    import anndata as ad

    if not Path(path).exists():
        raise InputError(f"{path}: there is no such file")
    reader, kind = (ad.read_zarr, "a zarr store") if Path(path).is_dir() else (ad.read_h5ad, "an .h5ad file")
    try:
        return reader(path)
    except Exception as error:  # whatever a reader stumbles over, the file is not one of its kind
        raise InputError(f"{path}: cannot be read as {kind} of cells ({type(error).__name__}: {error})") from error


def _write(adata: AnnData, path: Path | None) -> None:
    assert path is not None
    if path.suffix == ".zarr":
        adata.write_zarr(path)
    else:
        adata.write_h5ad(path)


def _target(path: str | None, endings: Sequence[str] = ()) -> Path | None:
    """Return where to write, checked before any work; links are followed, so that they stay links."""
    if path is None:
        return None
    target = Path(os.path.realpath(path))
    if endings and target.suffix not in endings:
        raise InputError(f"{path}: the name must end in one of {listing(endings)}")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {str(target.parent)!r} to write to")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: the folder {str(target.parent)!r} cannot be written to")
    if target.is_dir() and not _is_zarr_store(target):
        raise InputError(f"{path}: is a folder; name a file")
    return target


def _is_zarr_store(folder: Path) -> bool:
    return folder.suffix == ".zarr" and any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


@contextmanager
def _replacing(targets: Iterable[Path | None]) -> Iterator[list[Path | None]]:
    """Yield a path beside each target; move what was written there once all of it is, else remove it."""
    targets = list(targets)
    with ExitStack() as stack:
        folders = {
            target: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".vicinal-", dir=target.parent)))
            for target in targets
            if target is not None
        }
        yield [None if target is None else folders[target] / target.name for target in targets]
        for target, folder in folders.items():
            if target.is_dir():  # a zarr store cannot be replaced in one step
                os.replace(target, folder / "before")
            os.replace(folder / target.name, target)


def _draw(adata: AnnData, basis: str, color: str | None, path: Path) -> None:
    import matplotlib.pyplot as plt

    from . import pl

    figure, ax = plt.subplots(figsize=(6, 5))
    pl.embedding(adata, basis, color=color, ax=ax, show=False)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def _draw_spectrum(adata: AnnData, key: str, color: str | None, path: Path) -> None:
    import matplotlib.pyplot as plt

    from . import pl

    pl.spectrum(adata, key, color=color)
    figure = plt.gcf()
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)


def _facts_of_map(adata: AnnData, keys: Any, options: argparse.Namespace) -> dict[str, str]:
    entry, shape = adata.uns[keys.uns], adata.obsm[keys.obsm].shape
    stages = (f"{stage} {backend.removesuffix('@vicinal')}" for stage, backend in entry["backends"].items())
    facts = {
        options.method: f"{shape[0]:,} cells in {shape[1]} dimensions, {entry['timings']['total']:.1f} s",
        "stages": ", ".join(stages),
        "scores": ", ".join(f"{name} {value:.3f}" for name, value in entry["score"].items()) or "none",
        "map": f"{options.output}: obsm[{keys.obsm!r}], uns[{keys.uns!r}]",
        "model": options.model,
        "plot": options.plot,
    }
    return {name: text for name, text in facts.items() if text}


def _print_table(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts), default=0)
    for name, text in facts.items():
        print(f"{name:<{width}}  {text}")


def _print_plugins(rows: Sequence[Mapping[str, Any]]) -> None:
    usable = [row for row in rows if row["status"] == "ok"]
    shown = [(row["stage"], row["name"], f"{row['distribution']} {row['version']}", row["summary"]) for row in usable]
    table = [("stage", "name", "from", "what it is"), *shown]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    for line in table:
        print("  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[3]]))
    for row in rows:
        if row["status"] != "ok":
            print(f"{row['status']}: {row['name']} ({row['distribution']} {row['version']}): {row['error']}")
