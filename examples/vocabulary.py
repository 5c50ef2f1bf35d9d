"""Episode types in a vocabulary of ten words and seven symbols, for training and for human data.

    biml train --plugin examples/vocabulary.py --episode_type ten_words --preset fast \
        --time_budget 60 --fn_out_model net-ten.pt
    biml eval --plugin examples/vocabulary.py --episode_type ten_words_human --ll \
        --data_dir my-data --fn_out_model net-ten.pt

Data with up to nine words and six symbols need no vocabulary of their own: they are remapped to
the published one.
"""

from functools import partial

import biml
from biml import MetaGrammar
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_FOLDER,
    VALIDATION,
    EpisodeType,
    human_responses,
    meta_training,
    validation_set,
)
from biml.episodes.transforms import add_biases, add_noise, add_study_queries, remap, shuffle_study
from biml.vocabulary import Vocabulary

WORDS = ("wug", "blick", "toma", "sib", "gep", "lu", "mip", "dop", "twice", "then")
SYMBOLS = ("■", "▲", "●", "◆", "★", "◐", "◇")
META_GRAMMAR = MetaGrammar(words=WORDS, symbols=SYMBOLS, n_primitives=6, n_functions=4)
VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, SYMBOLS)

corruptions = (partial(add_biases, symbols=SYMBOLS), partial(add_noise, symbols=SYMBOLS))

biml.register_episode_type(
    EpisodeType(
        "ten_words",
        "algebraic outputs with biases and noise, in a language of ten words",
        training=meta_training(add_study_queries, *corruptions, meta=META_GRAMMAR),
        algebraic_training=meta_training(add_study_queries, meta=META_GRAMMAR),
        corruptions=corruptions,
        evaluation=validation_set(add_study_queries, meta=META_GRAMMAR),
        evaluation_task=VALIDATION,
        tasks=(VALIDATION, FEW_SHOT),
        vocabulary=VOCABULARY,
        meta_grammar=META_GRAMMAR,
        data_sources=("episodes of a meta-grammar of ten words",),
    )
)

# Human responses (`biml data import`), remapped at random to the words and symbols above.
biml.register_episode_type(
    EpisodeType(
        "ten_words_human",
        "human responses in a language of ten words",
        evaluation=human_responses(
            FEW_SHOT_FOLDER, shuffle_study, partial(remap, words=WORDS, symbols=SYMBOLS)
        ),
        evaluation_task=FEW_SHOT,
        vocabulary=VOCABULARY,
    )
)
