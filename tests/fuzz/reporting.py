"""What was asked, what came back, and each broken promise once, with a command that sends its request again."""

from collections import Counter
from dataclasses import dataclass, field

Key = tuple[str, str, int, str]
"""operation, check, status, problem type"""
_VIOLATIONS_MAX = 200


@dataclass(slots=True)
class Violation:
    message: str
    curl: str
    times: int = 1


@dataclass(slots=True)
class Report:
    """Counts by operation and status, and by kind of request; violations by what they have in common."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    kinds: Counter[tuple[str, bool]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    violations: dict[Key, Violation] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return self.answers.total()

    def count(self, operation: str, how: str, status: int, problem: str) -> None:
        self.answers[operation, status] += 1
        self.kinds[how, status < 400] += 1
        if problem:
            self.problems[problem] += 1

    def violated(self, key: Key, message: str, curl: str) -> None:
        if key in self.violations:
            self.violations[key].times += 1
        elif len(self.violations) < _VIOLATIONS_MAX:
            self.violations[key] = Violation(message, curl)

    def add(self, other: "Report") -> None:
        self.answers += other.answers
        self.kinds += other.kinds
        self.problems += other.problems
        for key, violation in other.violations.items():
            if key in self.violations:
                self.violations[key].times += violation.times
            elif len(self.violations) < _VIOLATIONS_MAX:
                self.violations[key] = violation

    def told(self, *keys: Key) -> str:
        """These violations, or all, for people."""
        return "\n\n".join(
            f"{operation}: {check} ({of.times} times; {status} {problem})\n  {of.message}\n  {of.curl}"
            for (operation, check, status, problem), of in sorted(self.violations.items())
            if not keys or (operation, check, status, problem) in keys
        )

    def table(self) -> str:
        """Requests by operation and class of status, by kind, and the problems that were met."""
        classes = ("2xx", "3xx", "4xx", "5xx")
        lines = [f"{'operation':<18}{'requests':>9}" + "".join(f"{c:>8}" for c in classes)]
        by_class: Counter[tuple[str, str]] = Counter()
        for (operation, status), n in self.answers.items():
            by_class[operation, f"{status // 100}xx"] += n
        for operation in sorted({o for o, _ in self.answers}):
            row = [by_class[operation, c] for c in classes]
            lines.append(f"{operation:<18}{sum(row):>9}" + "".join(f"{n:>8}" for n in row))
        row = [sum(n for (_, c), n in by_class.items() if c == of) for of in classes]
        lines.append(f"{'all':<18}{sum(row):>9}" + "".join(f"{n:>8}" for n in row))
        for how in sorted({h for h, _ in self.kinds}):
            good, all_of = self.kinds[how, True], self.kinds[how, True] + self.kinds[how, False]
            lines.append(f"{how}: {all_of}, of them {good / max(1, all_of):.0%} not refused")
        lines.append("problems: " + ", ".join(f"{name} {n}" for name, n in self.problems.most_common()))
        return "\n".join(lines)
