"""Faults of the emulator (`requested`), and their effects on responses (`effects`)."""

from .requested import KINDS, Fault, FaultKind, FaultOptions, Faults, parse_fault

__all__ = ["KINDS", "Fault", "FaultKind", "FaultOptions", "Faults", "parse_fault"]
