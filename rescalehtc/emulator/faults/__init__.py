"""Faults: which were requested (`requested`), and their effects on the wire (`effects`)."""

from .requested import KINDS, Fault, FaultKind, FaultOptions, Faults, parse_fault

__all__ = ["KINDS", "Fault", "FaultKind", "FaultOptions", "Faults", "parse_fault"]
