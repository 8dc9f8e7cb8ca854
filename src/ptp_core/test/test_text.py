# SPDX-License-Identifier: Apache-2.0
"""Text encoders: known sentences from a table, others from MiniLM where it is installed."""

import os
import subprocess
import sys
import time

import pytest
import torch

from ptp_core.config import SentenceTableConfig
from ptp_core.data.instruction import MOST_CHARACTERS
from ptp_core.encoders import text as text_module
from ptp_core.encoders.text import MiniLM, SentenceTable, minilm_installed
from ptp_core.errors import ConfigError, GoalError
from ptp_core.tiny_networks import SENTENCES

needs_minilm = pytest.mark.skipif(
    not minilm_installed(), reason="MiniLM is not installed; see docs/instructions.md"
)


def learned(sentences=SENTENCES):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SentenceTable.of("learned", sentences, 6)


def test_a_table_knows_each_sentence_once_however_it_is_written():
    table = learned(["Open  the drawer.", "open the drawer", "close the drawer"])
    assert table.config.sentences == ("close the drawer", "open the drawer")
    assert table.row("  OPEN the\ndrawer! ") == 1 and table.row("open a drawer") is None
    torch.testing.assert_close(table.embed("Open the drawer."), table.vectors[1].detach())
    assert table(torch.tensor([[0, 1]])).shape == (1, 2, 6)
    assert table.vectors.requires_grad


def test_an_unknown_sentence_is_one_error_with_the_nearest_known_ones():
    with pytest.raises(GoalError) as raised:
        learned().embed("open the door")
    message = str(raised.value)
    assert message.startswith('the instruction "open the door" is not among the 3 that this')
    assert message.index('"open the drawer"') < message.index('"close the drawer"')
    assert "\n" not in message and "text.kind: minilm" in message


def test_too_long_a_sentence_is_refused():
    with pytest.raises(GoalError, match=f"{MOST_CHARACTERS + 1} characters; {MOST_CHARACTERS}"):
        learned().embed("x" * (MOST_CHARACTERS + 1))
    with pytest.raises(GoalError, match="characters"):
        learned(["y" * (MOST_CHARACTERS + 1)])


def test_a_table_of_minilm_needs_no_model_for_what_it_stores(monkeypatch):
    monkeypatch.setattr(text_module, "minilm_installed", lambda: False)
    config = SentenceTableConfig(kind="minilm", dimensions=384, sentences=SENTENCES)
    table = SentenceTable(config)
    assert table.embed("Open the drawer").shape == (384,)
    assert not table.vectors.requires_grad
    with pytest.raises(GoalError, match=r"use one of them, or install MiniLM.*pip install"):
        table.embed("open the door")
    with pytest.raises(ConfigError, match="MiniLM is not installed: pip install"):
        SentenceTable.of("minilm", SENTENCES, 6)


def test_the_nearest_known_sentence_is_that_of_the_largest_cosine():
    table = learned()
    assert [table.nearest(3.0 * row) for row in table.vectors.detach()] == [0, 1, 2]


def test_nothing_is_imported_before_a_sentence_needs_it():
    code = (
        "import sys; from ptp_core.encoders.text import SentenceTable; "
        "SentenceTable.of('learned', ['a'], 2).embed('a'); "
        "sys.exit('transformers' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0


@needs_minilm
def test_minilm_gives_unit_vectors_of_384_numbers_without_any_network():
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from ptp_core.encoders.text import MiniLM\n"
        "found = MiniLM()(['open the drawer', 'close the drawer'])\n"
        "assert found.shape == (2, 384), found.shape\n"
        "assert ((found.norm(dim=1) - 1).abs() < 1e-5).all()\n"
        "assert 0.85 < float(found[0] @ found[1]) < 0.95\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_minilm
def test_minilm_reads_sentences_that_the_table_lacks():
    table = SentenceTable.of("minilm", SENTENCES, 6)
    stored = table(torch.arange(3))
    assert float(stored.std()) == pytest.approx(1.0, abs=0.3)
    stored_again = SentenceTable(table.config)
    stored_again.load_state_dict(table.state_dict())
    found = stored_again.embed("place the block on the tray")
    assert stored_again.nearest(found) == 2
    assert torch.equal(stored_again.embed("place the block on the tray"), found)
    with pytest.raises(GoalError, match="word pieces"):
        stored_again.embed("?! " * 130)


@needs_minilm
def test_minilm_takes_less_than_60_ms_of_one_thread():
    model = MiniLM()
    model(["warm up"])
    spent = []
    for number in range(20):
        began = time.process_time()
        model([f"put block {number} into the open drawer"])
        spent.append(time.process_time() - began)
    assert sorted(spent)[18] < 0.06  # processor time: others may be using the machine
