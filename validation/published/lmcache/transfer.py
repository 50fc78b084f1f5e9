"""Pages against chunks: the rate of a link by the size of a message."""

from hwprofiles.units import BITS_PER_BYTE, GIGA
from sim.model.library import load_model
from sim.serving.kv import HOST_TO_GPU
from validation.published.lmcache.rows import rows
from validation.published.published_row import PublishedRow, cell_of
from validation.published.reproduction import Table

MODEL = "llama-3.1-8b"
ONE_LAYER = "one layer"


def transfer_table() -> Table:
    """Return rates from CPU to GPU for a message of one layer of a page, and of all layers of a
    chunk.
    """
    return Table(
        name="transfer",
        title="KV from CPU to GPU: pages and chunks",
        assumptions=f"{MODEL}: a message holds keys and values of its tokens. The link is the fit of {HOST_TO_GPU.message_ns:g} ns a "
        f"message and {HOST_TO_GPU.bytes_per_s / GIGA:g} GB/s, made to such figures: that two numbers give both is what this shows.",
        cells=tuple(cell_of(row, _rate(row)) for row in rows("transfer")),
    )


def _rate(row: PublishedRow) -> float:
    model = load_model(MODEL)
    assert row.input_tokens is not None
    message_bytes = (
        row.input_tokens
        * model.kv_bytes_per_token
        # A page is copied layer by layer, so its message holds one layer's share.
        / (model.num_layers if ONE_LAYER in row.system else 1)
    )
    return HOST_TO_GPU.effective_bytes_per_s(message_bytes) * BITS_PER_BYTE / GIGA
