"""Ensembles: several results, bundles or runs whose probabilities are averaged; chosen on the selection split only."""

from mien.ensembles.choose import CHOICES, Chosen, choose
from mien.ensembles.make import make
from mien.ensembles.members import Member, member_of_result
from mien.ensembles.merge import export_ensemble
from mien.ensembles.named import named_members
from mien.ensembles.networks import NetworkEnsemble, network_ensemble
from mien.ensembles.recorded import ensemble_of_results

__all__ = [
    "CHOICES",
    "Chosen",
    "Member",
    "NetworkEnsemble",
    "choose",
    "ensemble_of_results",
    "export_ensemble",
    "make",
    "member_of_result",
    "named_members",
    "network_ensemble",
]
