"""Origins of records that tests make up: no file has these sha256."""

from functools import partial

from evaluation import aggregate as _aggregate
from evaluation import chunks, variance
from evaluation import protocol_moves as _moves
from evaluation.records import Inputs, TableInputs

ZERO = "0" * 64
INPUTS = Inputs(prompts=ZERO, manifest=ZERO, filtered=ZERO)
FILES = TableInputs(prompts=ZERO, filtered={}, results={})

aggregate = partial(_aggregate.aggregate, inputs=FILES)
chunk_table = partial(chunks.chunk_table, inputs=FILES)
protocol_moves = partial(_moves.protocol_moves, inputs=FILES)
variance_table = partial(variance.variance_table, inputs=FILES)
