"""SCAN (Lake & Baroni 2018): its grammar, its commands and their splits.

All splits but the simple one follow from rules, and need no data; that one was drawn at random, and
is read from the published files where these are found.
"""

from functools import lru_cache, partial
from itertools import product
from pathlib import Path

from biml.episodes.corpus import Corpus, Pairs, read_pairs
from biml.episodes.episode import Episode, Example, GrammarLabels
from biml.episodes.episode_type import WITHOUT_STUDY, EpisodeType, corpus_type
from biml.grammar import Grammar, Rule
from biml.paths import DataFolders
from biml.rng import generator
from biml.vocabulary import Vocabulary

SCAN_GRAMMAR = Grammar.parse("""
    x1 and x2 -> [x1] [x2]
    x1 after x2 -> [x2] [x1]
    x1 twice -> [x1] [x1]
    x1 thrice -> [x1] [x1] [x1]
    turn opposite left -> I_TURN_LEFT I_TURN_LEFT
    turn opposite right -> I_TURN_RIGHT I_TURN_RIGHT
    turn around left -> I_TURN_LEFT I_TURN_LEFT I_TURN_LEFT I_TURN_LEFT
    turn around right -> I_TURN_RIGHT I_TURN_RIGHT I_TURN_RIGHT I_TURN_RIGHT
    u1 opposite left -> I_TURN_LEFT I_TURN_LEFT [u1]
    u1 opposite right -> I_TURN_RIGHT I_TURN_RIGHT [u1]
    u1 around left -> I_TURN_LEFT [u1] I_TURN_LEFT [u1] I_TURN_LEFT [u1] I_TURN_LEFT [u1]
    u1 around right -> I_TURN_RIGHT [u1] I_TURN_RIGHT [u1] I_TURN_RIGHT [u1] I_TURN_RIGHT [u1]
    turn left -> I_TURN_LEFT
    turn right -> I_TURN_RIGHT
    u1 left -> I_TURN_LEFT [u1]
    u1 right -> I_TURN_RIGHT [u1]
    look -> I_LOOK
    run -> I_RUN
    jump -> I_JUMP
    walk -> I_WALK
""")

SCAN_VOCAB = Vocabulary.from_words_and_symbols(
    sorted({*SCAN_GRAMMAR.words}), sorted({*SCAN_GRAMMAR.symbols})
)

PERMUTED_WORDS = ("look", "run", "jump", "walk", "left", "right")

MEANINGS = {
    word: Rule(
        (word,), (f"I_TURN_{word.upper()}" if word in ("left", "right") else f"I_{word.upper()}",)
    )
    for word in PERMUTED_WORDS
}

VERBS = ("look", "run", "jump", "walk")

MAX_TRAINING_OUTPUT = 22
"""Symbols of the longest output in the training pairs of the length split."""

N_SIMPLE_TRAINING = 16_728

TEMPLATES = {"around_right": "around right", "opposite_right": "opposite right"}
PRIMITIVES = {"addprim_jump": "jump", "addprim_left": "turn left"}

SPLITS = ("simple", *PRIMITIVES, *TEMPLATES, "length")


@lru_cache(maxsize=1)
def scan_pairs() -> Pairs:
    """All 20,910 commands with their actions, in a random order that is always the same."""
    directions = ("left", "right")
    phrases = [*VERBS, *(f"{verb} {way}" for verb in (*VERBS, "turn") for way in directions)]
    for verb, manner, way in product((*VERBS, "turn"), ("opposite", "around"), directions):
        phrases.append(f"{verb} {manner} {way}")
    repeated = [f"{phrase}{times}" for phrase in phrases for times in ("", " twice", " thrice")]
    commands = [*repeated, *(" ".join(p) for p in product(repeated, ("and", "after"), repeated))]
    interpreter = SCAN_GRAMMAR.interpreter
    names = {code: name for name, code in interpreter.codes.items()}
    table = interpreter.memo_table()
    pairs = []
    for command in commands:
        words = tuple(command.split())
        codes = table["".join([interpreter.codes[word] for word in words])]
        pairs.append(Example(words, tuple([names[code] for code in codes])))
    return tuple(generator(0, "SCAN").sample(pairs, len(pairs)))


def scan_split(name: str, data: DataFolders) -> tuple[Pairs, Pairs]:
    """Training and test pairs of a split; see `scan_corpus`."""
    pairs = scan_pairs()
    if name == "simple":
        files = _simple_files(data)
        if files:
            return read_pairs(files[0]), read_pairs(files[1])
        return pairs[:N_SIMPLE_TRAINING], pairs[N_SIMPLE_TRAINING:]
    if name == "length":
        long = [len(pair.output) > MAX_TRAINING_OUTPUT for pair in pairs]
        return _divide(pairs, long, long)
    text = [f" {' '.join(pair.input)} " for pair in pairs]
    if template := TEMPLATES.get(name):
        # Commands with `turn` in this template are in neither part.
        held_out = [f" {template} " in command for command in text]
        tested = [
            out and f" turn {template} " not in command
            for out, command in zip(held_out, text, strict=True)
        ]
        return _divide(pairs, held_out, tested)
    primitive = PRIMITIVES[name]
    held_out = [f" {primitive} " in command for command in text]
    train, test = _divide(pairs, held_out, held_out)
    (alone,) = [pair for pair in test if " ".join(pair.input) == primitive]
    # A tenth of the training pairs are the primitive alone.
    return (*train, *[alone] * (len(train) // 9)), tuple(pair for pair in test if pair != alone)


def _divide(pairs: Pairs, held_out: list[bool], tested: list[bool]) -> tuple[Pairs, Pairs]:
    train = [pair for pair, out in zip(pairs, held_out, strict=True) if not out]
    return tuple(train), tuple([pair for pair, out in zip(pairs, tested, strict=True) if out])


def _simple_files(data: DataFolders) -> list[Path]:
    """The training and the test file of the simple split, or nothing."""
    if (folder := data.get("scan")) is None:
        return []
    names = ("tasks_train_simple.txt", "tasks_test_simple.txt")
    folders = (folder / "simple_split", folder)
    found = [[each / name for each in folders if (each / name).is_file()] for name in names]
    return [paths[0] for paths in found] if all(found) else []


@lru_cache(maxsize=2)
def scan_corpus(name: str, data: DataFolders) -> Corpus:
    """A split of SCAN with the published way to make episodes of it.

    Its description says whether the simple split is the published one or another one.
    """
    train, test = scan_split(name, data)
    description = f"SCAN, {name.replace('_', ' ')} split"
    if name == "simple" and not _simple_files(data):
        hint = "drawn at random, as the published one was not found; `biml data download scan`"
        description += f" ({hint})"
    given = dict.fromkeys(pair for pair in train if " ".join(pair.input) == PRIMITIVES.get(name))
    return Corpus(
        train,
        {"test": test},
        n_study=10,
        given=tuple(given),
        given_in_training=False,
        word_groups=(PERMUTED_WORDS,),
        symbol_groups=(SCAN_VOCAB.output.symbols,),
        label=label_episode,
        description=description,
    )


def label_episode(episode: Episode) -> GrammarLabels:
    """The action of each permuted word, and the word of each action where no phrase is quoted."""
    study, queries = (
        tuple([_source_label(example) for example in examples])
        for examples in (episode.study, episode.queries)
    )
    return GrammarLabels(study, queries, MEANINGS)


def _source_label(example: Example) -> tuple[int, ...] | None:
    sources = source_words(example.input)
    named = tuple([MEANINGS[example.input[at]].rhs[0] for at in sources])
    return sources if named == example.output else None


@lru_cache(maxsize=30_000)
def source_words(command: tuple[str, ...]) -> tuple[int, ...]:
    """The position of the word that each action of a command stands for.

    >>> source_words(("jump", "after", "turn", "opposite", "left", "twice"))
    (4, 4, 4, 4, 0)
    """

    def of_part(start: int, end: int) -> tuple[int, ...]:
        last = command[end - 1]
        if times := {"twice": 2, "thrice": 3}.get(last):
            return of_part(start, end - 1) * times
        verb = () if command[start] == "turn" else (start,)
        if end - start == 1:
            return verb
        turn = (end - 1,)
        match command[start + 1]:
            case "opposite":
                return turn * 2 + verb
            case "around":
                return (turn + verb) * 4
        return turn + verb

    for at, word in enumerate(command):
        if word in ("and", "after"):
            before, behind = of_part(0, at), of_part(at + 1, len(command))
            return before + behind if word == "and" else behind + before
    return of_part(0, len(command))


BENCHMARK_MODELS = {True: "MLC (SCAN and COGS)", False: "basic seq2seq (SCAN and COGS)"}
"""The paper's models, with study examples or without."""

FAST_OPTIONS = {
    "nlayers_encoder": 3,
    "nlayers_query": 2,
    "nlayers_decoder": 3,
    "emb_size": 96,
    "batch_size": 24,
    "n_queries": 8,
    "nepochs": 12,
    "lr": 0.002,
    "curriculum": False,
    "aux_loss_weight": 0.3,
}


def _scan_type(split: str, *, uses_study: bool = True, by_parts: bool = False) -> EpisodeType:
    suffix = "+parts" if by_parts else "" if uses_study else "_vanilla"
    summary = ", answered by parts" if by_parts else "" if uses_study else WITHOUT_STUDY
    return corpus_type(
        f"{split}_actions{suffix}",
        f"SCAN, {split.replace('_', ' ')} split{summary}",
        partial(scan_corpus, split),
        uses_study=uses_study,
        by_parts=by_parts,
        vocabulary=None if by_parts else SCAN_VOCAB,
        max_input=9,
        max_output=50,
        has_labels=True,
        n_validation=200,
        data_sources=("SCAN",),
        label="BIML" if uses_study else "Basic seq2seq",
        paper_model=BENCHMARK_MODELS[uses_study],
        training_defaults={
            "paper": {"arch": "pairwise", "batch_size": 200, "nepochs": 200},
            # More often than as published words have the meanings of the test.
            "fast": FAST_OPTIONS | {"p_permute": 0.8},
        },
    )


SCAN_TYPES = (
    *(_scan_type(split) for split in SPLITS),
    _scan_type("length", by_parts=True),
    *(_scan_type(split, uses_study=False) for split in SPLITS),
)
