"""A small corpus in the files of COGS."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

COMMON, PROPER = ("TV", "cat", "dog", "cake", "shark"), ("Ava", "Emma", "Liam", "Paula")
INFINITIVES = {"crawl": "crawled", "run": "ran"}
DATIVES = {"sent": "send", "sold": "sell"}
STRUCTURAL_TYPES = ("cp_recursion", "obj_pp_to_subj_pp", "pp_recursion")


def _transitive(agent: str, noun: str, determiner: str) -> str:
    definite = determiner == "the"
    first, last = (f"* {noun} ( x _ 3 ) ; ", "") if definite else ("", f" AND {noun} ( x _ 3 )")
    form = f"{first}like . agent ( x _ 1 , {agent} ) AND like . theme ( x _ 1 , x _ 3 ){last}"
    return f"{agent} liked {determiner} {noun} .\t{form}"


def _lines() -> Iterator[str]:
    for agent, noun, determiner in product(PROPER[:3], COMMON[:4], ("a", "the")):
        yield _transitive(agent, noun, determiner)
    for noun, (verb, past) in product(COMMON[:4], INFINITIVES.items()):
        if verb != "crawl":
            yield f"A {noun} {past} .\t{noun} ( x _ 1 ) AND {verb} . agent ( x _ 2 , x _ 1 )"
            form = f"* {noun} ( x _ 1 ) ; try . agent ( x _ 2 , x _ 1 ) AND "
            form += f"try . xcomp ( x _ 2 , x _ 4 ) AND {verb} . agent ( x _ 4 , x _ 1 )"
            yield f"The {noun} tried to {verb} .\t{form}"
    for agent, (verb, base) in product(PROPER[:3], DATIVES.items()):
        form = f"{base} . theme ( x _ 3 , x _ 1 ) AND {base} . recipient ( x _ 3 , {agent} )"
        yield f"The cake was {verb} to {agent} .\t* cake ( x _ 1 ) ; {form}"
    form = "dog ( x _ 1 ) AND dog . nmod . on ( x _ 1 , x _ 4 ) AND cat ( x _ 4 ) AND "
    yield f"A dog on a cat ran .\t{form}run . agent ( x _ 5 , x _ 1 )"


PRIMITIVES = (
    "shark\tLAMBDA a . shark ( a )\tprimitive",
    "Paula\tPaula\tprimitive",
    "crawl\tLAMBDA a . LAMBDA e . crawl . agent ( e , a )\tprimitive",
)
LEXICAL = (
    "A shark ran .\tshark ( x _ 1 ) AND run . agent ( x _ 2 , x _ 1 )\tprim_to_subj_common",
    f"{_transitive('Paula', 'cat', 'the')}\tprim_to_subj_proper",
    f"{_transitive('Emma', 'shark', 'a')}\tprim_to_obj_common",
)
STRUCTURAL = (
    "A cat on a dog ran .\tcat ( x _ 1 ) AND cat . nmod . on ( x _ 1 , x _ 4 ) AND dog ( x _ 4 ) "
    "AND run . agent ( x _ 5 , x _ 1 )\tobj_pp_to_subj_pp",
)


def write_cogs(folder: Path) -> None:
    """Write the folder `cogs`: as published, but with a few dozen sentences."""
    lines = [f"{line}\tin_distribution" for line in _lines()]
    folder = folder / "cogs"
    folder.mkdir(parents=True)
    files = {
        "dev.tsv": lines[0::12],
        "test.tsv": lines[1::12],
        "train.tsv": [x for i, x in enumerate(lines) if i % 12 > 1] + list(PRIMITIVES),
        "gen_lexical.tsv": LEXICAL,
        "gen_structural.tsv": STRUCTURAL,
        "vocab_common_nouns.txt": COMMON,
        "vocab_proper_nouns.txt": PROPER,
        "vocab_verbs_infinitive.txt": tuple(INFINITIVES),
        "vocab_verbs_dative_input.txt": tuple(DATIVES),
        "vocab_verbs_dative_output.txt": tuple(DATIVES.values()),
    }
    for name, content in files.items():
        (folder / name).write_text("\n".join(content) + "\n", "utf-8")
