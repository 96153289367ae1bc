"""The rates of dropout layers, as a reader of the model's code would list them."""

from __future__ import annotations

from torch import nn

from energydiag.probes.dropout import dropout_rates


def test_rates_of_all_kinds_of_layers_in_any_mode() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Dropout(0.1),
        nn.ModuleList([nn.Dropout2d(0.2), nn.AlphaDropout(0.3)]),
        nn.MultiheadAttention(4, 2, dropout=0.4),
        nn.LSTM(4, 4, num_layers=2, dropout=0.5),
    ).eval()
    assert sorted(dropout_rates(model)) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert dropout_rates(nn.Linear(2, 2)) == []
