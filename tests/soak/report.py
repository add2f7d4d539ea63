"""What a run saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts by kind; a run without violations has passed.

    Attributes:
        errors: by class, as the callers saw them.
        invariants: how often each was checked.
        violations: what must never happen, in words.
    """

    engine: str
    seconds: float
    seed: int
    operations: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    invariants: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])

    def check(self, invariant: str, holds: bool, found: object = "") -> None:
        """Count an invariant, and note when it is broken."""
        self.invariants[invariant] += 1
        if not holds:
            self.violations.append(f"{invariant}: {found}")

    def text(self) -> str:
        """Return it for people."""
        parts: Mapping[str, Counter[str]] = {
            "operations": self.operations,
            "faults injected": self.faults,
            "errors seen by callers": self.errors,
            "invariants checked": self.invariants,
        }
        lines = [f"{self.engine}: {self.seconds:g} s, seed {self.seed}"]
        for title, counts in parts.items():
            lines += ["", f"  {title}: {counts.total()}"]
            lines += [f"    {count:>8}  {name}" for name, count in sorted(counts.items())]
        lines += ["", f"  VIOLATIONS: {len(self.violations)}" if self.violations else "  no invariant was broken"]
        lines += [f"    {violation}" for violation in self.violations]
        return "\n".join(lines)
