"""The orchestrator: decides what a run does, and nothing else."""

from marsys_core.orchestrator.commands import Ask, CancelJoin, Command, Complete, RunStep, Steer, StopRun
from marsys_core.orchestrator.joining import exception_of, flatten, tally
from marsys_core.orchestrator.ledger import ROOT, START, Traits
from marsys_core.orchestrator.orchestrator import Orchestrator
from marsys_core.orchestrator.person import Person
from marsys_core.orchestrator.plain import Offer, offer
from marsys_core.orchestrator.rulings import Rules, Said
from marsys_core.orchestrator.state import Branch, Contribution, Join, Phase, RunState, Settled
from marsys_core.orchestrator.talks import max_turns_of

__all__ = [
    "ROOT",
    "START",
    "Ask",
    "Branch",
    "CancelJoin",
    "Command",
    "Complete",
    "Contribution",
    "Join",
    "Offer",
    "Orchestrator",
    "Person",
    "Phase",
    "Rules",
    "RunState",
    "RunStep",
    "Said",
    "Settled",
    "Steer",
    "StopRun",
    "Traits",
    "exception_of",
    "flatten",
    "max_turns_of",
    "offer",
    "tally",
]
