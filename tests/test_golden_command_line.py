"""Command lines of biml 0.1.0 and of the published code have the same parsed options."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

from fakes import golden_access as access
from fakes.golden_files import known

TRAIN = "train --fn_out_model net.pt"
EVAL = "eval --fn_out_model net.pt"

TRAINING = (
    "train --episode_type retrieve --fn_out_model net-BIML-copy.pt",
    "train --episode_type algebraic+biases --fn_out_model net-BIML.pt",
    "train --episode_type algebraic_noise --fn_out_model net-BIML-algebraic.pt",
    "train --episode_type joint --fn_out_model net-BIML-joint.pt",
    *(
        f"train --episode_type {kind}_cross{fold} --fn_out_model net-cross{fold}.pt"
        for kind in ("joint", "open_end_human")
        for fold in (1, 5)
    ),
    "train --episode_type few_shot_vanilla --fn_out_model net-basic-seq2seq.pt --nepochs 1000 "
    "--batch_size 4 --dropout 0.5 --lr 0.0005",
    "train --episode_type open_end_human_all --fn_out_model net-open.pt --nepochs 10000",
    f"{TRAIN} --dir_model models --batch_size 10 --nepochs 3 --lr 0.002 --lr_end_factor 0.1 "
    "--no_lr_warmup --nlayers_encoder 2 --nlayers_decoder 4 --emb_size 64 --ff_mult 2 "
    "--dropout 0.2 --act relu --save_best --save_best_skip 0.3",
    f"{TRAIN} --resume",
    f"{TRAIN} --overwrite --nsteps 7 --seed 3 --optimizer muon --lr_shape square --precision bf16",
    f"{TRAIN} --episode_type joint --arch staged --guide 0.3 --nlayers_query 2 --curriculum "
    "--clean_share 0.5 --batch_growth 2",
    f"{TRAIN} --equal_projections --max_tokens 2048 --device cpu --workers 1 --save_every 2 "
    "--dashboard --quiet --data_dir data --lr_shape epochs --precision auto",
    "train --preset fast --minutes 60 --episode_type algebraic+biases --fn_out_model net-fast.pt",
    "train --preset fast --minutes 45 --max_tokens 10240 --episode_type algebraic+biases --seed 0 "
    "--fn_out_model end.pt",
    "train --preset fast --init net-BIML-top.pt --episode_type joint --minutes 20 "
    "--fn_out_model net-joint.pt",
    "train --preset paper --episode_type algebraic+slips --fn_out_model net.pt",
)

OTHERS = (
    "eval --max --episode_type few_shot_gold --fn_out_model net-BIML-top.pt --verbose",
    "eval --max --episode_type algebraic --fn_out_model net-BIML-top.pt --data_dir fresh",
    "eval --max --episode_type retrieve --fn_out_model net-BIML-copy-top.pt",
    "eval --ll --ll_nrep 100 --fit_lapse --episode_type few_shot_human --fn_out_model net.pt",
    "eval --ll --ll_nrep 100 --ll_p_lapse 0.03 --episode_type few_shot_human --fn_out_model net.pt",
    "eval --ll --ll_nrep 200 --episode_type open_end_human_all --fn_out_model net.pt",
    "eval --ll --ll_p_lapse 0.9 --episode_type human_vanilla --fn_out_model net.pt",
    "eval --sample_html --episode_type few_shot_human_mult10 --fn_out_model net.pt",
    "eval --sample_iterative --episode_type open_end_freeform --fn_out_model net.pt",
    f"{EVAL} --dir_model models --sample --max_length_eval 8 --batch_size 5 --episodes 3",
    f"{EVAL} --fit_lapse bounded --by item --ll_out out.csv --json - --seed 4",
    f"{EVAL} --fit_lapse grid --by participant --ll_out out.parquet --precision bf16 --device cpu",
    f"{EVAL} --dashboard --sample_html --samples_out samples.csv --verbose",
    "generate",
    "generate --out fresh/data_algebraic --train 10 --val 1000 --seed 77",
    "generate --max_rhs 6 --max_input 7 --max_output 9 --study 12 --queries 5 --workers 2 "
    "--overwrite",
    "generate --primitives 3 --functions 2 --apart study.txt --train 5000",
    "data download human",
    "data download models",
    "data download episodes",
    "data import responses.csv --study study.txt",
    "data import responses.csv --study study.txt --dest mine --overwrite",
    "data download human --url http://example.org/a.zip --dest data --overwrite",
    "data status --data_dir data",
    "interpret --grammar my-grammar.txt 'dax fep'",
    "export net.pt net.safetensors --dtype float16 --overwrite",
    "export net.safetensors net.pt --dir_model models --data_dir data",
    "models",
    "models net-BIML-top --json",
    "reproduce",
    "reproduce --quick",
    "reproduce table1 few-shot --models net-mine oracle-biases --dir_model out_models",
    "reproduce few-shot --models mine.pt oracle oracle-biases --data_dir mine --quick --out report",
    "reproduce novel-rules --seed 2 --lapse_samples --workers 1",
    "report results",
)

LINES = (*TRAINING, *OTHERS)


def plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def check_values(found: dict[str, Any], golden: dict[str, Any]) -> None:
    """All values of old are there, under their names or newer ones."""
    for name, value in golden.items():
        new_name = access.DEST_RENAMES.get(name, name)
        key = (name, tuple(value) if isinstance(value, list) else value)
        assert plain(found[new_name]) == access.VALUE_RENAMES.get(key, value), name


@pytest.mark.parametrize("line", LINES)
def test_command_line_is_parsed_as_before(line: str) -> None:
    found = access.parse(shlex.split(line))
    written = {name: plain(value) for name, value in found.items()}
    check_values(found, known("command-lines.json.gz", line, written))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(("train", "eval"))])
def test_published_command_is_parsed_as_before(line: str) -> None:
    name, *words = shlex.split(line)
    found = access.parse([name, *words])
    assert access.parse_published(name, words).items() <= found.items()


@pytest.mark.parametrize("line", TRAINING)
def test_training_configuration_of_a_command_line(line: str) -> None:
    options = access.parse(shlex.split(line))
    if "--precision auto" in line:
        options["precision"] = None
    found = access.run_configuration(options)
    check_values(found, known("command-lines.json.gz", f"configuration: {line}", found))


def facts(action: argparse.Action) -> dict[str, Any]:
    default = action.default if action.default != argparse.SUPPRESS else "suppressed"
    return {
        "options": list(action.option_strings),
        "dest": action.dest,
        "default": plain(default),
        "const": plain(action.const),
        "nargs": action.nargs,
        "choices": sorted(map(str, action.choices)) if action.choices else None,
        "required": action.required,
        "type": getattr(action.type, "__name__", None),
    }


def every_option() -> dict[str, list[dict[str, Any]]]:
    return {
        command: [facts(action) for action in parser._actions]
        for command, parser in access.parsers().items()
    }


OLD = known("options.json.gz", "commands", every_option())
"""Of each command its options in biml 0.1.0."""


@pytest.mark.parametrize("command", OLD)
def test_options_of_each_command(command: str) -> None:
    now = access.parsers()[command]._actions
    for old in OLD[command]:
        dest = access.DEST_RENAMES.get(old["dest"], old["dest"])
        same = [
            facts(action)
            for action in now
            if set(action.option_strings) & set(old["options"])
            or (not old["options"] and action.dest == dest and not action.option_strings)
        ]
        assert {o for new in same for o in new["options"]} >= set(old["options"]), old
        assert same, old
        for new in same:
            assert new["dest"] == dest
            for what in ("default", "const", "nargs", "required"):
                value = old[what]
                key = (old["dest"], value) if not isinstance(value, list) else (old["dest"], None)
                assert new[what] == access.VALUE_RENAMES.get(key, value), (old, what)
            assert set(new["choices"] or ()) >= set(old["choices"] or ()), old


def test_every_option_is_in_a_command_line() -> None:
    """So that the tests above parse a value of each."""
    used = {(line.split()[0], word) for line in LINES for word in shlex.split(line)}
    for command, actions in OLD.items():
        for old in actions:
            spellings = {
                (word, option) for word in command.split()[:1] for option in old["options"]
            }
            assert not spellings or old["dest"] == "help" or spellings & used, old


@pytest.mark.parametrize("command", OLD)
def test_help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        access.main([*command.split(), "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert all(option in output for old in OLD[command] for option in old["options"])
