"""The orchestrator: decides what a run does, and nothing else."""

from marsys_core.orchestrator.branch import Branch, Contribution, Join
from marsys_core.orchestrator.commands import Ask, CancelJoin, Command, Complete, RunStep, Steer, StopRun
from marsys_core.orchestrator.joining import exception_of, flatten, tally
from marsys_core.orchestrator.judging import FACTS, Facts, Judge, judged
from marsys_core.orchestrator.ledger import ROOT, START, Traits
from marsys_core.orchestrator.orchestrator import Orchestrator
from marsys_core.orchestrator.person import Person
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.plain import Offer, offer
from marsys_core.orchestrator.rulings import Rules, Said
from marsys_core.orchestrator.shared import GONE, Frame, Reading, Sharing, Write
from marsys_core.orchestrator.shares import Outer, Share, remaining
from marsys_core.orchestrator.state import RunState
from marsys_core.orchestrator.talks import max_turns_of

__all__ = [
    "FACTS",
    "GONE",
    "ROOT",
    "START",
    "Ask",
    "Branch",
    "CancelJoin",
    "Command",
    "Complete",
    "Contribution",
    "Facts",
    "Frame",
    "Join",
    "Judge",
    "Offer",
    "Orchestrator",
    "Outer",
    "Person",
    "Phase",
    "Reading",
    "Rules",
    "RunState",
    "RunStep",
    "Said",
    "Settled",
    "Share",
    "Sharing",
    "Steer",
    "StopRun",
    "Traits",
    "Write",
    "exception_of",
    "flatten",
    "judged",
    "max_turns_of",
    "offer",
    "remaining",
    "tally",
]
