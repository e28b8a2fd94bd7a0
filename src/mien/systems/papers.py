"""Publications from which several systems come, in a module that needs no torch."""

from __future__ import annotations

from mien.systems.card import Paper

PRAMERDORFER = Paper(
    title="Facial Expression Recognition using Convolutional Neural Networks: State of the Art",
    authors=("Christopher Pramerdorfer", "Martin Kampel"),
    year=2016,
    url="https://arxiv.org/abs/1612.02903",
)
"""Three networks and the ensemble of eight."""

RESIDUAL_MASKING = Paper(
    title="Facial Expression Recognition using Residual Masking Network",
    authors=("Luan Pham", "The Huynh Vu", "Tuan Anh Tran"),
    year=2020,
    venue="International Conference on Pattern Recognition (ICPR)",
    url="https://doi.org/10.1109/ICPR48806.2021.9411919",
    code=("https://github.com/phamquiluan/ResidualMaskingNetwork",),
    code_licence="MIT",
)
"""The network, the other members of its ensemble, and that ensemble of seven."""
