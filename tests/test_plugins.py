"""Plugins register extensions in the command line, in worker processes and from packages."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import biml
from biml import plugins
from biml.analysis.measures import MEASURES
from biml.cli.main import load_plugins, main
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import EpisodeType
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import BimlError, UsageError
from biml.evaluation.registry import SYMBOLIC
from biml.networks import checkpoint
from biml.networks.registry import ARCHITECTURES, build_network
from biml.paths import DataFolders
from fakes.networks import small_network
from fakes.training import write_episodes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

PLUGIN = """
import dataclasses
import biml

row = dataclasses.replace(biml.episode_type("algebraic"), name="{name}", summary="from a plugin")
biml.register_episode_type(row)
"""


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No plugin is loaded before a test, and none is left after it."""
    for name in ("_loaded", "_origins", "_needed"):
        monkeypatch.setattr(plugins, name, {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    forget_plugins()


TABLES: dict[str, dict[str, Any]] = {
    "episode type": EPISODE_TYPES,
    "architecture": ARCHITECTURES,
    "responder": SYMBOLIC,
    "measure": MEASURES,
}


def forget_plugins() -> None:
    """As in a new process without plugins."""
    for kind, table in TABLES.items():
        for name in plugins.registered(kind):
            del table[name]
    for noted in (plugins._loaded, plugins._origins, plugins._needed):
        noted.clear()


def write(folder: Path, name: str = "mine", file: str = "my_types.py") -> Path:
    path = folder / file
    path.write_text(PLUGIN.format(name=name))
    return path


def test_a_plugin_file_is_run_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    plugins.load(path)
    plugins.load(str(path))
    assert biml.episode_type("mine").summary == "from a plugin"
    assert plugins.loaded() == (str(path),)
    assert plugins.registered("episode type") == ("mine",)


def test_a_plugin_may_be_an_importable_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, file="my_lab_types.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.load("my_lab_types")
    assert biml.episode_type("mine")
    assert plugins.loaded() == ("my_lab_types",)


@pytest.mark.parametrize("option", [["--plugin", "FILE"], ["--plugin=FILE"]])
def test_the_plugin_option_is_removed_from_any_position(tmp_path: Path, option: list[str]) -> None:
    path = str(write(tmp_path))
    option = [word.replace("FILE", path) for word in option]
    assert load_plugins(["data", *option, "status"]) == ["data", "status"]
    assert "mine" in EPISODE_TYPES
    assert load_plugins(["interpret", "--", "--plugin"]) == ["interpret", "--", "--plugin"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--plugin"], "--plugin"),
        (["--plugin", "no_such_file.py"], "no_such_file.py"),
        (["--plugin", "no_such_module_of_mine"], "no_such_module_of_mine"),
    ],
)
def test_error_for_a_missing_plugin_names_it(words: list[str], named: str, capsys: Any) -> None:
    assert main(["models", *words]) == 2
    assert named in capsys.readouterr().err


def test_error_in_a_plugin_gives_its_file_and_line(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import json\n\njson.loads('{')\n")
    assert main(["models", "--plugin", str(path)]) == 1
    message = capsys.readouterr().err
    assert "broken.py" in message
    assert "line 3" in message
    assert "Traceback" not in message


def test_syntax_error_in_a_plugin_gives_only_its_own_line(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "invalid.py"
    path.write_text("import json\n\ndef f(:\n")
    assert main(["models", "--plugin", str(path)]) == 1
    message = capsys.readouterr().err
    assert "(invalid.py, line 3)" in message
    assert message.count("line ") == 1


def test_names_of_built_ins_and_other_plugins_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="algebraic"):
        plugins.load(write(tmp_path, name="algebraic"))
    plugins.load(write(tmp_path, file="first.py"))
    with pytest.raises(UsageError, match=r"second\.py.*mine.*first\.py"):
        plugins.load(write(tmp_path, file="second.py"))


def test_a_notebook_may_register_the_same_name_again() -> None:
    for summary in ("first version", "second version"):
        biml.register_episode_type(
            EpisodeType("mine", summary, evaluation=biml.episode_type("algebraic").evaluation)
        )
    assert biml.episode_type("mine").summary == "second version"


def install(folder: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package whose entry point in the group `biml.plugins` is a module."""
    info = folder / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[biml.plugins]\ntypes = {module}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_installed", [])


def test_plugins_of_installed_packages_are_loaded_when_a_name_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, file="installed_types.py")
    install(tmp_path, "installed_types", monkeypatch)
    assert biml.episode_type("mine").summary == "from a plugin"
    (tmp_path / "installed_types.py").write_text("raise ValueError('run twice')")
    with pytest.raises(UsageError, match="another"):
        biml.episode_type("another")


def test_error_in_an_installed_plugin_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "no_such_module_of_mine", monkeypatch)
    with pytest.raises(BimlError, match="package my-lab"):
        plugins.load_installed()


def test_listings_and_help_include_registered_extensions(capsys: Any) -> None:
    loaded = [f"--plugin={path}" for path in sorted(EXAMPLES.glob("*.py"))]
    run("episode-types", *loaded)
    assert "\nalgebraic+repetition\n" in capsys.readouterr().out
    run("models", *loaded)
    listed = capsys.readouterr().out
    assert "nearest" in listed
    assert "gru" in listed
    with pytest.raises(SystemExit):
        main(["train", "--help", *loaded])
    output = capsys.readouterr().out
    for name in ("algebraic+repetition", "gru", "nearest", "correct_length"):
        assert name in output
    options = " ".join(output.split())
    assert re.search(r"--arch NAME .*?; from plugins: gru", options)
    assert re.search(r"--episode_type TYPE .*?; from plugins: algebraic\+repetition, ", options)


def test_help_warns_that_plugin_files_are_executed() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "biml", "interpret", "--help"], capture_output=True, text=True
    ).stdout
    assert "--plugin" in output
    assert "run" in output[output.index("--plugin FILE") :]


# The worked examples, through the command line

SMALL = ("--emb_size=16", "--nlayers_encoder=1", "--batch_size=4", "--nsteps=1", "--precision=fp32")


def run(*words: object) -> None:
    assert main(list(map(str, words))) == 0


def accuracy(model: Path, example: str, kind: str, capsys: Any) -> float:
    """Train nothing; accuracy on novel queries by `biml eval --max`."""
    run(
        *("eval", "--plugin", EXAMPLES / example, "--episode_type", kind, "--max", "--episodes", 2),
        *("--fn_out_model", model.name, "--dir_model", model.parent, "--json", "-"),
    )
    return float(json.loads(capsys.readouterr().out)["accuracy_novel"])


def test_the_episode_type_is_trained_in_several_processes_and_evaluated(
    tmp_path: Path, capsys: Any
) -> None:
    example = EXAMPLES / "episode_type.py"
    model = tmp_path / "net.pt"
    run(
        *("train", "--plugin", example, "--episode_type", "algebraic+repetition", *SMALL),
        *("--workers", 2, "--quiet", "--fn_out_model", model.name, "--dir_model", tmp_path),
        *("--data_dir", write_episodes(tmp_path / "data")),
    )
    assert accuracy(model, "episode_type.py", "repetition", capsys) == 0.0
    forget_plugins()
    for command in (["eval", "--max"], ["train", "--resume"]):
        where = ["--fn_out_model", model.name, "--dir_model", str(tmp_path)]
        assert main([*command, *where]) == 2
        assert "--plugin episode_type.py" in capsys.readouterr().err


def test_the_bias_of_the_episode_type_is_in_its_targets() -> None:
    plugins.load(EXAMPLES / "episode_type.py")
    data = DataFolders(None, defaults=())
    corrected = biml.episode_type("algebraic").open_training(data, 0)
    biased = biml.episode_type("algebraic+repetition").open_training(data, 0)
    repeated = [
        target.output == (*plain.output, plain.output[-1])
        for number in range(40)
        for plain, target in zip(corrected[number].queries, biased[number].queries, strict=True)
        if not plain.in_study
    ]
    assert sum(repeated) / len(repeated) == pytest.approx(0.2, abs=0.06)


@pytest.mark.usefixtures("few_validation_episodes")
def test_the_architecture_is_trained_saved_resumed_and_evaluated(
    tmp_path: Path, capsys: Any
) -> None:
    example = EXAMPLES / "architecture.py"
    model = tmp_path / "net.pt"
    where = ("--fn_out_model", model.name, "--dir_model", tmp_path, "--workers", 1, "--quiet")
    run(
        "train", "--plugin", example, "--arch", "gru", "--episode_type", "algebraic", *SMALL, *where
    )
    run("train", "--plugin", example, "--resume", *where)
    assert accuracy(model, "architecture.py", "algebraic", capsys) == 0.0
    assert type(biml.load(model).responder.network).__name__ == "GRUNetwork"
    forget_plugins()
    with pytest.raises(BimlError, match=r"import architecture\.py"):
        biml.load(model)


def test_the_architecture_decodes_as_it_scores_and_learns() -> None:
    plugins.load(EXAMPLES / "architecture.py")
    vocabulary = biml.episode_type("algebraic").vocabulary
    network = build_network(
        "gru", {"emb_size": 16, "nlayers_encoder": 1, "dropout": 0.0}, vocabulary
    )
    small = biml.MetaGrammar(n_study=5, n_query=5)
    episodes = [biml.sample_episode(small, biml.generator(0, number)) for number in range(2)]
    batch = network.collate(episodes)
    with torch.no_grad():
        logits = network(batch)
        state = network.encode(batch)
        steps = [network.decode_step(state, tokens) for tokens in batch.decoder_input.T]
    torch.testing.assert_close(torch.stack(steps, dim=1), logits)

    optimizer = torch.optim.AdamW(network.parameters(), lr=0.03)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(
            network(batch).flatten(0, 1),
            batch.target.flatten(),
            ignore_index=vocabulary.output.pad,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_registered_responders_and_measures_are_in_tables_and_report(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of several processes, which give the results of one."""
    checkpoint.save_checkpoint(
        tmp_path / "net.pt", checkpoint.checkpoint_of(small_network(), "algebraic+biases")
    )
    tables = []
    for workers in (1, 2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{workers}"))
        out = tmp_path / f"report{workers}"
        run(
            *("reproduce", "few-shot", "--quick", "--models", "nearest", "oracle", "net"),
            *("--plugin", EXAMPLES / "responder.py", "--plugin", EXAMPLES / "measure.py"),
            *("--data_dir", shared, "--dir_model", tmp_path, "--workers", workers, "--out", out),
        )
        tables.append({path.name: path.read_bytes() for path in (out / "tables").iterdir()})
    assert tables[0] == tables[1]
    measures = pd.read_csv(out / "tables" / "measures.csv")
    rows = measures[measures["measure"] == "correct_length"].set_index("model")
    assert set(rows.index) == {"people", "nearest", "oracle", "net"}
    assert rows.loc["people", "value"] > rows.loc["nearest", "value"]
    assert 0 <= rows.loc["people", "standard_error"] < 5
    accuracies = pd.read_csv(out / "tables" / "accuracies.csv")
    assert set(accuracies["model"]) == {"nearest", "net"}  # the oracle is given the rules
    nearest = accuracies[accuracies["model"] == "nearest"]
    assert set(nearest[nearest["kind"] == "study"]["mean"]) == {100.0}
    page = (out / "index.html").read_text()
    assert "Nearest" in page
    assert "correct length, %" in page


PEOPLE_PLUGIN = """
import dataclasses
import biml

row = dataclasses.replace(biml.episode_type("few_shot_human"), name="own_people", summary="mine")
biml.register_episode_type(row)
"""


def test_registered_episode_types_are_an_experiment_of_reproduce(
    tmp_path: Path, shared: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "people.py").write_text(PEOPLE_PLUGIN)
    out = tmp_path / "report"
    command = (
        *("reproduce", "registered", "--quick", "--models", "net-BIML-top", "nearest", "oracle"),
        *("--plugin", EXAMPLES / "episode_type.py", "--plugin", tmp_path / "people.py"),
        *(
            "--plugin",
            EXAMPLES / "responder.py",
            "--data_dir",
            shared,
            "--out",
            out,
            "--workers",
            1,
        ),
    )
    run(*command)
    printed = capsys.readouterr()
    assert "own_people: log-likelihood" in printed.out
    assert "repetition: greedy, novel queries (%)" in printed.out
    assert re.search(r"Excluded from .*registered: repetition.*: oracle \(is given", printed.err)
    accuracies = pd.read_csv(out / "tables" / "accuracies.csv").set_index(["task", "kind", "model"])
    assert accuracies.loc[("repetition", "novel", "net-BIML-top"), "mean"] < 5
    assert accuracies.loc[("algebraic+repetition", "novel", "net-BIML-top"), "mean"] > 90
    likelihoods = pd.read_csv(out / "tables" / "likelihoods.csv").set_index(["task", "model"])
    row = likelihoods.loc[("own_people", "net-BIML-top")]
    assert row["responses"] == 217
    assert row["standard_error"] > 0
    page = (out / "index.html").read_text()
    assert "algebraic+repetition: novel queries" in page.lower()
    assert "own people" in page
    run(*command)
    assert "Nothing to compute" in capsys.readouterr().err
    forget_plugins()
    assert main(["reproduce", "registered"]) == 2
    assert "--plugin" in capsys.readouterr().err


def test_the_responder_copies_the_most_similar_study_example() -> None:
    plugins.load(EXAMPLES / "responder.py")
    responder = SYMBOLIC["nearest"].build()
    study = [("dax fep", "RED RED"), ("lug", "BLUE")]
    examples = tuple(Example(tuple(w.split()), tuple(s.split())) for w, s in study)
    episode = Episode(examples, (Example(("wif", "fep"), ("BLUE", "BLUE")),))
    assert responder.respond([episode]) == [[("RED", "RED")]]
    assert responder.respond([replace(episode, study=())])[0][0] in {(s,) for s in biml.COLOURS}
